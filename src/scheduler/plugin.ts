/**
 * The shape of a scheduler plugin, after upstream's scheduling framework: one file in plugins/, one line in plugins/list.ts. A plugin is pure:
 * it looks at the pod, one node and the cycle's state, and keeps nothing between cycles. Points run in this order for one pod:
 *
 *   preEnqueue (may it enter the queue?) → preFilter (once) → filter (per node) → [none fits: postFilter, preemption] → preScore (once)
 *   → score (per node) → normalize → reserve → bind
 */
import type { Pod } from '#api/types.ts';
import type { NodeInfo } from './node-info.ts';
import type { PodInfo } from './pod-info.ts';
import type { Snapshot } from './snapshot.ts';

/** Why a node (or every node) does not take a pod. `resolvable` false: removing pods from the node would not help (upstream's UnschedulableAndUnresolvable). */
export interface Refusal {
  readonly plugin: string;
  readonly reasons: readonly string[];
  readonly resolvable: boolean;
}

/** What one scheduling cycle of one pod keeps; plugins put their per-cycle state under their own name. */
export interface Cycle {
  readonly pod: PodInfo;
  readonly snapshot: Snapshot;
  readonly state: Map<string, unknown>;
  /** The plugins whose filter has a say: those that did not skip. */
  filters: readonly SchedulerPlugin[];
}

/** What kind of change in the cluster may make a pod schedulable that a plugin refused. */
export type ClusterEvent =
  | 'node-added'
  | 'node-updated'
  | 'node-deleted'
  | 'pod-added'
  | 'pod-updated'
  | 'pod-deleted'
  | 'storage-changed'
  | 'resource-claim-changed'
  | 'device-class-changed';

export interface SchedulerPlugin {
  /** Upstream's name: 'NodeResourcesFit'. */
  readonly name: string;
  /** Multiplies this plugin's scores; 0 or absent = not scored. */
  readonly weight?: number;
  /** A refused pod is tried again when one of these happens. Absent = any. */
  readonly queueingHints?: readonly ClusterEvent[];
  /** undefined = may be queued; else the message. */
  preEnqueue?(pod: Pod): string | undefined;
  /** Prepares cycle.state. A refusal ends the cycle; `nodes` narrows it to these names; 'skip' leaves this plugin's filter out. */
  preFilter?(cycle: Cycle): Refusal | { readonly nodes: ReadonlySet<string> } | 'skip' | undefined;
  filter?(cycle: Cycle, node: NodeInfo): Refusal | undefined;
  /** When no node took the pod: what this plugin says of it, before what preemption says. */
  postFilter?(cycle: Cycle): string | undefined;
  /** 'skip' leaves this plugin's score out. */
  preScore?(cycle: Cycle, nodes: readonly NodeInfo[]): 'skip' | undefined;
  /** Any scale; normalize brings it to 0…100. */
  score?(cycle: Cycle, node: NodeInfo): number;
  /** In place, to 0…100. Absent: scores are already so. */
  normalize?(cycle: Cycle, scores: Float64Array, nodes: readonly NodeInfo[]): void;
  /**
   * Keep this plugin's preFilter state true when a pod is taken from or put on a (copy of a) node, to see how it would be. Called on a copy of
   * the state that cloneState made, and only when the filter was not skipped.
   */
  podRemoved?(cycle: Cycle, change: { readonly pod: PodInfo; readonly node: NodeInfo }): void;
  podAdded?(cycle: Cycle, change: { readonly pod: PodInfo; readonly node: NodeInfo }): void;
  /** A copy of what preFilter put into cycle.state under the plugin's name, so that podRemoved and podAdded leave the original as it is. */
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

/** The cycle with its own copy of the filters' state, for trying changes. */
export function cloneCycle(cycle: Cycle): Cycle {
  const state = new Map(cycle.state);
  for (const plugin of cycle.filters)
    if (plugin.cloneState && state.has(plugin.name))
      state.set(plugin.name, plugin.cloneState(state.get(plugin.name)));
  return { ...cycle, state };
}

/** Brings the highest score to 100 (and, reversed, the highest to 0). */
export function normalizeByMax(scores: Float64Array, reverse = false): void {
  let max = 0;
  for (const score of scores) max = Math.max(max, score);
  for (let index = 0; index < scores.length; index += 1) {
    const share = max === 0 ? 0 : Math.trunc(((scores[index] ?? 0) * MAX_NODE_SCORE) / max);
    scores[index] = reverse ? MAX_NODE_SCORE - share : share;
  }
}
