/** The flags of `capstan cluster-autoscaler`, one entry a flag, with upstream's names and defaults; upstream's others are refused by name. */
import type { AutoscalerSettings } from '#capacity/autoscaler/settings.ts';
import { COMPONENT_FLAGS, ELECTION_FLAGS } from '../flags/common.ts';
import { ACCESS_FLAGS, OWN_VERSION_FLAGS } from '../flags/endpoints.ts';
import { fixed, flagKinds, refusedFlags, type GivenFlags } from '../flags/define.ts';

/** What flags set by themselves. */
type Direct = Partial<AutoscalerSettings>;

const flag = flagKinds<Direct>();

export const PROVIDERS = ['simulated', 'script', 'externalgrpc'] as const;
export type ProviderName = (typeof PROVIDERS)[number];

/** Where machines come from. */
export const PROVIDER_FLAGS = {
  'cloud-provider': flag.choice(PROVIDERS, {
    help: 'what makes and removes machines: simulated nodes, a program of yours, or an external gRPC cloud provider',
  }),
  'cloud-config': flag.file({ help: 'configuration of the cloud provider' }),
  'cloud-provider-timeout': flag.duration({
    help: 'how long a call to the cloud provider may take',
    default: '1m',
    own: true,
    to: (providerTimeoutMs) => ({ providerTimeoutMs }),
  }),
};

const SCALE_UP_FLAGS = {
  expander: flag.list({
    help: 'which group grows where several could: least-waste, most-pods, price, priority, random; several are asked in turn',
    default: ['least-waste'] as readonly string[],
  }),
  'balance-similar-node-groups': flag.boolean({
    help: 'groups whose Nodes are alike, but for zone and region, grow together',
    default: false,
    to: (balanceSimilarGroups) => ({ balanceSimilarGroups }),
  }),
  'max-nodes-total': flag.number({
    help: 'Nodes of the whole cluster at most; 0: no limit',
    default: 0,
    to: (maxNodesTotal) => ({ maxNodesTotal }),
  }),
  'cores-total': flag.text({
    placeholder: '<min>:<max>',
    help: 'cores of the whole cluster',
    default: '0:320000',
  }),
  'memory-total': flag.text({
    placeholder: '<min>:<max>',
    help: 'gigabytes of memory of the whole cluster',
    default: '0:6400000',
  }),
  'max-nodes-per-scaleup': flag.number({
    min: 1,
    help: 'Nodes added at once at most',
    default: 1_000,
    to: (maxNodesPerScaleUp) => ({ maxNodesPerScaleUp }),
  }),
  'new-pod-scale-up-delay': flag.duration({
    help: 'pods that are younger wait; annotation cluster-autoscaler.kubernetes.io/pod-scale-up-delay makes it longer',
    default: '0s',
    to: (newPodScaleUpDelayMs) => ({ newPodScaleUpDelayMs }),
  }),
  'expendable-pods-priority-cutoff': flag.number({
    min: -2_147_483_648,
    help: 'pods of a lower priority neither add nor keep machines',
    default: -10,
    to: (expendablePriorityCutoff) => ({ expendablePriorityCutoff }),
  }),
  'scale-up-from-zero': flag.boolean({
    help: 'add machines where no Node is Ready',
    default: true,
    to: (scaleUpFromZero) => ({ scaleUpFromZero }),
  }),
  'enforce-node-group-min-size': flag.boolean({
    help: 'groups below their minimum grow to it',
    default: false,
    to: (enforceNodeGroupMinSize) => ({ enforceNodeGroupMinSize }),
  }),
};

