/**
 * Where pods would go if nodes or pods were others: the scheduler's own filters, on a state that is nobody else's. For questions about capacity and for the
 * cluster autoscaler; nothing is written. Without scores, preemption, extenders and the allocation of devices: a pod with resource claims is
 * refused by name. Volumes are looked at but not handed out: two pods may count on the same one.
 */
import type { Node, Pod, PodDisruptionBudget } from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import type { Clock } from '#stdx/clock.ts';
import { SchedulerCache } from './cache.ts';
import { DefaultSelectors } from './default-selectors.ts';
import { DeviceState } from './dra/device-state.ts';
import { schedulerInformers } from './informers.ts';
import { podInfo } from './pod-info.ts';
import { refusal } from './plugin.ts';
import { defaultPlugins } from './plugins/list.ts';
import type { Amounts } from './resources.ts';
import { failureMessage, firstFit, type Failure } from './schedule.ts';
import { liveSnapshot, type Snapshot, type SnapshotFacts } from './snapshot.ts';
import { AssumedStorage } from './storage.ts';

type SimulationFacts = Omit<SnapshotFacts, 'nominated'>;

export type Placement =
  | { readonly kind: 'fits'; readonly node: string }
  | {
      readonly kind: 'none';
      /** As the scheduler's event says it. */
      readonly message: string;
      /** Each once, in alphabetical order. */
      readonly reasons: readonly string[];
    };

/** What a node has, and what its pods ask for. */
export interface NodeUse {
  readonly node: Node;
  readonly pods: readonly Pod[];
  readonly allocatable: Readonly<Amounts>;
  readonly requested: Readonly<Amounts>;
  readonly podLimit: number;
}

const PROFILE = { schedulerName: 'default-scheduler', plugins: defaultPlugins };
const NOT_SIMULATED = refusal('DynamicResources', 'resource claims are not simulated', { resolvable: false });

export class Simulation {
  readonly #cache = new SchedulerCache();
  readonly #snapshot: Snapshot;

  /** Finished pods and pods without a node are left out. */
  constructor(
    objects: { readonly nodes: readonly Node[]; readonly pods: readonly Pod[] },
    facts: SimulationFacts,
  ) {
    for (const node of objects.nodes) this.#cache.setNode(node);
    for (const pod of objects.pods) if (pod.spec?.nodeName && !isPodTerminal(pod)) this.#cache.setPod(pod);
    this.#snapshot = liveSnapshot(this.#cache, { ...facts, nominated: () => [] });
  }

  get nodeNames(): readonly string[] {
    return this.#snapshot.nodes.map(({ name }) => name);
  }

  /** Throws for a node that is not there. */
  use(name: string): NodeUse {
    const info = this.#cache.byName.get(name);
    if (!info?.node) throw new Error(`no node ${name} in the simulation`);
    const { node, allocatable, requested, podLimit } = info;
    return { node, allocatable, requested, podLimit, pods: [...info.pods.values()].map(({ pod }) => pod) };
  }

  /** With the pods that begin on it. Their UIDs have to be their own. */
  addNode(node: Node, pods: readonly Pod[] = []): void {
    const name = node.metadata?.name ?? '';
    this.#cache.setNode(node);
    for (const pod of pods) this.#cache.assume(podInfo(pod), name);
  }

  /** And its pods. Returns them: addNode(node, pods) undoes it. */
  removeNode(name: string): readonly Pod[] {
    const { pods } = this.use(name);
    for (const pod of pods) this.removePod(pod);
    this.#cache.removeNode(name);
    return pods;
  }

  /** On this node, whether it fits or not: it was promised the place. */
  placeOn(pod: Pod, node: string): void {
    this.#cache.assume(podInfo(pod), node);
  }

  removePod(pod: Pod): void {
    this.#cache.removePod(podInfo(pod).uid);
  }

  /** On the first of these nodes that takes it, by default of all; removePod() undoes it. */
  place(pod: Pod, among: readonly string[] = this.nodeNames): Placement {
    const info = podInfo(pod);
    const nodes = among.flatMap((name) => this.#cache.byName.get(name) ?? []);
    if ((pod.spec?.resourceClaims ?? []).length > 0)
      return failed({ nodeCount: nodes.length, refusals: new Map(), everywhere: NOT_SIMULATED });
    const found = firstFit(nodes, { pod: info, snapshot: this.#snapshot, profile: PROFILE });
    if ('failure' in found) return failed(found.failure);
    this.#cache.assume(info, found.node);
    return { kind: 'fits', node: found.node };
  }
}

function failed(failure: Failure): Placement {
  const { refusals, others, everywhere, nodeCount } = failure;
  const causes = everywhere
    ? [everywhere]
    : [...refusals.values(), ...(others && refusals.size < nodeCount ? [others] : [])];
  const reasons = [...new Set(causes.flatMap((cause) => cause.reasons))].toSorted();
  return { kind: 'none', message: failureMessage(failure), reasons };
}

/** Simulations of a live cluster. The informers are the client's and end with it. */
export interface SimulationSource {
  readonly nodes: Informer<Node>;
  readonly pods: Informer<Pod>;
  readonly budgets: Informer<PodDisruptionBudget>;
  /** The cluster as it is now. */
  begin(): Simulation;
}

export async function followForSimulation(
  api: Client,
  { clock, signal }: { readonly clock: Clock; readonly signal?: AbortSignal | undefined },
): Promise<SimulationSource> {
  const informers = schedulerInformers(api, { groups: false });
  const selectors = new DefaultSelectors(informers);
  informers.services.subscribe({
    added: ({ metadata }) => selectors.forget(metadata.namespace ?? ''),
    updated: ({ metadata }) => selectors.forget(metadata.namespace ?? ''),
    deleted: ({ metadata }) => selectors.forget(metadata.namespace ?? ''),
  });
  const facts: SimulationFacts = {
    namespaceLabels: (name) => informers.namespaces.get(name)?.metadata?.labels ?? {},
    defaultSelector: (pod) => selectors.of(pod),
    volumes: new AssumedStorage(informers),
    resourceClaims: new DeviceState(informers, clock),
  };
  await Promise.all(Object.values(informers).map((informer: Informer<never>) => informer.synced(signal)));
  const { nodes, pods, budgets } = informers;
  return {
    nodes,
    pods,
    budgets,
    begin: () => new Simulation({ nodes: nodes.list(), pods: pods.list() }, facts),
  };
}
