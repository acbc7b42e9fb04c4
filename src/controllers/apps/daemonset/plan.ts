/** Computes which daemon pods to create and delete; daemonset-controller.ts executes it. Pure. */
import type { Stored } from '#machinery/object.ts';
import type { DaemonSet, Node, Pod } from '#api/types.ts';
import { isPodAvailable, isPodReady } from '#component-helpers/pod-status.ts';
import { byAge } from '../../object-order.ts';
import { isUpdated, maxSurge, maxUnavailable, placement } from './model.ts';

export interface Situation {
  readonly set: Stored<DaemonSet>;
  readonly hash: string;
  readonly nodes: readonly Stored<Node>[];
  readonly podsByNode: ReadonlyMap<string, readonly Stored<Pod>[]>;
  readonly nowMs: number;
}

export interface Plan {
  /** Names of nodes that need a pod. */
  readonly create: string[];
  readonly remove: Stored<Pod>[];
  /** Finished pods, which are also in `remove`: the caller emits events for them and backs off when it replaces failed ones. */
  readonly failed: Stored<Pod>[];
  readonly succeeded: Stored<Pod>[];
}

/** One pod on each eligible node, and none elsewhere. */
export function planPlacement(situation: Situation): Plan {
  const plan: Plan = { create: [], remove: [], failed: [], succeeded: [] };
  for (const node of situation.nodes) planNode(situation, node, plan);
  const known = new Set(situation.nodes.map(({ metadata }) => metadata.name));
  // Pods that cannot be scheduled, because their node was deleted before.
  for (const [name, pods] of situation.podsByNode)
    if (!known.has(name))
      plan.remove.push(...pods.filter((pod) => !pod.spec?.nodeName && !pod.metadata?.deletionTimestamp));
  return plan;
}

function planNode(situation: Situation, node: Stored<Node>, plan: Plan): void {
  const { set, podsByNode } = situation;
  const name = node.metadata.name;
  const pods = podsByNode.get(name) ?? [];
  const { shouldRun, shouldContinue } = placement(set, node);
  if (pods.length === 0) {
    if (shouldRun) plan.create.push(name);
    return;
  }
  if (!shouldContinue)
    return void plan.remove.push(...pods.filter(({ metadata }) => !metadata?.deletionTimestamp));
  const running: Stored<Pod>[] = [];
  for (const pod of pods) {
    if (pod.metadata?.deletionTimestamp) continue;
    if (pod.status?.phase === 'Failed') plan.failed.push(pod);
    else if (pod.status?.phase === 'Succeeded') plan.succeeded.push(pod);
    else running.push(pod);
  }
  if (maxSurge(set, 1) === 0) plan.remove.push(...running.sort(byAge).slice(1));
  else if (running.length === 0 && shouldRun && !plan.failed.some((pod) => pods.includes(pod)))
    plan.create.push(name);
  else plan.remove.push(...surplusOfSurge(situation, running));
}

/** With maxSurge an old and a new pod may run side by side, until the new one is available or the old one is unavailable. */
function surplusOfSurge({ set, hash, nowMs }: Situation, running: readonly Stored<Pod>[]): Stored<Pod>[] {
  if (running.length <= 1) return [];
  const { minReadySeconds } = set.spec ?? {};
  const sorted = running.toSorted(byAge);
  const newest = sorted.filter((pod) => isUpdated(pod, { set, hash })),
    oldest = sorted.filter((pod) => !isUpdated(pod, { set, hash }));
  const surplus = [...newest.slice(1), ...oldest.slice(1)];
  const [newPod] = newest,
    [oldPod] = oldest;
  if (newPod && oldPod && (!isPodReady(oldPod) || isPodAvailable(newPod, { minReadySeconds, nowMs })))
    surplus.push(oldPod);
  return surplus;
}

/** The next step of a rolling update, within maxUnavailable or maxSurge. */
export function planUpdate(situation: Situation): {
  readonly create: string[];
  readonly remove: Stored<Pod>[];
} {
  const desired = situation.nodes.filter((node) => placement(situation.set, node).shouldRun).length;
  const surge = maxSurge(situation.set, desired);
  return surge === 0
    ? planReplacement(situation, maxUnavailable(situation.set, desired))
    : planSurge(situation, surge);
}

interface Pair {
  readonly oldPod: Stored<Pod> | undefined;
  readonly newPod: Stored<Pod> | undefined;
}

/** undefined when the node has more than one old or new pod: the placement step cleans up first. */
function pairOf(pods: readonly Stored<Pod>[], { set, hash }: Situation): Pair | undefined {
  let oldPod: Stored<Pod> | undefined, newPod: Stored<Pod> | undefined;
  for (const pod of pods) {
    if (pod.metadata?.deletionTimestamp) continue;
    if (isUpdated(pod, { set, hash })) {
      if (newPod) return undefined;
      newPod = pod;
    } else {
      if (oldPod) return undefined;
      oldPod = pod;
    }
  }
  return { oldPod, newPod };
}

function planReplacement(
  situation: Situation,
  most: number,
): { readonly create: string[]; readonly remove: Stored<Pod>[] } {
  const available = (pod: Stored<Pod>): boolean =>
    isPodAvailable(pod, { minReadySeconds: situation.set.spec?.minReadySeconds, nowMs: situation.nowMs });
  const free: Stored<Pod>[] = [],
    candidates: Stored<Pod>[] = [];
  let unavailable = 0;
  for (const node of situation.nodes) {
    const pods = situation.podsByNode.get(node.metadata.name);
    const pair = pods && pairOf(pods, situation);
    if (!pods) continue;
    if (!pair || (!pair.oldPod && !pair.newPod)) unavailable += 1;
    else if (pair.newPod) unavailable += available(pair.newPod) ? 0 : 1;
    else if (!available(pair.oldPod!)) {
      // It is unavailable already, so replacing it does not reduce availability.
      free.push(pair.oldPod!);
      unavailable += 1;
    } else candidates.push(pair.oldPod!);
  }
  return { create: [], remove: [...free, ...candidates.slice(0, Math.max(0, most - unavailable))] };
}

function planSurge(
  situation: Situation,
  most: number,
): { readonly create: string[]; readonly remove: Stored<Pod>[] } {
  const available = (pod: Stored<Pod>): boolean =>
    isPodAvailable(pod, { minReadySeconds: situation.set.spec?.minReadySeconds, nowMs: situation.nowMs });
  const free: string[] = [],
    candidates: string[] = [],
    remove: Stored<Pod>[] = [];
  let surging = 0;
  for (const node of situation.nodes) {
    const name = node.metadata.name;
    const pods = situation.podsByNode.get(name);
    if (!pods) continue;
    const pair = pairOf(pods, situation);
    if (!pair) surging += 1;
    else if (pair.oldPod && !pair.newPod) {
      if (!placement(situation.set, node).shouldRun) continue;
      (available(pair.oldPod) ? candidates : free).push(name);
    } else if (pair.oldPod && pair.newPod) {
      if (available(pair.newPod)) remove.push(pair.oldPod);
      else surging += 1;
    }
  }
  return { create: [...free, ...candidates.slice(0, Math.max(0, most - surging))], remove };
}
