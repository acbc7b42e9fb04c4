/**
 * The flags of `capstan node`, one entry a flag, with the kubelet's names where they mean the same; the kubelet's others are refused by name.
 * `to` names the setting of a flag. Flags that only mean something together have no `to`: run.ts, settings.ts and certificates.ts read them.
 */
import { resolve } from 'node:path';
import { UserError } from '#deploy/data-dir.ts';
import { tryParseQuantity } from '#machinery/quantity.ts';
import { DEFAULT_HARD } from '#node/agent/eviction/thresholds.ts';
import { COMPONENT_FLAGS, TLS_FLAGS } from '../flags/common.ts';
import { fixed, flagKinds, refusedFlags, type GivenFlags } from '../flags/define.ts';
import type { NodeSettings } from './settings.ts';

const flag = flagKinds<NodeSettings>();

/** Longer timers do not exist. */
const LONGEST_MS = 2 ** 31 - 1;
const MAX_PIDS = 2 ** 22;

/** Identity and addresses of the node. */
export const MACHINE_FLAGS = {
  config: flag.file({
    help: 'configuration from a file of kind KubeletConfiguration; flags take precedence',
  }),
  'config-dir': flag.dir({
    help: 'directory of drop-ins of the file of --config: its *.conf files, also in folders below, are merged over it in the order of their names',
  }),
  ...COMPONENT_FLAGS,
  runtime: flag.choice(['cri', 'simulated'], {
    placeholder: '<kind>',
    help: 'real containers (cri) or simulated nodes',
    default: 'cri',
    own: true,
  }),
  'hostname-override': flag.text({
    placeholder: '<name>',
    help: 'name of the node',
    defaultText: 'the host name; simulated nodes: node-1, node-2, ...',
  }),
  'node-name': flag.text({ placeholder: '<name>', help: 'the same as --hostname-override', own: true }),
  nodes: flag.number({ min: 1, max: 10_000, help: 'simulated: number of nodes', default: 1, own: true }),
  'data-dir': flag.dir({ help: "cri: directory of containerd and of the pods' files", own: true }),
  'pod-cidr': flag.text({
    placeholder: '<ranges>',
    help: "cri: IP range of this node's pods, or one of each family with a comma between",
    defaultText: "the Node's spec.podCIDRs, which the node IPAM controller assigns",
  }),
  'pod-network': flag.choice(['auto', 'direct', 'vxlan', 'wireguard', 'none'], {
    placeholder: '<kind>',
    help: "cri: how pods of other nodes are reached: by routes (direct) where nodes share a segment and VXLAN elsewhere (auto), by one of them, encrypted (wireguard, on all nodes), or by somebody else's routes (none)",
    defaultText: 'auto; with --pod-cidr none',
    own: true,
  }),
  'vxlan-id': flag.number({
    min: 1,
    max: 2 ** 24 - 1,
    help: 'cri: VXLAN network identifier, the same on every node of the cluster',
    default: 1,
    own: true,
  }),
  'cluster-cidr': flag.text({
    placeholder: '<ranges>',
    help: 'cri: IP range of all pods of the cluster, or one of each family with a comma between; between them addresses are not translated',
    defaultText: 'that of --pod-cidr, else 10.244.0.0/16',
    own: true,
  }),
  'node-ip': flag.text({
    placeholder: '<addresses>',
    help: 'cri: IP address of the node, where the API server reaches it, or one of each family with a comma between',
    defaultText: 'the address of the default route',
  }),
  'root-dir': flag.dir({
    help: "cri: directory of the node agent's files: pods' volumes, plugins, device plugins and checkpoints; stock manifests of CSI drivers and device plugins expect /var/lib/kubelet",
    defaultText: 'kubelet in --data-dir',
    to: (rootDir) => ({ agent: { rootDir: resolve(rootDir) } }),
  }),
  'pod-logs-dir': flag.dir({
    help: "cri: directory of pods' logs; log agents expect /var/log/pods, where links in /var/log/containers are made too",
    defaultText: 'log/pods in --root-dir',
    own: true,
    to: (podLogsDir) => ({ agent: { podLogsDir: resolve(podLogsDir) } }),
  }),
  'cloud-provider': flag.choice(['', 'external'], {
    placeholder: '<kind>',
    help: 'cri: external: a new Node has the taint node.cloudprovider.kubernetes.io/uninitialized until a cloud controller manager has initialised it, which sets its addresses and providerID',
    default: '',
    to: (kind) => ({ agent: { externalCloudProvider: kind === 'external' } }),
  }),
  'provider-id': flag.text({
    placeholder: '<id>',
    help: "cri: the Node's spec.providerID",
    to: (providerID) => ({ agent: { providerID } }),
  }),
  'cluster-dns': flag.list({
    placeholder: '<addresses>',
    help: 'cri: DNS servers of pods',
    default: ['10.96.0.10'] as readonly string[],
  }),
  'cluster-domain': flag.text({
    placeholder: '<name>',
    help: 'cri: domain of the cluster',
    default: 'cluster.local',
    to: (clusterDomain) => ({ agent: { clusterDomain } }),
  }),
};

