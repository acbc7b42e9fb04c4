/** What keeps a node from being emptied: the cluster autoscaler's rules of scale-down for pods and nodes, with upstream's names and defaults. Pure. */
import type { Node, Pod, PodDisruptionBudget } from '#api/types.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { staysWithNode } from '#component-helpers/pod-drain.ts';
import { compileLabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';

const PREFIX = 'cluster-autoscaler.kubernetes.io/';
const SCALE_DOWN_DISABLED = `${PREFIX}scale-down-disabled`;
const SAFE_TO_EVICT = `${PREFIX}safe-to-evict`;
/** Names of volumes, with commas between. */
const SAFE_VOLUMES = `${PREFIX}safe-to-evict-local-volumes`;
const SYSTEM_NAMESPACE = 'kube-system';

export type BlockingReason =
  | 'ScaleDownDisabledAnnotation'
  | 'NotSafeToEvictAnnotation'
  | 'NotReplicated'
  | 'MinReplicasReached'
  | 'UnmovableKubeSystemPod'
  | 'LocalStorageRequested'
  | 'NotEnoughPdb';

interface Blocker {
  readonly reason: BlockingReason;
  /** Undefined: it is about the node. */
  readonly pod?: Pod;
}

/** Upstream's flags of the same names. */
export interface DrainRules {
  readonly skipNodesWithSystemPods: boolean;
  readonly skipNodesWithLocalStorage: boolean;
  readonly skipNodesWithCustomControllerPods: boolean;
  /** Replica sets and replication controllers with fewer keep their pods. */
  readonly minReplicaCount: number;
}

export const DEFAULT_DRAIN_RULES: DrainRules = {
  skipNodesWithSystemPods: true,
  skipNodesWithLocalStorage: true,
  skipNodesWithCustomControllerPods: true,
  minReplicaCount: 0,
};

interface DrainFacts {
  readonly budgets: readonly PodDisruptionBudget[];
  /** Default: upstream's. */
  readonly rules?: DrainRules | undefined;
  /** Of the pod's controller; undefined: unknown. Only asked with minReplicaCount. */
  readonly replicasOf?: ((pod: Pod) => number | undefined) | undefined;
}

/** Controllers that upstream knows to make pods again. */
const REPLICATING = new Set(['ReplicationController', 'ReplicaSet', 'StatefulSet', 'Job', 'DaemonSet']);

/** The first that is found. Undefined: its pods may be evicted; whether they fit elsewhere is another question. */
export function blockerOf(
  { node, pods }: { readonly node: Node; readonly pods: readonly Pod[] },
  facts: DrainFacts,
): Blocker | undefined {
  const { budgets } = facts;
  if (node.metadata?.annotations?.[SCALE_DOWN_DISABLED] === 'true')
    return { reason: 'ScaleDownDisabledAnnotation' };
  const moving = pods.filter((pod) => !staysWithNode(pod) && !pod.metadata?.deletionTimestamp);
  for (const pod of moving) {
    const reason = reasonToStay(pod, facts);
    if (reason) return { reason, pod };
  }
  // All of them leave at once, so that a budget has to allow as many as it has here.
  for (const budget of budgets) {
    const covered = moving.filter((pod) => isCovered(pod, budget));
    if (covered.length > (budget.status?.disruptionsAllowed ?? 0))
      return { reason: 'NotEnoughPdb', pod: covered[0]! };
  }
  return undefined;
}

function reasonToStay(
  pod: Pod,
  { budgets, rules = DEFAULT_DRAIN_RULES, replicasOf }: DrainFacts,
): BlockingReason | undefined {
  const { annotations, namespace } = pod.metadata ?? {};
  const safe = annotations?.[SAFE_TO_EVICT];
  if (safe === 'true') return undefined;
  if (safe === 'false') return 'NotSafeToEvictAnnotation';
  const owner = findController(pod);
  if (!owner || (rules.skipNodesWithCustomControllerPods && !REPLICATING.has(owner.kind)))
    return 'NotReplicated';
  if (rules.minReplicaCount > 0 && (replicasOf?.(pod) ?? Infinity) < rules.minReplicaCount)
    return 'MinReplicasReached';
  if (
    rules.skipNodesWithSystemPods &&
    namespace === SYSTEM_NAMESPACE &&
    !budgets.some((budget) => isCovered(pod, budget))
  )
    return 'UnmovableKubeSystemPod';
  return rules.skipNodesWithLocalStorage && hasLocalStorage(pod) ? 'LocalStorageRequested' : undefined;
}

/** Volumes in memory end with the pod anyway. */
function hasLocalStorage({ metadata, spec }: Pod): boolean {
  const safe = new Set((metadata?.annotations?.[SAFE_VOLUMES] ?? '').split(','));
  return (spec?.volumes ?? []).some(
    ({ name, emptyDir, hostPath }) =>
      (hostPath !== undefined || (emptyDir !== undefined && emptyDir.medium !== 'Memory')) && !safe.has(name),
  );
}

function isCovered({ metadata }: Pod, budget: PodDisruptionBudget): boolean {
  if (metadata?.namespace !== budget.metadata?.namespace) return false;
  return compileLabelSelector(budget.spec?.selector as LabelSelectorObject | undefined).matches(
    metadata?.labels ?? {},
  );
}
