/** `capstan controller-manager`: the controllers as a program of its own, each with its own service account. */
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { UserError } from '#deploy/data-dir.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import { nodeIPAMController } from '#controllers/core/node-ipam-controller.ts';
import { createClient } from '#client/create.ts';
import type { HttpsOptions } from '#client/https.ts';
import { verificationKey } from '#stdx/jwt.ts';
import type { MachineFacts } from '#readiness/check.ts';
import { errorMessage } from '#stdx/log.ts';
import { featuresOn } from '../apiserver/flags/feature-gates.ts';
import { parseGates } from '../apiserver/flags/serving.ts';
import { clusterSigning } from './cluster-signing.ts';
import {
  startControllerManager,
  type ControllerManagerSettings,
  type ControllerManagerSetup,
} from './compose.ts';
import { CONTROLLER_MANAGER_FLAGS, MANAGER_FLAGS, PORT_FLAGS, type ControllerManagerFlags } from './flags.ts';
import { electionFrom } from '../flags/common.ts';
import { readFlags, collectSettings } from '../flags/define.ts';
import { listenAt } from '../flags/endpoints.ts';
import { parseRanges } from '../flags/ranges.ts';
import { versionsFrom } from '../flags/versions.ts';
import { runComponent, type RunContext } from '../run-component.ts';
import { factsOfMachine } from '../doctor/machine-facts.ts';
import { createOutsideProbe } from '../readiness/outside-probe.ts';
import { createServiceAccountTransport } from './service-account-transport.ts';
import { KUBERNETES_VERSION } from '../version.ts';

const NAME = 'kube-controller-manager';

export async function runControllerManager(flags: ControllerManagerFlags): Promise<void> {
  const { clusterCidr, serviceAccountPrivateKeyFile } = readFlags(MANAGER_FLAGS, flags);
  const clusterCIDR = parseRanges('--cluster-cidr', clusterCidr).join();
  const settings = settingsFrom(flags);
  requireNodeRanges(clusterCIDR, settings);
  const serviceAccountKeyPem =
    serviceAccountPrivateKeyFile === undefined
      ? undefined
      : signingKey('--service-account-private-key-file', serviceAccountPrivateKeyFile);
  await runComponent({
    name: NAME,
    flags,
    endpoints: {
      table: CONTROLLER_MANAGER_FLAGS,
      access: flags,
      listen: listenAt(PORT_FLAGS, flags),
      effectiveVersion: versionsFrom(flags),
    },
    create: (context) =>
      startControllerManager({
        api: context.api,
        clock: context.clock,
        log: context.log,
        identity: context.identity,
        metrics: context.metrics,
        clusterCIDR,
        caPem: rootCa(flags, context),
        apiFor: clientsFor(flags, context),
        settings,
        serviceAccountKeyPem,
        readiness: {
          probe: createOutsideProbe(context.connection.options),
          machine: machineOf(context.connection.file),
        },
      }).catch((error: unknown) => {
        if (errorMessage(error).endsWith('is not in the list of known controllers'))
          throw new UserError(`--controllers: ${errorMessage(error)}.`, error);
        throw error;
      }),
  });
}

/** The machine that the kubeconfig was written for, by its place below /etc/kubernetes; elsewhere nothing of it is known. */
function machineOf(kubeconfig: string): () => MachineFacts | undefined {
  const [, rootfs] = /^(.*)\/etc\/kubernetes\/[^/]+$/.exec(kubeconfig) ?? [];
  return () => (rootfs === undefined ? undefined : factsOfMachine(machinePaths({ rootfs: rootfs || '/' })));
}

function settingsFrom(flags: ControllerManagerFlags): ControllerManagerSettings {
  const { legacyServiceAccountTokenCleanUpPeriod: legacyTokenCleanUpMs } = readFlags(MANAGER_FLAGS, flags);
  if (legacyTokenCleanUpMs === 0)
    throw new UserError('--legacy-service-account-token-clean-up-period is 0; it should be longer.');
  if (readFlags(MANAGER_FLAGS, flags).horizontalPodAutoscalerSyncPeriod === 0)
    throw new UserError('--horizontal-pod-autoscaler-sync-period is 0; it should be longer.');
  const own = collectSettings<ControllerManagerSettings>(CONTROLLER_MANAGER_FLAGS, flags);
  return {
    ...own,
    controllers: {
      ...own.controllers,
      ...clusterSigning(flags),
      legacyTokenCleanUpMs,
    },
    leaderElect: electionFrom(flags, NAME),
    features: featuresOn(parseGates(flags.featureGates, versionsFrom(flags).emulated)),
  };
}

/** Each node's part of the ranges has to fit. Throws a UserError. */
function requireNodeRanges(clusterCIDR: string, { controllers }: ControllerManagerSettings): void {
  try {
    nodeIPAMController({ ...controllers, clusterCIDR });
  } catch (error) {
    throw new UserError(`--cluster-cidr ${clusterCIDR}: ${errorMessage(error)}.`, error);
  }
}

function signingKey(flag: string, path: string): string {
  const pem = readFileOf(flag, path);
  try {
    verificationKey(pem);
    createPrivateKey(pem);
  } catch (error) {
    throw new UserError(
      `${flag} ${path} has no private key that tokens can be signed with: ${errorMessage(error)}.`,
      error,
    );
  }
  return pem;
}

/** One client for each controller, over one connection without credentials that their tokens go through. */
function clientsFor(flags: ControllerManagerFlags, context: RunContext): ControllerManagerSetup['apiFor'] {
  if (!readFlags(MANAGER_FLAGS, flags).useServiceAccountCredentials)
    return () => Promise.resolve(context.api);
  const shared = context.openTransport(
    ({ server, ca, caFile, serverName, insecureSkipVerify }): HttpsOptions => ({
      server,
      ...(ca ? { ca } : {}),
      ...(caFile ? { caFile } : {}),
      ...(serverName ? { serverName } : {}),
      ...(insecureSkipVerify ? { insecureSkipVerify } : {}),
    }),
  );
  return (name, mayWrite) =>
    Promise.resolve(
      createClient(
        createServiceAccountTransport({
          shared,
          api: context.api,
          namespace: 'kube-system',
          name,
          clock: context.clock,
          mayWrite,
        }),
        { userAgent: `kube-controller-manager/${KUBERNETES_VERSION} ${name}`, log: context.log },
      ),
    );
}

/** Read at each use: the file is replaced when the cluster's authorities are rotated. An unreadable file keeps the previous contents. */
function rootCa({ rootCaFile }: ControllerManagerFlags, { connection, log }: RunContext): () => string {
  let last = readRootCa(rootCaFile, connection.options);
  return () => {
    try {
      last = readRootCa(rootCaFile, connection.options);
    } catch (error) {
      log.error('error reading the root CA, publishing the previous one', { error: errorMessage(error) });
    }
    return last;
  };
}

function readRootCa(rootCaFile: string | undefined, { ca, caFile }: HttpsOptions): string {
  if (rootCaFile !== undefined) return readFileOf('--root-ca-file', rootCaFile);
  if (ca) return String(ca);
  if (caFile) return readFileOf('certificate-authority', caFile);
  throw new UserError('--root-ca-file FILE is needed: the kubeconfig names no certificate authority.');
}

function readFileOf(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
}