/** How it comes by its certificates. */
export const CERTIFICATE_FLAGS = {
  'bootstrap-kubeconfig': flag.file({
    help: 'kubeconfig to join with (a token) when --kubeconfig does not exist or its certificate has expired; --kubeconfig is written',
  }),
  'cert-dir': flag.dir({
    help: "directory of the node's certificates",
    defaultText: 'DIR/pki, or pki beside --kubeconfig',
  }),
  'rotate-certificates': flag.boolean({
    help: 'renew the client certificate obtained by --bootstrap-kubeconfig',
    default: true,
  }),
  'rotate-server-certificates': flag.boolean({
    help: 'cri: request the serving certificate of the kubelet API from the cluster and renew it; requests need approval',
    default: true,
  }),
  'tls-cert-file': flag.file({
    help: 'cri: serving certificate of the kubelet API, of an authority that the API server trusts, instead of one from the cluster',
  }),
  'tls-private-key-file': flag.file({ help: 'cri: private key of --tls-cert-file' }),
};

/** The kubelet API. */
const SERVER_FLAGS = {
  port: flag.number({
    min: 1,
    max: 65_535,
    help: 'cri: port of the kubelet API; any free one if it is taken',
    default: 10_250,
    to: (port) => ({ agent: { port } }),
  }),
  'streaming-connection-idle-timeout': flag.duration({
    help: 'cri: when an idle exec, attach or port-forward stream is closed',
    defaultText: '4h',
    to(streamIdleMs) {
      if (streamIdleMs > 0 && streamIdleMs <= LONGEST_MS) return { agent: { streamIdleMs } };
      throw new UserError(
        '--streaming-connection-idle-timeout should be a duration such as 4h, more than 0 and at most 24 days.',
      );
    },
  }),
  'client-ca-file': flag.file({
    help: 'cri: certificate authority of client certificates at the kubelet API',
    defaultText: "the kubeconfig's",
  }),
  ...TLS_FLAGS,
  'anonymous-auth': fixed('false', 'the kubelet API has no anonymous access'),
  'authorization-mode': fixed('Webhook', 'the API server authorizes requests to the kubelet API'),
  'authentication-token-webhook': fixed('true', 'the API server authenticates tokens of the kubelet API'),
  'read-only-port': fixed('0', 'there is no port without authentication'),
  'enable-server': fixed('true', 'the API server needs the kubelet API'),
  'enable-debugging-handlers': fixed('true', 'the kubelet API serves logs, exec and port-forward'),
};

