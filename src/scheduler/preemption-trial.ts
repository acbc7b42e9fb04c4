/**
 * Tries the filters of a pod on a node while pods leave it and come back. Two ways with the same results: FilterTrial keeps the sums that filters
 * need and leaves the node alone; NodeTrial, for filters that cannot do that, changes the node and puts everything back.
 */
import {
  cloneCycle,
  type Cycle,
  type FilterSimulation,
  type Refusal,
  type SchedulerPlugin,
} from './plugin.ts';
import type { NodeInfo } from './node-info.ts';
import type { PodInfo } from './pod-info.ts';
import { nominatedBefore, refusalOn } from './cycle-filters.ts';

/** One node at a time: start, any number of changes and questions, end. */
export interface PreemptionTrial {
  start(node: NodeInfo): void;
  remove(pod: PodInfo): void;
  add(pod: PodInfo): void;
  /** Of all filters. */
  refusal(): Refusal | undefined;
  /** Only of filters that read pods. */
  refusalOfPods(): Refusal | undefined;
  /** The node and the state are as before start(). */
  end(): void;
}

export function preemptionTrial(cycle: Cycle): PreemptionTrial {
  const simulations = cycle.filters
    .filter(({ readsPods }) => readsPods !== false)
    .map((plugin) => [plugin, plugin.simulate?.(cycle)] as const);
  if (simulations.some(([, simulation]) => !simulation)) return new NodeTrial(cycle);
  return new FilterTrial(cycle, new Map(simulations as [SchedulerPlugin, FilterSimulation][]));
}

class FilterTrial implements PreemptionTrial {
  readonly #cycle: Cycle;
  readonly #simulations: ReadonlyMap<SchedulerPlugin, FilterSimulation>;
  readonly #ofPods: readonly FilterSimulation[];
  #node: NodeInfo | undefined;

  constructor(cycle: Cycle, simulations: ReadonlyMap<SchedulerPlugin, FilterSimulation>) {
    this.#cycle = cycle;
    this.#simulations = simulations;
    this.#ofPods = [...simulations.values()];
  }

  start(node: NodeInfo): void {
    this.#node = node;
    for (const simulation of this.#ofPods) simulation.start(node);
    for (const pod of nominatedBefore(this.#cycle, node)) this.add(pod);
  }

  remove(pod: PodInfo): void {
    for (const simulation of this.#ofPods) simulation.remove(pod);
  }

  add(pod: PodInfo): void {
    for (const simulation of this.#ofPods) simulation.add(pod);
  }

  refusal(): Refusal | undefined {
    for (const plugin of this.#cycle.filters) {
      const simulation = this.#simulations.get(plugin);
      const refused = simulation ? simulation.refusal() : plugin.filter?.(this.#cycle, this.#node!);
      if (refused) return refused;
    }
    return undefined;
  }

  refusalOfPods(): Refusal | undefined {
    for (const simulation of this.#ofPods) {
      const refused = simulation.refusal();
      if (refused) return refused;
    }
    return undefined;
  }

  end(): void {
    this.#node = undefined;
  }
}

class NodeTrial implements PreemptionTrial {
  /** With a copy of the plugins' state, which follows the changes. */
  readonly #cycle: Cycle;
  readonly #ofPods: Cycle;
  readonly #trackers: readonly SchedulerPlugin[];
  readonly #removed = new Set<PodInfo>();
  #node: NodeInfo | undefined;

  constructor(cycle: Cycle) {
    this.#cycle = cloneCycle(cycle);
    this.#ofPods = {
      ...this.#cycle,
      filters: cycle.filters.filter(({ readsPods }) => readsPods !== false),
    };
    this.#trackers = cycle.filters.filter((plugin) => plugin.podRemoved ?? plugin.podAdded);
  }

  start(node: NodeInfo): void {
    this.#node = node;
  }

  remove(pod: PodInfo): void {
    const node = this.#node!;
    this.#removed.add(pod);
    node.removePod(pod.uid);
    for (const plugin of this.#trackers) plugin.podRemoved?.(this.#cycle, { pod, node });
  }

  add(pod: PodInfo): void {
    const node = this.#node!;
    this.#removed.delete(pod);
    node.addPod(pod);
    for (const plugin of this.#trackers) plugin.podAdded?.(this.#cycle, { pod, node });
  }

  refusal(): Refusal | undefined {
    return refusalOn(this.#cycle, this.#node!);
  }

  refusalOfPods(): Refusal | undefined {
    return refusalOn(this.#ofPods, this.#node!);
  }

  end(): void {
    for (const pod of this.#removed) this.add(pod);
    this.#node = undefined;
  }
}
