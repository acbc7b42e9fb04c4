/** `capstan join`: its flags and file as one configuration, and the program around its phases: the supervisor, clients of the API, and etcd. */
import { hostname } from 'node:os';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsOptions, type HttpsTransport } from '#client/https.ts';
import { defaultJoin } from '#deploy/config/defaults.ts';
import { readConfigFile, type ConfigDocuments } from '#deploy/config/read.ts';
import type { JoinConfiguration } from '#deploy/config/types.ts';
import { requireValid, requireValidFlags } from '#deploy/config/validate.ts';
import { UserError } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { lockMachine, machineFile, type MachineRole } from '#deploy/machine/record.ts';
import type { JoinContext, JoinedCluster, JoinProgram } from '#deploy/phases/join/context.ts';
import type { EtcdConnectionOptions } from '#deploy/phases/init/context.ts';
import { discoverCluster } from '#deploy/phases/join/discover.ts';
import { JOIN_WORKFLOW } from '#deploy/phases/join/workflow.ts';
import { runPhase, runWorkflow } from '#deploy/phases/runner.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { findHostAddress } from '#node/host-address.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger, errorMessage } from '#stdx/log.ts';
import { createEtcdMembership } from '#storage/drivers/etcd/membership.ts';
import { componentCommand } from '../components.ts';
import { parseWords } from '../flags/words.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { failedService } from './failed-service.ts';
import { withSecretFiles } from './secret-files.ts';
import { staticPodsSwitch } from './static-pods-switch.ts';
import { ensureSupervised, isSupervised, requireSeparateUnits } from './supervise.ts';

/** As the command line hands them over; kubeadm's names. */
export interface JoinFlags {
  readonly config?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly discoveryToken?: string;
  readonly tlsBootstrapToken?: string;
  readonly discoveryTokenCaCertHash?: readonly string[];
  readonly discoveryTokenUnsafeSkipCaVerification?: boolean;
  readonly discoveryFile?: string;
  readonly controlPlane?: boolean;
  readonly witness?: boolean;
  readonly certificateKey?: string;
  readonly certificateKeyFile?: string;
  readonly apiserverAdvertiseAddress?: string;
  readonly apiserverBindPort?: number;
  readonly nodeName?: string;
  readonly skipPhases?: readonly string[];
  readonly ignorePreflightErrors?: readonly string[];
  readonly dryRun?: boolean;
  readonly etcdBinary?: string;
  readonly fetchEtcd?: boolean;
  readonly runtime?: 'cri' | 'simulated';
  readonly separateUnits?: boolean;
  readonly staticPods?: boolean;
  readonly rootfs?: string;
}

interface JoinCall {
  /** HOST:PORT */
  readonly endpoint?: string | undefined;
  /** One of them, or a part. Default: all. */
  readonly phase?: string | undefined;
  print(line: string): void;
  warn(line: string): void;
}

export async function runJoin(given: JoinFlags, call: JoinCall): Promise<void> {
  const flags = withSecretFiles(given);
  const documents = documentsFrom(flags, call.endpoint);
  for (const warning of documents.warnings) call.warn(warning);
  const role = roleOf(flags, documents.join ?? {});
  const address = await addressOf(role, documents.join ?? {}, flags);
  const join = defaultJoin(documents.join ?? {}, { hostName: hostname(), address });
  const paths = machinePaths({ rootfs: flags.rootfs });
  const dryRun = flags.dryRun ?? join.dryRun ?? false;
  requireSeparateUnits(paths, flags.separateUnits);
  const choose = staticPodsSwitch(flags.staticPods, { role, runtime: flags.runtime });
  const lock = dryRun ? undefined : lockMachine(paths);
  const program = new ProgramOfMachine(paths, flags);
  const log = createLogger({ format: 'text', level: 'warn' }).with({ component: 'join' });
  const around = { join, clock: realClock, log, program };
  let found: Promise<JoinedCluster> | undefined;
  const context: JoinContext = {
    ...around,
    paths,
    machine: machineFile(paths, { choose }),
    dryRun,
    role,
    local: {
      advertiseAddress: address,
      bindPort: join.controlPlane?.localAPIEndpoint?.bindPort ?? flags.apiserverBindPort ?? 6443,
    },
    options: {
      apiServerEndpoint: join.discovery?.bootstrapToken?.apiServerEndpoint,
      certificateKey: join.controlPlane?.certificateKey ?? flags.certificateKey,
      ignorePreflightErrors: flags.ignorePreflightErrors ?? join.nodeRegistration.ignorePreflightErrors ?? [],
      etcdBinary: flags.etcdBinary,
      mayFetchEtcd: flags.fetchEtcd ?? false,
      runtime: flags.runtime ?? 'cri',
    },
    discovered: () => (found ??= discoverCluster({ ...around, kubernetesVersion: KUBERNETES_VERSION })),
    print: (line) => call.print(line),
    warn: (line) => call.warn(line),
  };
  try {
    if (call.phase !== undefined) await runPhase(JOIN_WORKFLOW, call.phase, context);
    else await runWorkflow(JOIN_WORKFLOW, context, { skip: flags.skipPhases ?? join.skipPhases });
  } finally {
    await program.close();
    lock?.release();
  }
}