/** Limits of pods, and garbage collection. */
export const RESOURCE_FLAGS = {
  'pod-manifest-path': flag.dir({
    help: "cri: directory of static pods' manifests, or one file; /etc/kubernetes/manifests in kubeadm's layout",
    to: (staticPodPath) => ({ agent: { staticPodPath } }),
  }),
  'max-pods': flag.number({
    help: 'cri: number of pods that may run on the node',
    default: 110,
    to: (maximumPods) => ({ agent: { maximumPods } }),
  }),
  'pods-per-core': flag.number({
    help: 'cri: number of pods that may run on the node for each of its CPUs, at most --max-pods; 0: as many as --max-pods',
    default: 0,
    to: (podsPerCore) => ({ agent: { podsPerCore } }),
  }),
  'pod-max-pids': flag.number({
    min: -1,
    max: MAX_PIDS,
    help: 'cri: number of processes of a pod, -1 for any',
    default: -1,
    to: (podPidsLimit) => (podPidsLimit > 0 ? { agent: { podPidsLimit } } : {}),
  }),
  'system-reserved': flag.text({
    placeholder: '<amounts>',
    help: 'cri: cpu, memory, ephemeral-storage and pid not available to pods, such as cpu=500m,memory=1Gi',
    defaultText: 'pid=1000',
  }),
  'kube-reserved': flag.text({
    placeholder: '<amounts>',
    help: 'cri: the same, for the node agent and the container runtime',
  }),
  'container-log-max-size': flag.text({
    placeholder: '<quantity>',
    help: "cri: size at which a container's log is rotated",
    default: '10Mi',
    to: (text) => ({ logRotation: { maximumBytes: encodeFrameBytes('container-log-max-size', text) } }),
  }),
  'container-log-max-files': flag.number({
    min: 2,
    help: 'cri: log files of a container to keep',
    default: 5,
    to: (maximumFiles) => ({ logRotation: { maximumFiles } }),
  }),
  'container-log-monitor-interval': flag.duration({
    help: 'cri: period in which sizes of logs are looked at, at least 3s',
    default: '10s',
    own: true,
    to: (periodMs) => ({
      logRotation: {
        periodMs: periodWithin('container-log-monitor-interval', { ms: periodMs, minimumMs: 3_000 }),
      },
    }),
  }),
  'image-gc-high-threshold': flag.number({
    max: 100,
    placeholder: '<percent>',
    help: 'cri: disk usage above which unused images are removed',
    default: 85,
    to: (highThresholdPercent) => ({ imageGarbage: { highThresholdPercent } }),
  }),
  'image-gc-low-threshold': flag.number({
    max: 100,
    placeholder: '<percent>',
    help: 'cri: disk usage down to which they are removed',
    default: 80,
    to: (lowThresholdPercent) => ({ imageGarbage: { lowThresholdPercent } }),
  }),
  'minimum-image-ttl-duration': flag.duration({
    help: 'cri: age below which an unused image stays',
    default: '2m',
    to: (minAgeMs) => ({ imageGarbage: { minAgeMs } }),
  }),
  'image-maximum-gc-age': flag.duration({
    help: 'cri: age from which an unused image is removed however much room there is; 0s: never',
    default: '0s',
    own: true,
    to: (maxAgeMs) => ({ imageGarbage: { maxAgeMs } }),
  }),
  'eviction-hard': flag.text({
    placeholder: '<thresholds>',
    help: 'cri: what must be available, such as memory.available<500Mi,nodefs.available<10%: else pods are evicted at once; empty: nothing',
    defaultText: amountsOf(DEFAULT_HARD, '<'),
    to: (text) => ({ eviction: { hard: signalsFrom('eviction-hard', { text, separator: '<' }) } }),
  }),
  'eviction-soft': flag.text({
    placeholder: '<thresholds>',
    help: 'cri: the same, for pods that are evicted when it has been so for the time of --eviction-soft-grace-period',
    to: (text) => ({ eviction: { soft: signalsFrom('eviction-soft', { text, separator: '<' }) } }),
  }),
  'eviction-soft-grace-period': flag.text({
    placeholder: '<durations>',
    help: 'cri: how long, for each signal of --eviction-soft, such as memory.available=1m30s',
    to: (text) => ({
      eviction: {
        softGracePeriod: signalsFrom('eviction-soft-grace-period', { text, separator: '=' }),
      },
    }),
  }),
  'eviction-max-pod-grace-period': flag.number({
    max: 86_400,
    placeholder: '<seconds>',
    help: "cri: longest grace period of pods that --eviction-soft evicts; at most the pod's own",
    default: 0,
    to: (maximumPodGraceSeconds) => ({ eviction: { maximumPodGraceSeconds } }),
  }),
  'eviction-minimum-reclaim': flag.text({
    placeholder: '<amounts>',
    help: 'cri: how much more than its threshold must be available before evictions end, such as nodefs.available=500Mi',
    to: (text) => ({
      eviction: { minimumReclaim: signalsFrom('eviction-minimum-reclaim', { text, separator: '=' }) },
    }),
  }),
  'eviction-pressure-transition-period': flag.duration({
    help: 'cri: how long the node shows pressure after it was last seen',
    default: '5m0s',
    to: (transitionMs) => ({ eviction: { transitionMs } }),
  }),
  'merge-default-eviction-settings': flag.boolean({
    help: 'cri: signals that --eviction-hard does not name have their default thresholds',
    default: false,
    own: true,
  }),
  'serialize-image-pulls': flag.boolean({
    help: 'cri: pull one image at a time',
    default: false,
    to: (serialize) => (serialize ? { agent: { maximumParallelPulls: 1 } } : {}),
  }),
  'max-parallel-image-pulls': flag.number({
    min: 1,
    max: 1000,
    help: 'cri: images that are pulled at the same time, at most',
    defaultText: 'any number',
    own: true,
    to: (maximumParallelPulls) => ({ agent: { maximumParallelPulls } }),
  }),
  'image-credential-provider-config': flag.file({
    help: 'cri: CredentialProviderConfig of kubelet.config.k8s.io/v1, or a directory of such files: programs that give credentials for pulls, beside pull secrets',
  }),
  'image-credential-provider-bin-dir': flag.dir({
    help: 'cri: directory of the programs that --image-credential-provider-config names',
  }),
  'node-status-max-images': flag.number({
    min: -1,
    help: "cri: images in the Node's status, the largest ones; -1: all",
    default: 50,
    to: (statusMaximumImages) => ({ agent: { statusMaximumImages } }),
  }),
  'node-status-update-frequency': flag.duration({
    help: "cri: period in which the node's status is computed, and written if it has changed",
    default: '10s',
    to: (statusUpdateMs) => ({
      agent: {
        statusUpdateMs: periodWithin('node-status-update-frequency', {
          ms: statusUpdateMs,
          minimumMs: 1_000,
        }),
      },
    }),
  }),
  'node-status-report-frequency': flag.duration({
    help: "cri: period in which the node's status is written although nothing has changed",
    default: '5m',
    own: true,
    to: (statusReportMs) => ({
      agent: {
        statusReportMs: periodWithin('node-status-report-frequency', {
          ms: statusReportMs,
          minimumMs: 1_000,
        }),
      },
    }),
  }),
  'node-lease-duration-seconds': flag.number({
    min: 4,
    max: 86_400,
    help: "cri: duration of the node's Lease; it is renewed in a quarter of that",
    default: 40,
    own: true,
    to: (leaseSeconds) => ({ agent: { leaseSeconds } }),
  }),
  'max-container-restart-period': flag.duration({
    help: 'cri: longest delay between restarts of a failing container, from 1s to 5m',
    default: '5m',
    own: true,
    to(maximumBackoffMs) {
      if (maximumBackoffMs >= 1_000 && maximumBackoffMs <= 300_000) return { agent: { maximumBackoffMs } };
      throw new UserError('--max-container-restart-period should be a duration from 1s to 5m.');
    },
  }),
  'seccomp-default': flag.boolean({
    help: "cri: containers without a seccomp profile have the container runtime's, instead of none",
    default: false,
    to: (seccompDefault) => ({ agent: { seccompDefault } }),
  }),
  'allowed-unsafe-sysctls': flag.list({
    placeholder: '<names>',
    help: 'cri: kernel parameters that pods may set beside the safe ones; a trailing * stands for any ending, as in kernel.msg*',
    to: (allowedUnsafeSysctls) => ({
      agent: { allowedUnsafeSysctls: allowedUnsafeSysctls.map(unsafeSysctl) },
    }),
  }),
  'resolv-conf': flag.file({
    help: 'cri: file whose name servers are those of pods that have no cluster DNS',
    default: '/etc/resolv.conf',
    to: (resolvConf) => ({ agent: { resolvConf } }),
  }),
  'fail-swap-on': flag.boolean({
    help: 'cri: do not start on a machine with swap',
    default: false,
  }),
  'protect-kernel-defaults': flag.boolean({
    help: "cri: do not start when kernel settings are not the kubelet's defaults",
    default: false,
  }),
  'node-labels': flag.text({
    placeholder: '<labels>',
    help: 'cri: labels of a new Node, such as a=b,c=d',
  }),
  'register-with-taints': flag.text({
    placeholder: '<taints>',
    help: 'cri: taints of a new Node, such as key=value:NoSchedule',
  }),
};