const HEALTH_FLAGS = {
  'max-node-provision-time': flag.duration({
    help: 'how long a machine may take to become a Node',
    default: '15m',
  }),
  'max-node-startup-time': flag.duration({
    help: 'how long a Node may take to become Ready',
    default: '15m',
    to: (maxNodeStartupMs) => ({ maxNodeStartupMs }),
  }),
  'initial-node-group-backoff-duration': flag.duration({
    help: 'how long a group does not grow after a failure',
    default: '5m',
    to: (initialBackoffMs) => ({ initialBackoffMs }),
  }),
  'max-node-group-backoff-duration': flag.duration({
    help: 'and at most, after further ones',
    default: '30m',
    to: (maxBackoffMs) => ({ maxBackoffMs }),
  }),
  'node-group-backoff-reset-timeout': flag.duration({
    help: 'how long after the last failure they are forgotten',
    default: '3h',
    to: (backoffResetMs) => ({ backoffResetMs }),
  }),
  'max-total-unready-percentage': flag.number({
    max: 100,
    help: 'share of Nodes that are not Ready above which nothing is done',
    default: 45,
    to: (maxTotalUnreadyPercentage) => ({ maxTotalUnreadyPercentage }),
  }),
  'ok-total-unready-count': flag.number({
    help: 'Nodes that may be not Ready whatever their share',
    default: 3,
    to: (okTotalUnreadyCount) => ({ okTotalUnreadyCount }),
  }),
  'force-delete-unregistered-nodes': flag.boolean({
    help: 'remove instances that did not become Nodes also below the minimum of their group',
    default: false,
    to: (forceDeleteUnregisteredNodes) => ({ forceDeleteUnregisteredNodes }),
  }),
  'force-delete-failed-nodes': flag.boolean({
    help: 'and those that report an error',
    default: false,
    to: (forceDeleteFailedNodes) => ({ forceDeleteFailedNodes }),
  }),
  'delete-node-objects': flag.boolean({
    help: 'delete Nodes whose instance is gone, as a cloud controller manager would',
    default: true,
    own: true,
    to: (deleteNodeObjects) => ({ deleteNodeObjects }),
  }),
};

const SCALE_DOWN_FLAGS = {
  'scale-down-enabled': flag.boolean({
    help: 'remove machines that are not needed',
    default: true,
    to: (scaleDownEnabled) => ({ scaleDownEnabled }),
  }),
  'scale-down-unready-enabled': flag.boolean({
    help: 'and those that are not Ready',
    default: true,
    to: (scaleDownUnreadyEnabled) => ({ scaleDownUnreadyEnabled }),
  }),
  'scale-down-utilization-threshold': flag.number({
    max: 1,
    whole: false,
    help: 'share of CPU or memory asked for, the larger, from which on a Node is needed',
    default: 0.5,
  }),
  'scale-down-unneeded-time': flag.duration({
    help: 'how long a Node is unneeded before it goes',
    default: '10m',
  }),
  'scale-down-unready-time': flag.duration({
    help: 'the same of one that is not Ready',
    default: '20m',
  }),
  'scale-down-delay-after-add': flag.duration({
    help: 'nothing is removed for so long after machines were added',
    default: '10m',
    to: (scaleDownDelayAfterAddMs) => ({ scaleDownDelayAfterAddMs }),
  }),
  'scale-down-delay-after-delete': flag.duration({
    help: 'after one was removed',
    default: '0s',
    to: (scaleDownDelayAfterDeleteMs) => ({ scaleDownDelayAfterDeleteMs }),
  }),
  'scale-down-delay-after-failure': flag.duration({
    help: 'after a removal failed',
    default: '3m',
    to: (scaleDownDelayAfterFailureMs) => ({ scaleDownDelayAfterFailureMs }),
  }),
  'unremovable-node-recheck-timeout': flag.duration({
    help: 'how long a Node whose pods fit nowhere else is not looked at again',
    default: '5m',
    to: (unremovableRecheckMs) => ({ unremovableRecheckMs }),
  }),
  'max-scale-down-parallelism': flag.number({
    min: 1,
    help: 'Nodes that are removed at the same time',
    default: 10,
    to: (maxScaleDownParallelism) => ({ maxScaleDownParallelism }),
  }),
  'max-drain-parallelism': flag.number({
    min: 1,
    help: 'of those, Nodes whose pods are evicted',
    default: 1,
    to: (maxDrainParallelism) => ({ maxDrainParallelism }),
  }),
  'max-bulk-soft-taint-count': flag.number({
    help: 'Nodes marked as unneeded in one loop (PreferNoSchedule); 0 marks none',
    default: 10,
    to: (maxBulkSoftTaintCount) => ({ maxBulkSoftTaintCount }),
  }),
  'ignore-daemonsets-utilization': flag.boolean({
    help: 'pods of DaemonSets do not count for the utilization',
    default: false,
  }),
  'ignore-mirror-pods-utilization': flag.boolean({
    help: 'nor static pods',
    default: false,
    to: (ignoreMirrorPodsUtilization) => ({ ignoreMirrorPodsUtilization }),
  }),
};

