/** The flags of `capstan controller-manager`, one entry a flag, with upstream's names; upstream's others are refused by name. */
import { COMPONENT_FLAGS, ELECTION_FLAGS } from '../flags/common.ts';
import { ACCESS_FLAGS, portFlags } from '../flags/endpoints.ts';
import { VERSION_FLAGS } from '../flags/versions.ts';
import { fixed, flagKinds, refusedFlags, type GivenFlags } from '../flags/define.ts';
import type { ControllerManagerSettings } from './compose.ts';

const flag = flagKinds<ControllerManagerSettings>();

/** What certificate requests are signed with; each signer may have its own. */
export const SIGNING_FLAGS = {
  'cluster-signing-cert-file': flag.file({ help: 'certificate authority that signs certificate requests' }),
  'cluster-signing-key-file': flag.file({ help: 'private key of --cluster-signing-cert-file' }),
  ...signerFlags('kube-apiserver-client'),
  ...signerFlags('kubelet-client'),
  ...signerFlags('kubelet-serving'),
  ...signerFlags('legacy-unknown'),
  'cluster-signing-duration': flag.duration({
    help: 'longest lifetime of a signed certificate',
    default: '8760h',
  }),
};

type SignerFlags<Signer extends string> = Readonly<
  Record<
    `cluster-signing-${Signer}-cert-file` | `cluster-signing-${Signer}-key-file`,
    ReturnType<typeof flag.file<{ help: string }>>
  >
>;

function signerFlags<const Signer extends string>(signer: Signer): SignerFlags<Signer> {
  const name = `cluster-signing-${signer}` as const;
  return {
    [`${name}-cert-file`]: flag.file({
      help: `certificate authority of ${signer} certificates, instead of --cluster-signing-cert-file`,
    }),
    [`${name}-key-file`]: flag.file({ help: `private key of --${name}-cert-file` }),
  } as SignerFlags<Signer>;
}

export const MANAGER_FLAGS = {
  controllers: flag.list({
    help: "controllers to run: '*' for those on by default, NAME to add one, -NAME to leave one out",
    default: ['*'] as readonly string[],
    to: (names) => ({ names }),
  }),
  'use-service-account-credentials': flag.boolean({
    help: 'run each controller as its own service account',
    default: true,
  }),
  'feature-gates': flag.text({
    placeholder: '<settings>',
    help: 'feature gates: StorageVersionMigrator=true',
  }),
  'cluster-cidr': flag.text({
    placeholder: '<ranges>',
    help: 'IP range of the pods of the cluster, of which each node gets a part, or one of each family with a comma between',
    default: '10.244.0.0/16',
  }),
  'node-cidr-mask-size': flag.number({
    min: 1,
    max: 128,
    help: "prefix length of a node's part of --cluster-cidr, of one family",
    defaultText: '24, of IPv6 64',
    to: (nodeCIDRMaskSize) => ({ controllers: { nodeCIDRMaskSize } }),
  }),
  'node-cidr-mask-size-ipv4': flag.number({
    min: 1,
    max: 32,
    help: "prefix length of a node's part of the IPv4 range of --cluster-cidr",
    defaultText: '24',
    to: (nodeCIDRMaskSizeIPv4) => ({ controllers: { nodeCIDRMaskSizeIPv4 } }),
  }),
  'node-cidr-mask-size-ipv6': flag.number({
    min: 1,
    max: 128,
    help: "prefix length of a node's part of the IPv6 range of --cluster-cidr",
    defaultText: '64',
    to: (nodeCIDRMaskSizeIPv6) => ({ controllers: { nodeCIDRMaskSizeIPv6 } }),
  }),
  'allocate-node-cidrs': fixed(
    'true',
    'each node gets a part of --cluster-cidr; leave out with --controllers=*,-node-ipam-controller',
  ),
  'cidr-allocator-type': fixed('RangeAllocator', 'there is no cloud provider'),
  'root-ca-file': flag.file({
    help: 'certificate authority to publish in every namespace',
    defaultText: "the kubeconfig's",
  }),
  'service-account-private-key-file': flag.file({
    help: 'private key that signs tokens in Secrets; without it none are issued',
  }),
  'horizontal-pod-autoscaler-sync-period': flag.duration({
    help: 'period at which HorizontalPodAutoscalers are evaluated',
    default: '15s',
    to: (autoscalerSyncPeriodMs) => ({ controllers: { autoscalerSyncPeriodMs } }),
  }),
  'horizontal-pod-autoscaler-tolerance': flag.number({
    min: 0,
    max: 1,
    whole: false,
    help: 'how far usage may be from its target without scaling, as a part of it',
    default: 0.1,
    to: (autoscalerTolerance) => ({ controllers: { autoscalerTolerance } }),
  }),
  'horizontal-pod-autoscaler-downscale-stabilization': flag.duration({
    help: 'time for which the highest recommendation is kept before scaling down',
    default: '5m',
    to: (autoscalerDownscaleStabilizationMs) => ({ controllers: { autoscalerDownscaleStabilizationMs } }),
  }),
  'horizontal-pod-autoscaler-cpu-initialization-period': flag.duration({
    help: 'time after a pod starts in which its CPU usage counts only while it is ready',
    default: '5m',
    to: (autoscalerCpuInitializationMs) => ({ controllers: { autoscalerCpuInitializationMs } }),
  }),
  'horizontal-pod-autoscaler-initial-readiness-delay': flag.duration({
    help: 'time after a pod starts in which becoming unready counts as never having been ready',
    default: '30s',
    to: (autoscalerInitialReadinessDelayMs) => ({ controllers: { autoscalerInitialReadinessDelayMs } }),
  }),
  'legacy-service-account-token-clean-up-period': flag.duration({
    help: 'age at which unused tokens in Secrets are invalidated, then removed',
    defaultText: '8760h',
  }),
};