/** Of the node problem detector; names are upstream's. */
export const PROBLEM_FLAGS = {
  'node-problem-detector': flag.boolean({
    help: 'cri: detect problems of the machine in its logs and by programs, and report them as conditions, events and metrics',
    default: true,
    own: true,
  }),
  'config.system-log-monitor': flag.list({
    placeholder: '<files>',
    help: "cri: configuration of system log monitors, JSON of upstream's node-problem-detector",
    defaultText: 'monitors of kernel messages',
    own: true,
  }),
  'config.custom-plugin-monitor': flag.list({
    placeholder: '<files>',
    help: 'cri: configuration of custom plugin monitors; where one of both is given, only what is given runs',
    defaultText: 'restarts and health of what the node runs',
    own: true,
  }),
  'reboot-command': flag.text({
    placeholder: '<command>',
    help: 'cri: command of sh that reboots this machine when the remediation of nodes asks for it, such as "systemctl reboot"',
    defaultText: 'none: it is not rebooted',
    own: true,
  }),
  'prometheus-port': flag.number({
    max: 65_535,
    help: 'cri: port of the metrics of the node problem detector on 127.0.0.1; 0 for none',
    default: 20_257,
    own: true,
  }),
};

const REFUSED_FLAGS = {
  'make-iptables-util-chains': fixed('true', 'the service proxy makes its own tables'),
  'register-node': fixed('true', 'the node agent registers its Node'),
  'cgroups-per-qos': fixed('true', 'pods lie below a cgroup of their QoS class'),
  'enable-controller-attach-detach': fixed('true', 'the node agent attaches nothing'),
  'cpu-cfs-quota': fixed('true', 'CPU limits are enforced'),
  'local-storage-capacity-isolation': fixed('true', 'limits of ephemeral storage are enforced'),
  'hairpin-mode': fixed(
    'hairpin-veth',
    "containers reach themselves through their service by the bridge's hairpin mode",
  ),
  ...refusedFlags('each node runs a containerd of its own', [
    'container-runtime-endpoint',
    'image-service-endpoint',
    'pod-infra-container-image',
    'runtime-cgroups',
    'kubelet-cgroups',
    'cgroup-root',
    'cgroup-driver',
  ]),
  'kernel-memcg-notification': fixed('false', 'the node is measured every 10s'),
  ...refusedFlags('it is not supported', [
    'address',
    'authentication-token-webhook-cache-ttl',
    'authorization-webhook-cache-authorized-ttl',
    'authorization-webhook-cache-unauthorized-ttl',
    'cloud-config',
    'cpu-cfs-quota-period',
    'cpu-manager-policy',
    'cpu-manager-policy-options',
    'cpu-manager-reconcile-period',
    'enforce-node-allocatable',
    'event-burst',
    'event-qps',
    'exit-on-lock-contention',
    'feature-gates',
    'file-check-frequency',
    'http-check-frequency',
    'kube-reserved-cgroup',
    'lock-file',
    'manifest-url',
    'manifest-url-header',
    'max-open-files',
    'memory-manager-policy',
    'oom-score-adj',
    'qos-reserved',
    'register-schedulable',
    'registry-burst',
    'registry-qps',
    'reserved-cpus',
    'reserved-memory',
    'runtime-request-timeout',
    'sync-frequency',
    'system-cgroups',
    'system-reserved-cgroup',
    'topology-manager-policy',
    'topology-manager-policy-options',
    'topology-manager-scope',
    'volume-plugin-dir',
    'volume-stats-agg-period',
  ]),
};

