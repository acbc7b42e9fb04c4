/**
 * KubeletConfiguration (kubelet.config.k8s.io/v1beta1), the file of `capstan node --config` and of init and join: every field of upstream's, and its
 * handling. Flags are those of `capstan node`.
 */
import { group, only, collectSchemas, sets, unused, type ConfigFields } from '#machinery/config/fields.ts';
import { configKind } from '#machinery/config/read.ts';
import {
  duration,
  flag,
  integer,
  integer64,
  listOf,
  mapOf,
  opaque,
  struct,
  text,
} from '#machinery/config/schema.ts';

const OWN_CONTAINERD = 'each node runs a containerd of its own';
const NO_LIMIT = 'the API server limits requests by priority and fairness, clients do not';
const NUMA = 'CPUs and memory are not assigned by NUMA node';
const PERIOD = 'this period is not configurable';
const NO_SETTING = 'the node agent has no such setting';
const ALWAYS = 'it is always so';

interface ConfiguredTaint {
  readonly key?: string;
  readonly value?: string;
  readonly effect?: string;
}

function amounts(map: Readonly<Record<string, string>>): string {
  return pairs(map, '=');
}

function thresholds(map: Readonly<Record<string, string>>): string {
  return pairs(map, '<');
}

function pairs(map: Readonly<Record<string, string>>, separator: string): string {
  return Object.entries(map)
    .map(([name, amount]) => `${name}${separator}${amount}`)
    .join(',');
}

/** The inverse of pairs. */
function mapFrom(separator: string): (text: string) => Record<string, string> {
  return (text) =>
    Object.fromEntries(
      text
        .split(',')
        .filter((pair) => pair.trim() !== '')
        .map((pair) => {
          const at = pair.indexOf(separator);
          return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
        }),
    );
}

const AMOUNTS = { words: amounts, shows: mapFrom('=') };
const THRESHOLDS = { words: thresholds, shows: mapFrom('<') };

function taintsFrom(text: string): ConfiguredTaint[] {
  return text
    .split(',')
    .filter((taint) => taint.trim() !== '')
    .map((taint) => {
      const [pair = '', effect = ''] = taint.trim().split(':');
      const [key = '', value] = pair.split('=');
      return { key, ...(value ? { value } : {}), effect };
    });
}

function taints(list: readonly ConfiguredTaint[]): string {
  return list.map(taintText).join(',');
}

/** 'key=value:NoSchedule' */
export function taintText({ key = '', value, effect = '' }: ConfiguredTaint): string {
  return `${key}${value ? `=${value}` : ''}:${effect}`;
}