const DRAIN_FLAGS = {
  'max-graceful-termination-sec': flag.number({
    help: 'seconds that a pod may take to end',
    default: 600,
    to: (seconds) => ({ maxGracefulTerminationMs: seconds * 1_000 }),
  }),
  'max-pod-eviction-time': flag.duration({
    help: 'how long an eviction that a budget refuses is tried again',
    default: '2m',
    to: (maxPodEvictionMs) => ({ maxPodEvictionMs }),
  }),
  'node-delete-delay-after-taint': flag.duration({
    help: 'from the mark to the eviction',
    default: '5s',
    to: (nodeDeleteDelayAfterTaintMs) => ({ nodeDeleteDelayAfterTaintMs }),
  }),
  'node-deletion-delay-timeout': flag.duration({
    help: 'how long annotations delay-deletion.cluster-autoscaler.kubernetes.io/… may hold up a deletion',
    default: '2m',
    to: (nodeDeletionDelayTimeoutMs) => ({ nodeDeletionDelayTimeoutMs }),
  }),
  'cordon-node-before-terminating': flag.boolean({
    help: 'cordon Nodes that are removed',
    default: true,
    to: (cordonNodeBeforeTerminating) => ({ cordonNodeBeforeTerminating }),
  }),
  'daemonset-eviction-for-empty-nodes': flag.boolean({
    help: 'evict pods of DaemonSets from empty Nodes',
    default: false,
    to: (daemonSetEvictionForEmptyNodes) => ({ daemonSetEvictionForEmptyNodes }),
  }),
  'daemonset-eviction-for-occupied-nodes': flag.boolean({
    help: 'and from others',
    default: true,
    to: (daemonSetEvictionForOccupiedNodes) => ({ daemonSetEvictionForOccupiedNodes }),
  }),
  'skip-nodes-with-system-pods': flag.boolean({
    help: 'pods of kube-system without a budget keep their Node',
    default: true,
  }),
  'skip-nodes-with-local-storage': flag.boolean({
    help: 'pods with emptyDir or hostPath keep their Node',
    default: true,
  }),
  'skip-nodes-with-custom-controller-pods': flag.boolean({
    help: "pods of controllers that are not upstream's keep their Node",
    default: true,
  }),
  'min-replica-count': flag.number({
    help: 'replica sets with fewer replicas keep the Nodes of their pods',
    default: 0,
  }),
};

const REPORT_FLAGS = {
  namespace: flag.text({
    placeholder: '<namespace>',
    help: 'of the status and of the priorities',
    default: 'kube-system',
    to: (namespace) => ({ namespace }),
  }),
  'write-status-configmap': flag.boolean({
    help: 'write the status to a ConfigMap',
    default: true,
    to: (writeStatusConfigMap) => ({ writeStatusConfigMap }),
  }),
  'status-config-map-name': flag.text({
    placeholder: '<name>',
    help: 'its name',
    default: 'cluster-autoscaler-status',
    to: (statusConfigMapName) => ({ statusConfigMapName }),
  }),
  'emit-per-nodegroup-metrics': flag.boolean({
    help: 'metrics of each group',
    default: false,
    to: (emitPerNodeGroupMetrics) => ({ emitPerNodeGroupMetrics }),
  }),
  address: flag.text({
    placeholder: '<address>',
    help: 'address and port of metrics and health, over TLS; empty or port 0 for none',
    default: '127.0.0.1:8085',
  }),
};

