/**
 * Whether a change of a node or of another pod may make a pod schedulable that a plugin refused: upstream's queueing hints. Pure. They may say yes
 * too often, never no too often: without the changed object the answer is yes.
 */
import type { Node, Pod } from '#api/types.ts';
import { hostPortsConflict, podHostPorts } from '#component-helpers/host-ports.ts';
import { matchesRequiredNodeAffinity } from '#component-helpers/node-affinity.ts';
import { findUntoleratedTaint, toleratesAny } from '#component-helpers/tolerations.ts';
import { compileLabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ClusterEvent, SchedulerPlugin } from './plugin.ts';
import { podInfo, type AffinityTerm, type PodInfo } from './pod-info.ts';
import { podRequests, resourceAmounts, type Amounts } from './resources.ts';

interface Change {
  readonly kind: ClusterEvent;
  readonly object: KubeObject | undefined;
  readonly before: KubeObject | undefined;
}
type Hint = NonNullable<SchedulerPlugin['isHelpedBy']>;

/** A node helps when it is right now and was not before. */
function becomes(isRight: (pod: Pod, node: Node) => boolean): (pod: Pod, change: Change) => boolean {
  return (pod, { object, before }) => {
    const node = object as Node | undefined;
    if (!node) return true;
    return isRight(pod, node) && !(before && isRight(pod, before as Node));
  };
}

function isNodeEvent({ kind }: Change): boolean {
  return kind === 'node-added' || kind === 'node-updated';
}

function factsOf({ metadata }: Node): {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
} {
  return { name: metadata?.name ?? '', labels: metadata?.labels ?? {} };
}

export const helpsNodeAffinity: Hint = becomes(({ spec }, node) =>
  matchesRequiredNodeAffinity(spec, factsOf(node)),
);

export const helpsTaintToleration: Hint = becomes(
  ({ spec }, node) =>
    findUntoleratedTaint(node.spec?.taints, {
      tolerations: spec?.tolerations,
      effects: ['NoSchedule', 'NoExecute'],
    }) === undefined,
);

const UNSCHEDULABLE = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };

export const helpsNodeUnschedulable: Hint = becomes(
  ({ spec }, node) => !node.spec?.unschedulable || toleratesAny(spec?.tolerations, UNSCHEDULABLE),
);

/** Ports are free again when a pod that had one of them is gone. */
export const helpsNodePorts: Hint = (pod, change) => {
  const other = change.object as Pod | undefined;
  if (change.kind !== 'pod-deleted' || !other) return true;
  return hostPortsConflict(podHostPorts(pod.spec), podHostPorts(other.spec));
};

const RESOURCES = ['milliCPU', 'memoryBytes', 'ephemeralStorageBytes'] as const;

/** A node that is large enough, and has more of something than before; a pod that is gone, or requests less. */
export const helpsNodeResourcesFit: Hint = (pod, change) => {
  if (!change.object) return true;
  const wanted = podInfo(pod).requests;
  if (!isNodeEvent(change))
    return (
      change.kind !== 'pod-updated' ||
      !change.before ||
      requestsLess(wanted, change.object as Pod, change.before as Pod)
    );
  const now = allocatableOf(change.object as Node);
  if (!covers(now, wanted)) return false;
  return !change.before || hasMore(wanted, { now, before: allocatableOf(change.before as Node) });
};

function requestsLess(wanted: Amounts, now: Pod, before: Pod): boolean {
  return hasMore(wanted, { now: podRequests(before), before: podRequests(now) });
}

function allocatableOf({ status }: Node): Amounts {
  const amounts = resourceAmounts(status?.allocatable);
  const pods = Number(status?.allocatable?.['pods'] ?? 0);
  return { ...amounts, scalars: new Map([...amounts.scalars, ['pods', pods]]) };
}

/** Extended resources are left out: a DeviceClass may serve them. */
function covers(now: Amounts, wanted: Amounts): boolean {
  return RESOURCES.every((name) => wanted[name] <= now[name]);
}

function hasMore(
  wanted: Amounts,
  { now, before }: { readonly now: Amounts; readonly before: Amounts },
): boolean {
  const scalars = [...wanted.scalars.keys(), 'pods'];
  return (
    RESOURCES.some((name) => wanted[name] > 0 && now[name] > before[name]) ||
    scalars.some((name) => (now.scalars.get(name) ?? 0) > (before.scalars.get(name) ?? 0))
  );
}

/** Pods of its namespace that a constraint counts, and nodes in a domain of all constraints. Pods without constraints have default ones. */
export const helpsPodTopologySpread: Hint = (pod, change) => {
  const constraints = pod.spec?.topologySpreadConstraints ?? [];
  if (!change.object || constraints.length === 0) return true;
  const objects = [change.object, change.before].filter((one) => one !== undefined);
  if (change.kind.startsWith('node-'))
    return objects.some((one) =>
      constraints.every(({ topologyKey }) => one.metadata?.labels?.[topologyKey] !== undefined),
    );
  if (change.object.metadata?.namespace !== pod.metadata?.namespace) return false;
  return objects.some((one) =>
    constraints.some(({ labelSelector }) =>
      compileLabelSelector(labelSelector as LabelSelectorObject | undefined).matches(
        one.metadata?.labels ?? {},
      ),
    ),
  );
};

/** Pods that the pod's terms are about, pods that kept it away, and nodes in a domain of one of its terms. */
export const helpsInterPodAffinity: Hint = (pod, change) => {
  const info = podInfo(pod);
  const terms = [...info.requiredAffinity, ...info.requiredAntiAffinity];
  if (!change.object) return true;
  const objects = [change.object, change.before].filter((one) => one !== undefined);
  if (change.kind.startsWith('node-'))
    return (
      terms.length === 0 ||
      objects.some((one) =>
        terms.some(({ topologyKey }) => one.metadata?.labels?.[topologyKey] !== undefined),
      )
    );
  return objects.some((one) => {
    const other = podInfo(one as Pod);
    return (
      terms.some((term) => mayConcern(term, other)) ||
      other.requiredAntiAffinity.some((term) => mayConcern(term, info))
    );
  });
};

/** Labels of namespaces are not at hand: a namespace selector may select any. */
function mayConcern({ selector, namespaces, namespaceSelector }: AffinityTerm, other: PodInfo): boolean {
  if (!namespaceSelector && !namespaces.has(other.namespace)) return false;
  return selector.matches(other.labels);
}
