/** The filters of a scheduling cycle, asked about single nodes. */
import type { NodeTable } from './node-answers.ts';
import type { NodeInfo } from './node-info.ts';
import type { PluginProbe } from './plugin-metrics.ts';
import { cloneCycle, type Cycle, type Refusal, type SchedulerPlugin } from './plugin.ts';
import type { PodInfo } from './pod-info.ts';

/**
 * Returns why the node is not feasible for the pod; undefined when it is. Pods of equal or higher priority that are nominated to the node are
 * counted as running there. The pod must also fit without them, because they may never arrive and it may depend on them (affinity).
 */
export function refusalOn(cycle: Cycle, node: NodeInfo): Refusal | undefined {
  const promised = nominatedBefore(cycle, node);
  if (promised.length > 0) {
    const crowded = node.clone();
    const trial = cloneCycle(cycle);
    for (const other of promised) {
      crowded.addPod(other);
      for (const plugin of cycle.filters) plugin.podAdded?.(trial, { pod: other, node: crowded });
    }
    const refused = firstRefusal(trial, { node: crowded });
    if (refused) return refused;
  }
  return firstRefusal(cycle, { node });
}

const NO_PODS: readonly PodInfo[] = [];

/** Pods of equal or higher priority that are nominated to the node and not there yet. */
export function nominatedBefore({ pod, snapshot }: Cycle, node: NodeInfo): readonly PodInfo[] {
  const nominated = snapshot.nominated(node.name);
  if (nominated.length === 0) return NO_PODS;
  return nominated.filter(
    (other) => other.uid !== pod.uid && other.priority >= pod.priority && !node.pods.has(other.uid),
  );
}

/** The filters of one cycle. Those at the beginning that sign the pod are not asked again about nodes that have not changed. */
export class CycleFilters {
  readonly #cycle: Cycle;
  readonly #signed: readonly SchedulerPlugin[];
  readonly #others: readonly SchedulerPlugin[];
  readonly #known: NodeTable<Refusal | undefined>;

  constructor(cycle: Cycle, { plugins }: { readonly plugins: readonly SchedulerPlugin[] }) {
    const signatures: unknown[] = [];
    for (const plugin of cycle.filters) {
      const signature = plugin.sign?.(cycle);
      if (signature === undefined) break;
      signatures.push(plugin.name, signature);
    }
    this.#cycle = cycle;
    this.#signed = cycle.filters.slice(0, signatures.length / 2);
    this.#others = cycle.filters.slice(this.#signed.length);
    this.#known = cycle.snapshot.answers.table(plugins, JSON.stringify(signatures));
  }

  refusalOn(node: NodeInfo): Refusal | undefined {
    const cycle = this.#cycle;
    if (nominatedBefore(cycle, node).length > 0) return refusalOn(cycle, node);
    if (!this.#known.has(node)) this.#known.set(node, firstRefusal(cycle, { node, filters: this.#signed }));
    return this.#known.get(node) ?? firstRefusal(cycle, { node, filters: this.#others });
  }
}

function firstRefusal(
  cycle: Cycle,
  {
    node,
    filters = cycle.filters,
  }: { readonly node: NodeInfo; readonly filters?: readonly SchedulerPlugin[] },
): Refusal | undefined {
  for (const plugin of filters) {
    const refused = probed(cycle, { point: 'Filter', plugin, work: () => plugin.filter?.(cycle, node) });
    if (refused) return refused;
  }
  return undefined;
}

/** Asks a plugin by `work`, through the probe of the cycle. */
export function probed<T>(
  { probe }: Cycle,
  {
    point,
    plugin,
    work,
  }: {
    readonly point: Parameters<PluginProbe['run']>[0]['point'];
    readonly plugin: SchedulerPlugin;
    readonly work: () => T;
  },
): T {
  return probe ? probe.run({ point, plugin: plugin.name }, work) : work();
}