/** That settings are combined from. */
export const AUTOSCALING_FLAGS = {
  'scan-interval': flag.duration({
    help: 'time between two looks at the cluster; a pod that is refused is looked at within two seconds',
    default: '10s',
    to: (scanIntervalMs) => ({ scanIntervalMs }),
  }),
  ...PROVIDER_FLAGS,
  ...SCALE_UP_FLAGS,
  ...HEALTH_FLAGS,
  ...SCALE_DOWN_FLAGS,
  ...DRAIN_FLAGS,
  ...REPORT_FLAGS,
};

const REFUSED_FLAGS = {
  estimator: fixed('binpacking', 'there is no other'),
  'frequent-loops-enabled': fixed('true', 'a pod that is refused starts a loop'),
  ...refusedFlags('node groups come from the cloud provider: --cloud-config', [
    'nodes',
    'node-group-auto-discovery',
  ]),
  ...refusedFlags('the default profile of the scheduler counts', ['scheduler-config-file']),
  ...refusedFlags('use --kubeconfig', ['kubernetes']),
  ...refusedFlags('pods of all schedulers that say Unschedulable are seen to', [
    'allowed-scheduler-names',
    'bypassed-scheduler-names',
  ]),
  ...refusedFlags('devices are not simulated', [
    'gpu-total',
    'scale-down-gpu-utilization-threshold',
    'enable-dynamic-resource-allocation',
  ]),
  ...refusedFlags('there is no gRPC expander', ['grpc-expander-url', 'grpc-expander-cert']),
  ...refusedFlags('groups are alike by labels, CPU and memory', [
    'balancing-label',
    'balancing-ignore-label',
    'max-allocatable-difference-ratio',
    'max-free-difference-ratio',
    'memory-difference-ratio',
  ]),
  ...refusedFlags('pods of kube-system without a budget stay', ['blocking-system-pod-distruption-timeout']),
  ...refusedFlags('the bounds are fixed', [
    'max-binpacking-time',
    'max-nodegroup-binpacking-duration',
    'max-bulk-soft-taint-time',
    'scale-down-simulation-timeout',
    'scale-down-non-empty-candidates-count',
    'scale-down-candidates-pool-ratio',
    'scale-down-candidates-pool-min-count',
  ]),
  ...refusedFlags('startup, status and ignore taints are known by their prefixes', [
    'startup-taint',
    'startup-taint-prefix',
    'status-taint',
    'ignore-taint',
  ]),
  ...refusedFlags('it is not supported', [
    'async-node-groups',
    'capacity-buffer-controller-enabled',
    'capacity-buffer-pod-injection-enabled',
    'cluster-name',
    'debugging-snapshot-enabled',
    'drain-priority-config',
    'enable-proactive-scaleup',
    'enable-provisioning-requests',
    'force-ds',
    'max-failing-time',
    'max-inactivity',
    'node-deletion-batcher-interval',
    'node-deletion-candidate-ttl',
    'parallel-scale-up',
    'record-duplicated-events',
    'regional',
    'scale-down-delay-type-local',
    'scale-from-unschedulable',
    'user-agent',
  ]),
};

export const CLUSTER_AUTOSCALER_FLAGS = {
  ...COMPONENT_FLAGS,
  ...ELECTION_FLAGS,
  ...AUTOSCALING_FLAGS,
  ...ACCESS_FLAGS,
  ...OWN_VERSION_FLAGS,
  ...REFUSED_FLAGS,
};

export type ClusterAutoscalerFlags = GivenFlags<typeof CLUSTER_AUTOSCALER_FLAGS>;