function roleOf({ controlPlane, witness, certificateKey }: JoinFlags, join: JoinConfiguration): MachineRole {
  const isControlPlane = controlPlane === true || join.controlPlane !== undefined;
  if (isControlPlane && witness)
    throw new UserError(
      '--control-plane and --witness exclude each other: a witness is a member of etcd only.',
    );
  if (certificateKey !== undefined && !isControlPlane && !witness)
    throw new UserError(
      '--certificate-key is for a control plane or a witness, and this machine would join as a worker: add --control-plane (or --witness), or leave the key out.',
    );
  return witness ? 'witness' : isControlPlane ? 'control-plane' : 'worker';
}

/** Flags with fields of their own in a --config file, which kubeadm refuses beside it. */
const IN_CONFIG = {
  token: '--token',
  discoveryToken: '--discovery-token',
  tlsBootstrapToken: '--tls-bootstrap-token',
  discoveryTokenCaCertHash: '--discovery-token-ca-cert-hash',
  discoveryTokenUnsafeSkipCaVerification: '--discovery-token-unsafe-skip-ca-verification',
  discoveryFile: '--discovery-file',
  controlPlane: '--control-plane',
  apiserverAdvertiseAddress: '--apiserver-advertise-address',
  apiserverBindPort: '--apiserver-bind-port',
} as const satisfies Partial<Record<keyof JoinFlags, string>>;

function documentsFrom(flags: JoinFlags, endpoint: string | undefined): ConfigDocuments {
  const ofFile = flags.config === undefined ? undefined : readConfigFile(flags.config);
  if (ofFile) requireUnmixed(flags, endpoint);
  const join = ofFile?.join ?? joinFrom(flags, endpoint);
  if (ofFile && !ofFile.join)
    throw new UserError(`--config ${flags.config} holds no JoinConfiguration (kubeadm.k8s.io/v1beta4).`);
  const { nodeName, certificateKey } = flags;
  const documents: ConfigDocuments = {
    ...ofFile,
    join: {
      ...join,
      ...(nodeName ? { nodeRegistration: { ...join.nodeRegistration, name: nodeName } } : {}),
      ...(join.controlPlane && certificateKey
        ? { controlPlane: { ...join.controlPlane, certificateKey } }
        : {}),
    },
    warnings: [
      ...(ofFile?.warnings ?? []),
      ...(ofFile?.addons ? ['Addons are ignored: init and fleet apply take them'] : []),
    ],
  };
  (ofFile ? requireValid : requireValidFlags)(documents);
  return documents;
}

function requireUnmixed(flags: JoinFlags, endpoint: string | undefined): void {
  const mixed: string[] = Object.entries(IN_CONFIG)
    .filter(([key]) => flags[key as keyof typeof IN_CONFIG] !== undefined)
    .map(([, name]) => name);
  if (endpoint !== undefined) mixed.push('HOST:PORT');
  if (mixed.length > 0) throw new UserError(`can not mix '--config' with arguments [${mixed.join(' ')}]`);
}