export const KUBELET_FIELDS: ConfigFields = {
  enableServer: only(flag, true, 'the API server needs the kubelet API'),
  staticPodPath: sets(text, 'pod-manifest-path'),
  podLogsDir: sets(text, 'pod-logs-dir'),
  syncFrequency: unused(duration, PERIOD),
  fileCheckFrequency: unused(duration, PERIOD),
  httpCheckFrequency: unused(duration, PERIOD),
  staticPodURL: only(text, '', 'static pods come from files'),
  staticPodURLHeader: unused(mapOf(listOf(text)), 'static pods come from files'),
  address: unused(text, 'the kubelet API is served on the address of the node', '0.0.0.0'),
  port: sets(integer, 'port'),
  readOnlyPort: only(integer, 0, 'there is no port without authentication'),
  tlsCertFile: sets(text, 'tls-cert-file'),
  tlsPrivateKeyFile: sets(text, 'tls-private-key-file'),
  tlsCipherSuites: sets(listOf(text), 'tls-cipher-suites'),
  tlsCurvePreferences: unused(listOf(integer), NO_SETTING),
  tlsMinVersion: sets(text, 'tls-min-version'),
  rotateCertificates: sets(flag, 'rotate-certificates'),
  serverTLSBootstrap: sets(flag, 'rotate-server-certificates'),
  authentication: group('KubeletAuthentication', {
    x509: group('KubeletX509Authentication', { clientCAFile: sets(text, 'client-ca-file') }),
    webhook: group('KubeletWebhookAuthentication', {
      enabled: only(flag, true, 'the API server authenticates tokens of the kubelet API'),
      cacheTTL: unused(duration, NO_SETTING, '2m0s'),
    }),
    anonymous: group('KubeletAnonymousAuthentication', {
      enabled: only(flag, false, 'the kubelet API has no anonymous access'),
    }),
  }),
  authorization: group('KubeletAuthorization', {
    mode: only(text, 'Webhook', 'the API server authorizes requests to the kubelet API'),
    webhook: group('KubeletWebhookAuthorization', {
      cacheAuthorizedTTL: unused(duration, NO_SETTING),
      cacheUnauthorizedTTL: unused(duration, NO_SETTING),
    }),
  }),
  registryPullQPS: unused(integer, 'image pulls are not rate-limited'),
  registryBurst: unused(integer, 'image pulls are not rate-limited'),
  imagePullCredentialsVerificationPolicy: unused(text, NO_SETTING),
  preloadedImagesVerificationAllowlist: unused(listOf(text), NO_SETTING),
  eventRecordQPS: unused(integer, NO_SETTING),
  eventBurst: unused(integer, NO_SETTING),
  enableDebuggingHandlers: only(flag, true, 'the kubelet API serves logs, exec and port-forward'),
  enableContentionProfiling: unused(flag, NO_SETTING, false),
  healthzPort: unused(integer, 'health is served by the kubelet API', 10_248),
  healthzBindAddress: unused(text, 'health is served by the kubelet API', '127.0.0.1'),
  oomScoreAdj: unused(integer, NO_SETTING),
  clusterDomain: sets(text, 'cluster-domain'),
  clusterDNS: sets(listOf(text), 'cluster-dns'),
  streamingConnectionIdleTimeout: sets(duration, 'streaming-connection-idle-timeout'),
  nodeStatusUpdateFrequency: sets(duration, 'node-status-update-frequency'),
  nodeStatusReportFrequency: sets(duration, 'node-status-report-frequency'),
  nodeLeaseDurationSeconds: sets(integer, 'node-lease-duration-seconds'),
  imageMinimumGCAge: sets(duration, 'minimum-image-ttl-duration'),
  imageMaximumGCAge: sets(duration, 'image-maximum-gc-age'),
  imageGCHighThresholdPercent: sets(integer, 'image-gc-high-threshold', { pointer: true }),
  imageGCLowThresholdPercent: sets(integer, 'image-gc-low-threshold', { pointer: true }),
  volumeStatsAggPeriod: unused(duration, PERIOD),
  kubeletCgroups: unused(text, OWN_CONTAINERD),
  systemCgroups: unused(text, OWN_CONTAINERD),
  cgroupRoot: unused(text, OWN_CONTAINERD),
  cgroupsPerQOS: only(flag, true, 'pods lie below a cgroup of their QoS class'),
  cgroupDriver: unused(text, OWN_CONTAINERD, 'cgroupfs'),
  cpuManagerPolicy: only(text, 'none', NUMA),
  singleProcessOOMKill: unused(flag, NO_SETTING),
  cpuManagerPolicyOptions: only(mapOf(text), {}, NUMA),
  cpuManagerReconcilePeriod: unused(duration, NUMA),
  draManagerReconcilePeriod: unused(duration, NO_SETTING),
  memoryManagerPolicy: only(text, 'None', NUMA),
  topologyManagerPolicy: only(text, 'none', NUMA),
  topologyManagerScope: only(text, 'container', NUMA),
  topologyManagerPolicyOptions: only(mapOf(text), {}, NUMA),
  qosReserved: only(mapOf(text), {}, 'memory is not reserved by QoS class'),
  runtimeRequestTimeout: unused(duration, NO_SETTING),
  hairpinMode: unused(text, ALWAYS, 'hairpin-veth'),
  maxPods: sets(integer, 'max-pods'),
  podCIDR: sets(text, 'pod-cidr'),
  podPidsLimit: sets(integer64, 'pod-max-pids'),
  resolvConf: sets(text, 'resolv-conf'),
  runOnce: only(flag, false, 'a node runs until it is stopped'),
  cpuCFSQuota: only(flag, true, 'CPU limits are enforced'),
  cpuCFSQuotaPeriod: unused(duration, NO_SETTING, '100ms'),
  nodeStatusMaxImages: sets(integer, 'node-status-max-images', { pointer: true }),
  maxOpenFiles: unused(integer64, NO_SETTING),
  contentType: unused(text, 'the node agent uses JSON'),
  kubeAPIQPS: unused(integer, NO_LIMIT),
  kubeAPIBurst: unused(integer, NO_LIMIT),
  serializeImagePulls: sets(flag, 'serialize-image-pulls'),
  maxParallelImagePulls: sets(integer, 'max-parallel-image-pulls', { pointer: true }),
  evictionHard: sets(mapOf(text), 'eviction-hard', { ...THRESHOLDS, pointer: true }),
  evictionSoft: sets(mapOf(text), 'eviction-soft', THRESHOLDS),
  evictionSoftGracePeriod: sets(mapOf(text), 'eviction-soft-grace-period', AMOUNTS),
  evictionPressureTransitionPeriod: sets(duration, 'eviction-pressure-transition-period'),
  evictionMaxPodGracePeriod: sets(integer, 'eviction-max-pod-grace-period'),
  evictionMinimumReclaim: sets(mapOf(text), 'eviction-minimum-reclaim', AMOUNTS),
  mergeDefaultEvictionSettings: sets(flag, 'merge-default-eviction-settings'),
  podsPerCore: sets(integer, 'pods-per-core'),
  enableControllerAttachDetach: only(flag, true, 'the node agent attaches nothing'),
  protectKernelDefaults: sets(flag, 'protect-kernel-defaults'),
  makeIPTablesUtilChains: unused(flag, 'the service proxy makes its own tables', true),
  iptablesMasqueradeBit: unused(integer, 'it has no effect upstream either'),
  iptablesDropBit: unused(integer, 'it has no effect upstream either'),
  featureGates: unused(mapOf(flag), 'the node agent has no feature gates'),
  failSwapOn: sets(flag, 'fail-swap-on'),
  memorySwap: group('MemorySwapConfiguration', {
    swapBehavior: only(text, 'NoSwap', 'containers do not swap'),
  }),
  containerLogMaxSize: sets(text, 'container-log-max-size'),
  containerLogMaxFiles: sets(integer, 'container-log-max-files', { pointer: true }),
  containerLogMaxWorkers: unused(integer, NO_SETTING, 1),
  containerLogMonitorInterval: sets(duration, 'container-log-monitor-interval'),
  configMapAndSecretChangeDetectionStrategy: unused(text, ALWAYS, 'Watch'),
  systemReserved: sets(mapOf(text), 'system-reserved', AMOUNTS),
  kubeReserved: sets(mapOf(text), 'kube-reserved', AMOUNTS),
  reservedSystemCPUs: only(text, '', NUMA),
  showHiddenMetricsForVersion: unused(text, 'no metric is hidden'),
  systemReservedCgroup: only(
    text,
    '',
    'reservations are kept from pods; cgroups of the system are not limited',
  ),
  kubeReservedCgroup: only(
    text,
    '',
    'reservations are kept from pods; cgroups of the system are not limited',
  ),
  enforceNodeAllocatable: only(
    listOf(text),
    ['pods'],
    'node allocatable is enforced on pods; cgroups of the system are not limited',
  ),
  allowedUnsafeSysctls: sets(listOf(text), 'allowed-unsafe-sysctls'),
  volumePluginDir: unused(text, 'there are no volume plugins of that kind'),
  providerID: sets(text, 'provider-id'),
  kernelMemcgNotification: unused(flag, 'the node is measured every 10s', false),
  logging: group('LoggingConfiguration', {
    format: sets(text, 'logging-format'),
    verbosity: sets(integer, 'v'),
    flushFrequency: unused(opaque, 'log lines are written at once'),
    vmodule: unused(listOf(opaque), NO_SETTING),
    options: unused(opaque, 'log lines are written at once', {
      json: { infoBufferSize: '0' },
      text: { infoBufferSize: '0' },
    }),
  }),
  enableSystemLogHandler: unused(flag, NO_SETTING, true),
  enableSystemLogQuery: unused(flag, NO_SETTING, false),
  shutdownGracePeriod: unused(duration, 'the service that runs the node stops pods at shutdown'),
  shutdownGracePeriodCriticalPods: unused(duration, 'the service that runs the node stops pods at shutdown'),
  shutdownGracePeriodByPodPriority: unused(
    listOf(opaque),
    'the service that runs the node stops pods at shutdown',
  ),
  crashLoopBackOff: group('CrashLoopBackOffConfig', {
    maxContainerRestartPeriod: sets(duration, 'max-container-restart-period'),
  }),
  reservedMemory: only(listOf(opaque), [], NUMA),
  enableProfilingHandler: unused(flag, NO_SETTING, true),
  enableDebugFlagsHandler: unused(flag, NO_SETTING, true),
  seccompDefault: sets(flag, 'seccomp-default'),
  memoryThrottlingFactor: unused(opaque, NO_SETTING),
  memoryReservationPolicy: only(text, 'None', 'memory.min of containers is not set'),
  registerWithTaints: sets(
    listOf(struct('Taint', { key: text, value: text, effect: text, timeAdded: text })),
    'register-with-taints',
    { words: taints, shows: taintsFrom },
  ),
  registerNode: only(flag, true, 'the node agent registers its Node'),
  tracing: unused(opaque, NO_SETTING),
  localStorageCapacityIsolation: only(flag, true, 'limits of ephemeral storage are enforced'),
  containerRuntimeEndpoint: unused(text, OWN_CONTAINERD),
  imageServiceEndpoint: unused(text, OWN_CONTAINERD),
  failCgroupV1: unused(flag, NO_SETTING),
  userNamespaces: unused(opaque, NO_SETTING),
};

export const KUBELET = configKind(
  { group: 'kubelet.config.k8s.io', versions: ['v1beta1'], kind: 'KubeletConfiguration' },
  collectSchemas(KUBELET_FIELDS),
);
