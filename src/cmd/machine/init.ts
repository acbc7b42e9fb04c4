/** `capstan init`: its flags and file as one configuration, and the program around its phases: the supervisor and the client of this machine's API server. */
import { hostname } from 'node:os';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import {
  clusterEndpoint,
  defaultCluster,
  defaultInit,
  defaultKubelet,
  type DefaultedInit,
} from '#deploy/config/defaults.ts';
import { hostPort } from '#deploy/config/endpoint.ts';
import { readConfigAddons, readConfigFile, type ConfigDocuments } from '#deploy/config/read.ts';
import { generateToken } from '#deploy/config/token.ts';
import type { ClusterConfiguration, InitConfiguration } from '#deploy/config/types.ts';
import { requireValid, requireValidFlags } from '#deploy/config/validate.ts';
import { UserError } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { lockMachine, machineFile } from '#deploy/machine/record.ts';
import { serviceAddress } from '#deploy/machine/service-address.ts';
import { unusedVolumes } from '#deploy/machine/static-pods.ts';
import { createCertificateKey } from '#deploy/phases/kubeadm-certs.ts';
import type { EtcdConnectionOptions, InitContext, ProgramAround } from '#deploy/phases/init/context.ts';
import { INIT_WORKFLOW } from '#deploy/phases/init/workflow.ts';
import { runPhase, runWorkflow } from '#deploy/phases/runner.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { findHostAddress } from '#node/host-address.ts';
import { realClock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { createEtcdMembership } from '#storage/drivers/etcd/membership.ts';
import { componentCommand } from '../components.ts';
import { parseWords } from '../flags/words.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { failedService } from './failed-service.ts';
import { openBackupOf, type OpenedBackup, type RestoringFlags } from './restored-cluster.ts';
import { withSecretFiles } from './secret-files.ts';
import { staticPodsSwitch } from './static-pods-switch.ts';
import { ensureSupervised, isSupervised, requireSeparateUnits } from './supervise.ts';
import { warmCompileCache, type Warming } from './warm.ts';

/** As the command line hands them over; kubeadm's names. */
export interface InitFlags extends RestoringFlags {
  readonly config?: string;
  readonly controlPlaneEndpoint?: string;
  readonly apiserverAdvertiseAddress?: string;
  readonly apiserverBindPort?: number;
  readonly apiserverCertExtraSans?: readonly string[];
  readonly certDir?: string;
  readonly podNetworkCidr?: string;
  readonly serviceCidr?: string;
  readonly serviceDnsDomain?: string;
  readonly kubernetesVersion?: string;
  readonly nodeName?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly tokenTtl?: string;
  readonly uploadCerts?: boolean;
  readonly certificateKey?: string;
  readonly certificateKeyFile?: string;
  readonly skipTokenPrint?: boolean;
  readonly skipCertificateKeyPrint?: boolean;
  readonly skipPhases?: readonly string[];
  readonly ignorePreflightErrors?: readonly string[];
  readonly dryRun?: boolean;
  readonly etcdBinary?: string;
  readonly fetchEtcd?: boolean;
  readonly runtime?: 'cri' | 'simulated';
  readonly separateUnits?: boolean;
  readonly staticPods?: boolean;
  readonly rootfs?: string;
  /** false: no API server serves metrics.k8s.io. */
  readonly metrics?: boolean;
}

interface Output {
  print(line: string): void;
  warn(line: string): void;
}

/** phase: one of them, or a part: 'certs', 'certs/apiserver'. Default: all. */
export async function runInit(
  given: InitFlags,
  { phase, ...output }: Output & { readonly phase?: string },
): Promise<void> {
  const flags = withSecretFiles(given);
  const backup = await openBackupOf(flags);
  const documents = documentsFrom(flags, backup);
  for (const warning of documents.warnings) output.warn(warning);
  if (!flags.staticPods) for (const warning of unusedVolumes(documents.cluster)) output.warn(warning);
  const addons = flags.config === undefined ? undefined : readConfigAddons(flags.config, documents);
  const { init, cluster } = await withDefaults(documents);
  const paths = machinePaths({
    rootfs: flags.rootfs,
    certificatesDir: cluster.certificatesDir,
    etcdDataDir: cluster.etcd.local?.dataDir,
  });
  const dryRun = flags.dryRun ?? init.dryRun ?? false;
  requireSeparateUnits(paths, flags.separateUnits);
  const choose = staticPodsSwitch(flags.staticPods, { role: 'control-plane', runtime: flags.runtime });
  const lock = dryRun ? undefined : lockMachine(paths);
  const program = new Around({
    paths,
    local: init.localAPIEndpoint,
    separateUnits: flags.separateUnits,
    // Services that run have it already.
    warm: dryRun || isSupervised(paths) ? undefined : warmCompileCache(),
  });
  const context: InitContext = {
    ...output,
    paths,
    machine: machineFile(paths, { choose }),
    dryRun,
    init,
    cluster,
    addons,
    kubelet: defaultKubelet(documents.kubelet ?? backup?.kubelet ?? {}, {
      cluster,
      dnsAddress: serviceAddress(cluster.networking.serviceSubnet, 10),
      clientCAFile: `${paths.pki}/ca.crt`,
      staticPodPath: paths.manifests,
    }),
    restoring: backup,
    endpoint: clusterEndpoint(cluster, init.localAPIEndpoint),
    options: {
      uploadCerts: flags.uploadCerts ?? false,
      certificateKey: init.certificateKey ?? createCertificateKey(),
      printCertificateKey: flags.skipCertificateKeyPrint !== true,
      printToken: flags.skipTokenPrint !== true,
      ignorePreflightErrors: flags.ignorePreflightErrors ?? init.nodeRegistration.ignorePreflightErrors ?? [],
      etcdBinary: flags.etcdBinary,
      mayFetchEtcd: flags.fetchEtcd ?? false,
      runtime: flags.runtime ?? 'cri',
    },
    clock: realClock,
    program,
  };
  try {
    output.print(`[init] Using Kubernetes version: ${KUBERNETES_VERSION}`);
    if (phase !== undefined) await runPhase(INIT_WORKFLOW, phase, context);
    else await runWorkflow(INIT_WORKFLOW, context, { skip: flags.skipPhases ?? init.skipPhases });
  } finally {
    await program.close();
    lock?.release();
  }
}

/** Flags with fields of their own in a --config file, which kubeadm refuses beside it. */
const IN_CONFIG = {
  controlPlaneEndpoint: '--control-plane-endpoint',
  apiserverAdvertiseAddress: '--apiserver-advertise-address',
  apiserverBindPort: '--apiserver-bind-port',
  apiserverCertExtraSans: '--apiserver-cert-extra-sans',
  certDir: '--cert-dir',
  podNetworkCidr: '--pod-network-cidr',
  serviceCidr: '--service-cidr',
  serviceDnsDomain: '--service-dns-domain',
  kubernetesVersion: '--kubernetes-version',
  token: '--token',
  tokenTtl: '--token-ttl',
  certificateKey: '--certificate-key',
} as const satisfies Partial<Record<keyof InitFlags, string>>;

function documentsFrom(flags: InitFlags, backup: OpenedBackup | undefined): ConfigDocuments {
  const { config, nodeName } = flags;
  const ofFile = config === undefined ? undefined : readConfigFile(config);
  if (ofFile) {
    const mixed = Object.entries(IN_CONFIG).filter(
      ([key]) => flags[key as keyof typeof IN_CONFIG] !== undefined,
    );
    if (mixed.length > 0)
      throw new UserError(
        `can not mix '--config' with arguments [${mixed.map(([, name]) => name).join(' ')}]`,
      );
  }
  const init: InitConfiguration = ofFile?.init ?? initFrom(flags);
  const given = { ofFile: ofFile?.cluster, ofFlags: clusterFrom(flags) };
  const documents: ConfigDocuments = {
    ...ofFile,
    init:
      nodeName === undefined
        ? init
        : { ...init, nodeRegistration: { ...init.nodeRegistration, name: nodeName } },
    cluster: withMetrics(backup?.cluster(given) ?? given.ofFile ?? given.ofFlags, flags),
    warnings: ofFile?.warnings ?? [],
  };
  (ofFile ? requireValid : requireValidFlags)(documents);
  return documents;
}

function withMetrics(cluster: ClusterConfiguration, { metrics = true }: InitFlags): ClusterConfiguration {
  if (metrics) return cluster;
  const { apiServer } = cluster;
  const extraArgs = [...(apiServer?.extraArgs ?? []), { name: 'resource-metrics', value: 'false' }];
  return { ...cluster, apiServer: { ...apiServer, extraArgs } };
}

function initFrom(flags: InitFlags): InitConfiguration {
  const { token, tokenTtl, apiserverAdvertiseAddress, apiserverBindPort, certificateKey } = flags;
  return {
    bootstrapTokens: [{ ...(token ? { token } : {}), ...(tokenTtl ? { ttl: tokenTtl } : {}) }],
    localAPIEndpoint: {
      ...(apiserverAdvertiseAddress ? { advertiseAddress: apiserverAdvertiseAddress } : {}),
      ...(apiserverBindPort ? { bindPort: apiserverBindPort } : {}),
    },
    ...(certificateKey ? { certificateKey } : {}),
  };
}

function clusterFrom(flags: InitFlags): ClusterConfiguration {
  const { controlPlaneEndpoint, apiserverCertExtraSans: certSANs, certDir, kubernetesVersion } = flags;
  return {
    ...(controlPlaneEndpoint ? { controlPlaneEndpoint } : {}),
    ...(certSANs ? { apiServer: { certSANs } } : {}),
    ...(certDir ? { certificatesDir: certDir } : {}),
    ...(kubernetesVersion ? { kubernetesVersion } : {}),
    networking: {
      ...(flags.podNetworkCidr ? { podSubnet: flags.podNetworkCidr } : {}),
      ...(flags.serviceCidr ? { serviceSubnet: flags.serviceCidr } : {}),
      ...(flags.serviceDnsDomain ? { dnsDomain: flags.serviceDnsDomain } : {}),
    },
  };
}

async function withDefaults({ init = {}, cluster = {} }: ConfigDocuments) {
  const address = init.localAPIEndpoint?.advertiseAddress ?? (await findHostAddress());
  if (address === undefined)
    throw new UserError(
      'this machine has no default route, so its address is not known: give it with --apiserver-advertise-address (localAPIEndpoint.advertiseAddress)',
    );
  return {
    init: defaultInit(init, { hostName: hostname(), address, newToken: generateToken }),
    cluster: defaultCluster(cluster, { kubernetesVersion: KUBERNETES_VERSION.split('+', 1)[0] ?? '' }),
  };
}

const READY_TIMEOUT_MS = 3_000;

interface AroundOptions {
  readonly paths: MachinePaths;
  readonly local: DefaultedInit['localAPIEndpoint'];
  readonly separateUnits: boolean | undefined;
  /** What services should not start before. */
  readonly warm: Warming | undefined;
}

class Around implements ProgramAround {
  readonly #paths: MachinePaths;
  readonly #local: DefaultedInit['localAPIEndpoint'];
  readonly #separateUnits: boolean | undefined;
  readonly #warm: Warming | undefined;
  #transport: HttpsTransport | undefined;
  #client: Client | undefined;

  constructor({ paths, local, separateUnits, warm }: AroundOptions) {
    this.#paths = paths;
    this.#local = local;
    this.#separateUnits = separateUnits;
    this.#warm = warm;
  }

  async requireFlags(command: string, words: readonly string[]): Promise<void> {
    parseWords(await componentCommand(command).flags(), { command, words });
  }

  async startSupervisor(): Promise<void> {
    await this.#warm?.done();
    await ensureSupervised(this.#paths, { separateUnits: this.#separateUnits });
  }

  isSupervised(): boolean {
    return isSupervised(this.#paths);
  }

  failedService(): Promise<string | undefined> {
    return failedService(this.#paths);
  }

  etcd(options: EtcdConnectionOptions): EtcdMembership {
    return createEtcdMembership(options);
  }

  api(): Client {
    this.#client ??= createClient(this.#connection(), {
      userAgent: `capstan/${KUBERNETES_VERSION}`,
      refusedRetries: 5,
    });
    return this.#client;
  }

  async apiServerProblem(): Promise<string | undefined> {
    try {
      const { status } = await this.#connection().request({
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
    await this.#client?.close();
    await this.#transport?.close();
  }

  /** Connects to this machine's API server directly, whatever the cluster's endpoint resolves to. */
  #connection(): HttpsTransport {
    if (this.#transport) return this.#transport;
    const { options } = resolveContext(loadKubeconfig({ path: this.#paths.kubeconfig('super-admin') }));
    const { advertiseAddress, bindPort } = this.#local;
    this.#transport = createHttpsTransport({
      ...options,
      server: `https://${hostPort(advertiseAddress, bindPort)}`,
    });
    return this.#transport;
  }
}