function joinFrom(flags: JoinFlags, endpoint: string | undefined): JoinConfiguration {
  const token = flags.discoveryToken ?? flags.token;
  const tlsBootstrapToken = flags.tlsBootstrapToken ?? flags.token;
  const { apiserverAdvertiseAddress, apiserverBindPort, discoveryFile, discoveryTokenCaCertHash } = flags;
  const bootstrapToken = {
    ...(token ? { token } : {}),
    ...(endpoint ? { apiServerEndpoint: endpoint } : {}),
    ...(discoveryTokenCaCertHash ? { caCertHashes: discoveryTokenCaCertHash } : {}),
    ...(flags.discoveryTokenUnsafeSkipCaVerification ? { unsafeSkipCAVerification: true } : {}),
  };
  return {
    discovery: {
      ...(discoveryFile ? { file: { kubeConfigPath: discoveryFile } } : { bootstrapToken }),
      ...(tlsBootstrapToken ? { tlsBootstrapToken } : {}),
    },
    ...(flags.controlPlane && {
      controlPlane: {
        localAPIEndpoint: {
          ...(apiserverAdvertiseAddress ? { advertiseAddress: apiserverAdvertiseAddress } : {}),
          ...(apiserverBindPort ? { bindPort: apiserverBindPort } : {}),
        },
      },
    }),
  };
}

async function addressOf(role: MachineRole, join: JoinConfiguration, flags: JoinFlags): Promise<string> {
  const given = join.controlPlane?.localAPIEndpoint?.advertiseAddress ?? flags.apiserverAdvertiseAddress;
  const address = given ?? (await findHostAddress());
  // A worker's node finds its own.
  if (address !== undefined || role === 'worker') return address ?? '';
  throw new UserError(
    'this machine has no default route, so its address is not known: give it with --apiserver-advertise-address (controlPlane.localAPIEndpoint.advertiseAddress)',
  );
}

const READY_TIMEOUT_MS = 3_000;

/** Everything that it opened is closed by close(). */
export class ProgramOfMachine implements JoinProgram {
  readonly #paths: MachinePaths;
  readonly #separateUnits: boolean | undefined;
  readonly #opened = new Map<string, { readonly transport: HttpsTransport; readonly client: Client }>();

  constructor(paths: MachinePaths, { separateUnits }: Pick<JoinFlags, 'separateUnits'> = {}) {
    this.#paths = paths;
    this.#separateUnits = separateUnits;
  }

  async requireFlags(command: string, words: readonly string[]): Promise<void> {
    parseWords(await componentCommand(command).flags(), { command, words });
  }

  startSupervisor(): Promise<void> {
    return ensureSupervised(this.#paths, { separateUnits: this.#separateUnits });
  }

  isSupervised(): boolean {
    return isSupervised(this.#paths);
  }

  failedService(): Promise<string | undefined> {
    return failedService(this.#paths);
  }

  client(options: HttpsOptions): Client {
    return this.#open(options).client;
  }

  etcd(options: EtcdConnectionOptions): EtcdMembership {
    return createEtcdMembership(options);
  }

  async serverProblem(options: HttpsOptions): Promise<string | undefined> {
    try {
      const { status } = await this.#open(options).transport.request({
        method: 'GET',
        path: '/readyz',
        signal: AbortSignal.timeout(READY_TIMEOUT_MS),
      });
      return status === 200 ? undefined : `it answers with HTTP ${status}`;
    } catch (error) {
      return errorMessage(error);
    }
  }

  async close(): Promise<void> {
    for (const { transport, client } of this.#opened.values()) {
      await client.close();
      await transport.close();
    }
    this.#opened.clear();
  }

  /** The same options share a connection. */
  #open(options: HttpsOptions): { readonly transport: HttpsTransport; readonly client: Client } {
    const key = JSON.stringify(options);
    const known = this.#opened.get(key);
    if (known) return known;
    const transport = createHttpsTransport(options);
    const client = createClient(transport, {
      userAgent: `capstan/${KUBERNETES_VERSION}`,
      refusedRetries: 5,
    });
    const made = { transport, client };
    this.#opened.set(key, made);
    return made;
  }
}