/** More would only wait for each other: each is a request or more under way. */
const MAXIMUM_WORKERS = 1_000;

/** How many objects a controller works on at the same time; upstream's defaults. */
export const WORKER_FLAGS = {
  ...workersFlag('concurrent-cron-job-syncs', 'cronjob-controller'),
  ...workersFlag('concurrent-daemonset-syncs', 'daemonset-controller', { default: 2 }),
  ...workersFlag('concurrent-deployment-syncs', 'deployment-controller'),
  ...workersFlag('concurrent-endpoint-syncs', 'endpoints-controller'),
  ...workersFlag('concurrent-ephemeralvolume-syncs', 'ephemeral-volume-controller'),
  ...workersFlag('concurrent-gc-syncs', 'garbage-collector-controller', { default: 20 }),
  ...workersFlag('concurrent-horizontal-pod-autoscaler-syncs', 'horizontal-pod-autoscaler-controller'),
  ...workersFlag('concurrent-job-syncs', 'job-controller'),
  ...workersFlag('concurrent-namespace-syncs', 'namespace-controller', { default: 10 }),
  ...workersFlag('concurrent-rc-syncs', 'replicationcontroller-controller'),
  ...workersFlag('concurrent-replicaset-syncs', 'replicaset-controller'),
  ...workersFlag('concurrent-resource-quota-syncs', 'resourcequota-controller'),
  ...workersFlag('concurrent-service-endpoint-syncs', 'endpointslice-controller', { max: 50 }),
  ...workersFlag('concurrent-serviceaccount-token-syncs', 'serviceaccount-token-controller'),
  ...workersFlag('concurrent-statefulset-syncs', 'statefulset-controller'),
  ...workersFlag('concurrent-ttl-after-finished-syncs', 'ttl-after-finished-controller'),
  ...workersFlag('mirroring-concurrent-service-endpoint-syncs', 'endpointslice-mirroring-controller', {
    max: 50,
  }),
};

function workersFlag<const Name extends string>(
  name: Name,
  controller: string,
  { default: usual = 5, max = MAXIMUM_WORKERS }: { readonly default?: number; readonly max?: number } = {},
) {
  return {
    [name]: flag.number({
      min: 1,
      max,
      help: `objects that the ${controller} works on at the same time`,
      default: usual,
      to: (workers) => ({ workers: { [controller]: workers } }),
    }),
  } as Readonly<Record<Name, ReturnType<typeof flag.number<{ help: string; default: number }>>>>;
}

const REFUSED_FLAGS = {
  'enable-garbage-collector': fixed('true', 'leave out with --controllers=*,-garbage-collector-controller'),
  ...refusedFlags('there is no cloud provider', [
    'cloud-config',
    'cloud-provider',
    'allow-untagged-cloud',
    'configure-cloud-routes',
    'external-cloud-volume-plugin',
    'node-sync-period',
    'route-reconciliation-period',
    'cluster-name',
    'concurrent-service-syncs',
  ]),
  ...refusedFlags('the API server checks the expressions of policies itself', [
    'concurrent-validating-admission-policy-status-syncs',
  ]),
  ...refusedFlags('it is not supported', [
    'attach-detach-reconcile-sync-period',
    'controller-start-interval',
    'disable-attach-detach-reconcile-sync',
    'disable-force-detach-on-timeout',
    'enable-dynamic-provisioning',
    'enable-hostpath-provisioner',
    'enable-leader-migration',
    'endpoint-updates-batch-period',
    'endpointslice-updates-batch-period',
    'flex-volume-plugin-dir',
    'large-cluster-size-threshold',
    'leader-migration-config',
    'max-endpoints-per-slice',
    'min-resync-period',
    'mirroring-endpointslice-updates-batch-period',
    'mirroring-max-endpoints-per-subset',
    'namespace-sync-period',
    'node-eviction-rate',
    'node-monitor-grace-period',
    'node-monitor-period',
    'node-startup-grace-period',
    'pv-recycler-increment-timeout-nfs',
    'pv-recycler-minimum-timeout-hostpath',
    'pv-recycler-minimum-timeout-nfs',
    'pv-recycler-pod-template-filepath-hostpath',
    'pv-recycler-pod-template-filepath-nfs',
    'pv-recycler-timeout-increment-hostpath',
    'pvclaimbinder-sync-period',
    'resource-quota-sync-period',
    'secondary-node-eviction-rate',
    'service-cluster-ip-range',
    'terminated-pod-gc-threshold',
    'unhealthy-zone-threshold',
  ]),
};

export const PORT_FLAGS = portFlags(10_257);

export const CONTROLLER_MANAGER_FLAGS = {
  ...COMPONENT_FLAGS,
  ...ELECTION_FLAGS,
  ...PORT_FLAGS,
  ...ACCESS_FLAGS,
  ...VERSION_FLAGS,
  ...MANAGER_FLAGS,
  ...SIGNING_FLAGS,
  ...WORKER_FLAGS,
  ...REFUSED_FLAGS,
};

export type ControllerManagerFlags = GivenFlags<typeof CONTROLLER_MANAGER_FLAGS>;