export const NODE_FLAGS = {
  ...MACHINE_FLAGS,
  ...CERTIFICATE_FLAGS,
  ...SERVER_FLAGS,
  ...RESOURCE_FLAGS,
  ...PROBLEM_FLAGS,
  ...REFUSED_FLAGS,
};

export type NodeFlags = GivenFlags<typeof NODE_FLAGS>;

function periodWithin(
  name: string,
  { ms, minimumMs }: { readonly ms: number; readonly minimumMs: number },
): number {
  if (ms >= minimumMs && ms <= LONGEST_MS) return ms;
  throw new UserError(`--${name} should be a duration from ${minimumMs / 1000}s to 24 days.`);
}

function amountsOf(map: Readonly<Record<string, string>>, separator: string): string {
  return Object.entries(map)
    .map(([name, amount]) => `${name}${separator}${amount}`)
    .join(',');
}

/** 'memory.available<500Mi,nodefs.available<10%' by signal. evictionThresholds() checks both sides. */
function signalsFrom(
  name: string,
  { text, separator }: { readonly text: string; readonly separator: '<' | '=' },
): Record<string, string> {
  const parts = text.split(',').filter((part) => part.trim() !== '');
  return Object.fromEntries(
    parts.map((part) => {
      const at = part.indexOf(separator);
      if (at > 0) return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
      throw new UserError(
        `--${name} has "${part}"; it should be a signal, '${separator}' and a value, such as memory.available${separator}${name.endsWith('period') ? '1m30s' : '500Mi'}.`,
      );
    }),
  );
}

/** Upstream's groups of parameters that a namespace of the pod has. */
const NAMESPACED = /^(kernel\.(shm|msg|sem)|fs\.mqueue\.|net\.)/;

function unsafeSysctl(given: string): string {
  const name = given.replaceAll('/', '.');
  if (NAMESPACED.test(name) && /^[a-z0-9._-]+\*?$/.test(name)) return name;
  throw new UserError(
    `--allowed-unsafe-sysctls has "${given}"; it should be a name or NAME* of kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* or net.*, which a pod has for itself.`,
  );
}

function encodeFrameBytes(name: string, text: string): number {
  const bytes = tryParseQuantity(text)?.value();
  if (bytes !== undefined && bytes > 0) return bytes;
  throw new UserError(`--${name} is "${text}"; it should be an amount of bytes, such as 10Mi.`);
}
