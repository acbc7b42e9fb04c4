/** Settings of the cluster autoscaler: upstream's flags, with upstream's defaults. */
import type { Expander } from '../node-groups.ts';
import { DEFAULT_DRAIN_RULES, type DrainRules } from '../drainable.ts';
import type { GroupOptions } from './provider.ts';

export interface AutoscalerSettings {
  readonly scanIntervalMs: number;
  readonly expanders: readonly Expander[];
  readonly balanceSimilarGroups: boolean;
  /** 0: no limit. */
  readonly maxNodesTotal: number;
  readonly maxNodesPerScaleUp: number;
  readonly cores: Bounds;
  readonly memoryBytes: Bounds;
  readonly scaleDownEnabled: boolean;
  readonly scaleDownUnreadyEnabled: boolean;
  /** What a group may have otherwise. */
  readonly groupDefaults: GroupOptions;
  readonly ignoreMirrorPodsUtilization: boolean;
  readonly scaleDownDelayAfterAddMs: number;
  readonly scaleDownDelayAfterDeleteMs: number;
  readonly scaleDownDelayAfterFailureMs: number;
  readonly unremovableRecheckMs: number;
  readonly maxScaleDownParallelism: number;
  readonly maxDrainParallelism: number;
  readonly maxGracefulTerminationMs: number;
  readonly maxPodEvictionMs: number;
  readonly nodeDeleteDelayAfterTaintMs: number;
  readonly nodeDeletionDelayTimeoutMs: number;
  readonly cordonNodeBeforeTerminating: boolean;
  readonly daemonSetEvictionForEmptyNodes: boolean;
  readonly daemonSetEvictionForOccupiedNodes: boolean;
  readonly drainRules: DrainRules;
  /** 0: Nodes are not marked. */
  readonly maxBulkSoftTaintCount: number;
  readonly expendablePriorityCutoff: number;
  readonly newPodScaleUpDelayMs: number;
  readonly maxTotalUnreadyPercentage: number;
  readonly okTotalUnreadyCount: number;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly backoffResetMs: number;
  /** How long after its registration a Node that is not Ready is still starting. */
  readonly maxNodeStartupMs: number;
  readonly forceDeleteUnregisteredNodes: boolean;
  readonly forceDeleteFailedNodes: boolean;
  readonly enforceNodeGroupMinSize: boolean;
  readonly scaleUpFromZero: boolean;
  readonly namespace: string;
  readonly writeStatusConfigMap: boolean;
  readonly statusConfigMapName: string;
  readonly emitPerNodeGroupMetrics: boolean;
  /** Own: Nodes whose instance is gone are deleted, since there is no cloud controller manager that would. */
  readonly deleteNodeObjects: boolean;
  /** Own: of each call. */
  readonly providerTimeoutMs: number;
}

interface Bounds {
  readonly min: number;
  readonly max: number;
}

const MINUTE_MS = 60_000;
const GIGABYTE = 2 ** 30;

export const DEFAULT_SETTINGS: AutoscalerSettings = {
  scanIntervalMs: 10_000,
  expanders: ['least-waste'],
  balanceSimilarGroups: false,
  maxNodesTotal: 0,
  maxNodesPerScaleUp: 1_000,
  cores: { min: 0, max: 320_000 },
  memoryBytes: { min: 0, max: 6_400_000 * GIGABYTE },
  scaleDownEnabled: true,
  scaleDownUnreadyEnabled: true,
  groupDefaults: {
    scaleDownUtilizationThreshold: 0.5,
    scaleDownUnneededMs: 10 * MINUTE_MS,
    scaleDownUnreadyMs: 20 * MINUTE_MS,
    maxNodeProvisionMs: 15 * MINUTE_MS,
    ignoreDaemonSetsUtilization: false,
  },
  ignoreMirrorPodsUtilization: false,
  scaleDownDelayAfterAddMs: 10 * MINUTE_MS,
  scaleDownDelayAfterDeleteMs: 0,
  scaleDownDelayAfterFailureMs: 3 * MINUTE_MS,
  unremovableRecheckMs: 5 * MINUTE_MS,
  maxScaleDownParallelism: 10,
  maxDrainParallelism: 1,
  maxGracefulTerminationMs: 10 * MINUTE_MS,
  maxPodEvictionMs: 2 * MINUTE_MS,
  nodeDeleteDelayAfterTaintMs: 5_000,
  nodeDeletionDelayTimeoutMs: 2 * MINUTE_MS,
  cordonNodeBeforeTerminating: true,
  daemonSetEvictionForEmptyNodes: false,
  daemonSetEvictionForOccupiedNodes: true,
  drainRules: DEFAULT_DRAIN_RULES,
  maxBulkSoftTaintCount: 10,
  expendablePriorityCutoff: -10,
  newPodScaleUpDelayMs: 0,
  maxTotalUnreadyPercentage: 45,
  okTotalUnreadyCount: 3,
  initialBackoffMs: 5 * MINUTE_MS,
  maxBackoffMs: 30 * MINUTE_MS,
  backoffResetMs: 180 * MINUTE_MS,
  maxNodeStartupMs: 15 * MINUTE_MS,
  forceDeleteUnregisteredNodes: false,
  forceDeleteFailedNodes: false,
  enforceNodeGroupMinSize: false,
  scaleUpFromZero: true,
  namespace: 'kube-system',
  writeStatusConfigMap: true,
  statusConfigMapName: 'cluster-autoscaler-status',
  emitPerNodeGroupMetrics: false,
  deleteNodeObjects: true,
  providerTimeoutMs: MINUTE_MS,
};
