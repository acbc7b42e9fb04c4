/**
 * The scheduler plugin interface, after upstream's scheduling framework: one file in plugins/, one line in plugins/list.ts. A plugin is pure:
 * it reads the pod, one node and the cycle state, and keeps no state between cycles. Extension points run in this order for one pod:
 *
 *   preEnqueue (may it enter the queue?) → preFilter (once) → filter (per node) → [none fits: postFilter, preemption] → preScore (once)
 *   → score (per node) → normalize → reserve → [pods of groups: permit] → bind
 */
import type { Pod } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { DeviceEvent } from './dra/device-state.ts';
import type { NodeInfo } from './node-info.ts';
import type { PluginProbe } from './plugin-metrics.ts';
import type { PodGroupLister } from './pod-groups.ts';
import type { PodInfo } from './pod-info.ts';
import type { Snapshot } from './snapshot.ts';
import type { StorageEvent } from './storage.ts';

/** Why a node (or every node) is not feasible. `resolvable` false: removing pods from the node would not help (upstream's UnschedulableAndUnresolvable). */
export interface Refusal {
  readonly plugin: string;
  readonly reasons: readonly string[];
  readonly resolvable: boolean;
}

/** The state of one scheduling cycle of one pod; plugins store their data under their own name. */
export interface Cycle {
  readonly pod: PodInfo;
  readonly snapshot: Snapshot;
  readonly state: Map<string, unknown>;
  /** Counts and times what plugins are asked. */
  readonly probe?: PluginProbe | undefined;
  /** The plugins whose filter runs: those whose preFilter did not return 'skip'. */
  filters: readonly SchedulerPlugin[];
}

/** A cluster event that may make a pod schedulable that a plugin rejected. */
export type ClusterEvent =
  | 'node-added'
  | 'node-updated'
  | 'node-deleted'
  | 'pod-added'
  | 'pod-updated'
  | 'pod-deleted'
  /** A pod of a group; others are not told of. */
  | 'unscheduled-pod-added'
  | 'pod-group-added'
  | StorageEvent
  | DeviceEvent;

/** One node at a time, beginning with all of its pods. */
export interface FilterSimulation {
  start(node: NodeInfo): void;
  add(pod: PodInfo): void;
  remove(pod: PodInfo): void;
  refusal(): Refusal | undefined;
}

export interface SchedulerPlugin {
  /** Upstream's name: 'NodeResourcesFit'. */
  readonly name: string;
  /** Multiplies this plugin's scores; 0 or absent = not scored. */
  readonly weight?: number;
  /** Events after which a rejected pod is retried. Undefined: any event. */
  readonly queueingHints?: readonly ClusterEvent[];
  /** Whether such an event concerns this pod; `object` is what changed, where that is known. Undefined: it does. */
  isHelpedBy?(
    pod: Pod,
    event: {
      readonly kind: ClusterEvent;
      readonly object: KubeObject | undefined;
      /** Of an update. */
      readonly before: KubeObject | undefined;
    },
  ): boolean;
  /**
   * undefined: the pod may be queued; otherwise the message. Asked again when the pod changes and, of plugins with `isHelpedBy`, after the events that help.
   */
  preEnqueue?(pod: Pod, groups: PodGroupLister): string | undefined;
  /** Prepares cycle.state. A rejection ends the cycle; `nodes` restricts it to these names; 'skip' disables this plugin's filter. */
  preFilter?(cycle: Cycle): Refusal | { readonly nodes: ReadonlySet<string> } | 'skip' | undefined;
  filter?(cycle: Cycle, node: NodeInfo): Refusal | undefined;
  /**
   * All that its filter and score read beside the node and the pods on it, as JSON can hold it: for an equal signature an unchanged node gets the same answer,
   * and is not asked again. Undefined: they read more, such as other nodes or objects. Called after preFilter, or preScore.
   */
  sign?(cycle: Cycle): object | string | undefined;
  /** False: the filter is the same whichever pods are on the node, so that preemption does not ask again for each of them. Default true. */
  readonly readsPods?: boolean;
  /**
   * For preemption, of a filter that pods on the node can only make stricter: evaluates it from sums, without changing the node. Undefined: it
   * cannot for this pod, and the filter is asked about the changed node.
   */
  simulate?(cycle: Cycle): FilterSimulation | undefined;
  /** This plugin's message when no node is feasible; it precedes that of preemption. */
  postFilter?(cycle: Cycle): string | undefined;
  /** 'skip' disables this plugin's score. */
  preScore?(cycle: Cycle, nodes: readonly NodeInfo[]): 'skip' | undefined;
  /** On any scale; normalize maps it to 0…100. */
  score?(cycle: Cycle, node: NodeInfo): number;
  /** In place, to 0…100. Undefined: scores are in that range already. */
  normalize?(cycle: Cycle, scores: Float64Array, nodes: readonly NodeInfo[]): void;
  /**
   * Updates this plugin's preFilter state when preemption or a nomination simulates adding or removing a pod. Called on the copy of
   * the state that cloneState made, and only when the filter was not skipped. Each undoes the other.
   */
  podRemoved?(cycle: Cycle, change: { readonly pod: PodInfo; readonly node: NodeInfo }): void;
  podAdded?(cycle: Cycle, change: { readonly pod: PodInfo; readonly node: NodeInfo }): void;
  /**
   * For pods of a PodGroup, once they have a node: undefined when they may be bound; otherwise what they wait for. `scheduled`: pods of the group that are assumed or
   * bound, this one included. Where no pod of the group may be bound, all give their nodes back. Throws what the attempt fails with.
   */
  permit?(
    pod: Pod,
    group: { readonly groups: PodGroupLister; readonly scheduled: number },
  ): string | undefined;
  /** A copy of the plugin's state in cycle.state, so that podRemoved and podAdded do not change the original. */
  cloneState?(state: unknown): unknown;
}

export const MAX_NODE_SCORE = 100;

export function refusal(
  plugin: string,
  reasons: string | readonly string[],
  options: { readonly resolvable?: boolean } = {},
): Refusal {
  return {
    plugin,
    reasons: typeof reasons === 'string' ? [reasons] : reasons,
    resolvable: options.resolvable ?? true,
  };
}

/** A copy of the cycle with its own filter state, for simulations. */
export function cloneCycle(cycle: Cycle): Cycle {
  const cloned = cycle.filters.filter((plugin) => plugin.cloneState && cycle.state.has(plugin.name));
  if (cloned.length === 0) return cycle;
  const state = new Map(cycle.state);
  for (const plugin of cloned)
    if (plugin.cloneState) state.set(plugin.name, plugin.cloneState(state.get(plugin.name)));
  return { ...cycle, state };
}

/** Scales scores so that the highest becomes 100 (reversed: 0). */
export function normalizeByMax(scores: Float64Array, reverse = false): void {
  let max = 0;
  for (const score of scores) max = Math.max(max, score);
  for (let index = 0; index < scores.length; index += 1) {
    const share = max === 0 ? 0 : Math.trunc(((scores[index] ?? 0) * MAX_NODE_SCORE) / max);
    scores[index] = reverse ? MAX_NODE_SCORE - share : share;
  }
}
