/** `capstan controller-manager`: the controllers as a program of their own, each acting as its own service account. */
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { UserError } from '#deploy/data-dir.ts';
import { createClient } from '#client/create.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { verificationKey } from '#stdx/jwt.ts';
import { errorMessage } from '#stdx/log.ts';
import { featuresOn } from '../apiserver/flags/feature-gates.ts';
import { gatesOf } from '../apiserver/flags/serving.ts';
import { clusterSigning, type ClusterSigningFlags } from './cluster-signing.ts';
import { startControllerManager } from './compose.ts';
import { requireIPv4Range } from '../proxy/run.ts';
import { runComponent, type ComponentFlags, type RunContext } from '../run-component.ts';
import { createServiceAccountTransport } from './service-account-transport.ts';
import { KUBERNETES_VERSION } from '../version.ts';

export interface ControllerManagerFlags extends ComponentFlags, ClusterSigningFlags {
  readonly clusterCIDR: string;
  /** Published in every namespace as kube-root-ca.crt. Default: the kubeconfig's authority. */
  readonly rootCaFile?: string;
  /** Signs tokens in secrets; without it none are made. */
  readonly serviceAccountPrivateKeyFile?: string;
  /** Default 8760h. */
  readonly legacyServiceAccountTokenCleanUpPeriod?: string;
  /** Default true. */
  readonly leaderElect?: boolean;
  /** Default: all. */
  readonly controllers?: readonly string[];
  /** 'StorageVersionMigrator=true' */
  readonly featureGates?: string;
  /** Default true. False: all controllers act as the kubeconfig's user. */
  readonly useServiceAccountCredentials?: boolean;
}

export async function runControllerManager(flags: ControllerManagerFlags): Promise<void> {
  requireIPv4Range('--cluster-cidr', flags.clusterCIDR);
  const signing = clusterSigning(flags);
  const features = featuresOn(gatesOf(flags.featureGates));
  const legacyTokenCleanUpMs =
    flags.legacyServiceAccountTokenCleanUpPeriod === undefined
      ? undefined
      : durationMs(
          '--legacy-service-account-token-clean-up-period',
          flags.legacyServiceAccountTokenCleanUpPeriod,
        );
  const serviceAccountKeyPem =
    flags.serviceAccountPrivateKeyFile === undefined
      ? undefined
      : signingKey('--service-account-private-key-file', flags.serviceAccountPrivateKeyFile);
  await runComponent({
    name: 'kube-controller-manager',
    flags,
    create: (context) =>
      startControllerManager({
        api: context.api,
        clock: context.clock,
        log: context.log,
        identity: context.identity,
        clusterCIDR: flags.clusterCIDR,
        caPem: rootCa(flags, context),
        apiFor: clientsFor(flags, context),
        signing,
        features,
        ...(serviceAccountKeyPem === undefined ? {} : { serviceAccountKeyPem }),
        ...(legacyTokenCleanUpMs === undefined ? {} : { legacyTokenCleanUpMs }),
        ...(flags.leaderElect === undefined ? {} : { leaderElect: flags.leaderElect }),
        ...(flags.controllers ? { names: flags.controllers } : {}),
      }).catch((error: unknown) => {
        if (errorMessage(error).endsWith('is not in the list of known controllers'))
          throw new UserError(`--controllers: ${errorMessage(error)}.`, error);
        throw error;
      }),
  });
}

function durationMs(flag: string, text: string): number {
  try {
    const ms = goDurationMs(text);
    if (ms > 0) return ms;
  } catch {
    // Said below.
  }
  throw new UserError(`${flag} is "${text}"; it should be a duration above 0, for example 8760h.`);
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
function clientsFor(
  flags: ControllerManagerFlags,
  context: RunContext,
): (controller: string) => Promise<RunContext['api']> {
  if (flags.useServiceAccountCredentials === false) return () => Promise.resolve(context.api);
  const { server, ca, caFile, serverName, insecureSkipVerify } = context.connection.options;
  const bare = {
    server,
    ...(ca ? { ca } : {}),
    ...(caFile ? { caFile } : {}),
    ...(serverName ? { serverName } : {}),
    ...(insecureSkipVerify ? { insecureSkipVerify } : {}),
  };
  const shared = context.transportTo(bare);
  return (name) =>
    Promise.resolve(
      createClient(
        createServiceAccountTransport({
          shared,
          api: context.api,
          namespace: 'kube-system',
          name,
          clock: context.clock,
        }),
        { userAgent: `kube-controller-manager/${KUBERNETES_VERSION} ${name}`, log: context.log },
      ),
    );
}

function rootCa({ rootCaFile }: ControllerManagerFlags, { connection: { options } }: RunContext): string {
  if (rootCaFile !== undefined) return readFileOf('--root-ca-file', rootCaFile);
  if (options.ca) return String(options.ca);
  if (options.caFile) return readFileOf('certificate-authority', options.caFile);
  throw new UserError('--root-ca-file FILE is needed: the kubeconfig names no certificate authority.');
}

function readFileOf(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
}
