/**
 * Deletions of Nodes that are under way: each is marked, waited for, drained, and given to the provider. They go on beside the loop; one that fails is taken back.
 *
 *   taint, cordon ─► delay ─► evict, wait until pods are gone ─► delay-deletion annotations gone ─► provider deletes ─► (the instance goes, and cluster-state.ts says so)
 *       '──────────────────────────── anything fails ────────────────────────────────┴─► taint and cordon taken back
 */
import type { Node, Pod } from '#api/types.ts';
import { evictPod } from '#client/evict.ts';
import { nodes, pods } from '#client/refs.ts';
import { movesInDrain, staysWithNode } from '#component-helpers/pod-drain.ts';
import { isMirrorPod } from '#component-helpers/static-pods.ts';
import type { Stored } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import { nameOf } from '../report.ts';
import type { AutoscalerContext } from './context.ts';
import type { RemovalReason } from './metrics.ts';
import { DELAY_DELETION, findTaint, TO_BE_DELETED } from './node-facts.ts';
import { instanceIdOf, providerNode } from './provider.ts';
import { markToBeDeleted, unmarkToBeDeleted } from './taints.ts';

interface Deletion {
  readonly node: Node;
  readonly group: string;
  /** What has to be evicted; none: it is empty. */
  readonly pods: readonly Pod[];
  readonly utilization: number;
  readonly reason: RemovalReason;
}

type Phase = 'preparing' | 'deleted';

interface Tracked {
  readonly group: string;
  readonly drains: boolean;
  phase: Phase;
  /** When the provider said that it deleted it. */
  deletedMs: number;
}

const POLL_MS = 1_000;
/** Between two tries at a pod whose budget refuses. */
const EVICTION_RETRY_MS = 10_000;
/** Beyond a pod's time to end, until it counts as one that does not. */
const HEADROOM_MS = 30_000;

export class NodeDeletions {
  readonly #context: AutoscalerContext;
  readonly #tracked = new Map<string, Tracked>();
  readonly #running = new Set<Promise<void>>();
  #lastDeletionMs = -Infinity;
  #lastFailureMs = -Infinity;

  constructor(context: AutoscalerContext) {
    this.#context = context;
  }

  get lastDeletionMs(): number {
    return this.#lastDeletionMs;
  }

  get lastFailureMs(): number {
    return this.#lastFailureMs;
  }

  get count(): number {
    return this.#preparing().length;
  }

  get draining(): number {
    return this.#preparing().filter(({ drains }) => drains).length;
  }

  /** By group: the provider's target does not know of them yet. */
  byGroup(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { group } of this.#preparing()) counts.set(group, (counts.get(group) ?? 0) + 1);
    return counts;
  }

  /** Resolves when the Node is marked; the rest goes on. Never rejects. */
  async start(deletion: Deletion): Promise<void> {
    const { api, events, settings, clock, signal } = this.#context;
    const name = deletion.node.metadata?.name ?? '';
    this.#announce(deletion);
    try {
      const cordon = settings.cordonNodeBeforeTerminating;
      await markToBeDeleted(api, name, { cordon, nowMs: clock.now() });
    } catch (error) {
      this.#lastFailureMs = clock.now();
      events.event(deletion.node, {
        type: 'Warning',
        reason: 'ScaleDownFailed',
        message: `failed to mark the node as toBeDeleted/unschedulable: ${errorMessage(error)}`,
      });
      return;
    }
    events.event(deletion.node, {
      type: 'Normal',
      reason: 'ScaleDown',
      message: 'marked the node as toBeDeleted/unschedulable',
    });
    const { group } = deletion;
    this.#tracked.set(name, {
      group,
      drains: deletion.pods.length > 0,
      phase: 'preparing',
      deletedMs: 0,
    });
    const work = this.#carryOut(deletion)
      .catch((error: unknown) => (signal.aborted ? undefined : this.#takeBack(deletion, error)))
      .finally(() => this.#running.delete(work));
    this.#running.add(work);
  }

  /** Nodes that the provider said to have deleted, and that are still there after this long. They stay, then. */
  async takeBackLate(afterMs: (group: string) => number): Promise<void> {
    const { clock, source, state } = this.#context;
    for (const [name, { phase, group, deletedMs }] of this.#tracked) {
      const node = source.nodes.get(name);
      if (!node) this.#tracked.delete(name);
      const isListed = state
        .group(group)
        ?.instances.some(({ id }) => node && id === instanceIdOf(providerNode(node)));
      if (!node || phase !== 'deleted' || !isListed || clock.now() - deletedMs < afterMs(group)) continue;
      const error = new Error('the provider said that it deleted the instance, which is still there');
      await this.#takeBack({ node, group, pods: [], utilization: 0, reason: 'empty' }, error);
    }
  }

  /** Resolves when nothing goes on any more; the context's signal ends it. */
  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }

  #preparing(): readonly Tracked[] {
    return [...this.#tracked.values()].filter(({ phase }) => phase === 'preparing');
  }

  #announce({ node, pods: moving, utilization }: Deletion): void {
    const name = node.metadata?.name ?? '';
    const isEmpty = moving.length === 0;
    const words = isEmpty
      ? `removing empty node "${name}"`
      : `removing node ${name}, utilization: ${utilization.toFixed(2)}, pods to reschedule: ${moving.map(nameOf).join(',')}`;
    this.#context.log.info(words, { node: name });
    this.#context.events.event(this.#context.statusConfigMap(), {
      type: 'Normal',
      reason: isEmpty ? 'ScaleDownEmpty' : 'ScaleDown',
      message: `Scale-down: ${words}`,
    });
  }

  async #carryOut(deletion: Deletion): Promise<void> {
    const { clock, settings, signal, provider, metrics, events } = this.#context;
    const name = deletion.node.metadata?.name ?? '';
    if (settings.nodeDeleteDelayAfterTaintMs > 0)
      await clock.sleep(settings.nodeDeleteDelayAfterTaintMs, signal);
    await this.#empty(name, deletion);
    await this.#waitForAnnotations(name);
    signal.throwIfAborted();
    await provider.deleteNodes(deletion.group, [providerNode(deletion.node)]);
    this.#lastDeletionMs = clock.now();
    const tracked = this.#tracked.get(name)!;
    tracked.phase = 'deleted';
    tracked.deletedMs = clock.now();
    metrics.scaledDown(deletion.reason);
    events.event(deletion.node, {
      type: 'Normal',
      reason: 'ScaleDown',
      message: 'node removed by cluster autoscaler',
    });
  }

  async #empty(name: string, { pods: expected }: Deletion): Promise<void> {
    const { settings } = this.#context;
    const there = await this.#podsOf(name);
    const moving = there.filter(movesInDrain);
    if (expected.length === 0 && moving.length > 0)
      throw new Error(`failed to delete empty node "${name}", new pods scheduled`);
    if (moving.length > 0) await this.#drain(name);
    const evictsDaemons =
      expected.length > 0
        ? settings.daemonSetEvictionForOccupiedNodes
        : settings.daemonSetEvictionForEmptyNodes;
    if (evictsDaemons) await this.#evictDaemonPods(there);
  }

  async #drain(name: string): Promise<void> {
    const { clock, settings, signal } = this.#context;
    const startMs = clock.now();
    let asked = -Infinity;
    for (;;) {
      const left = (await this.#podsOf(name)).filter(movesInDrain);
      if (left.length === 0) return;
      const waiting = left.filter(({ metadata }) => !metadata.deletionTimestamp);
      const passedMs = clock.now() - startMs;
      if (waiting.length > 0 && passedMs > settings.maxPodEvictionMs)
        throw new Error(`failed to evict ${waiting.length} pods, ${nameOf(waiting[0]!)} among them`);
      if (passedMs > settings.maxPodEvictionMs + settings.maxGracefulTerminationMs + HEADROOM_MS)
        throw new Error(`${left.length} pods did not end, ${nameOf(left[0]!)} among them`);
      if (waiting.length > 0 && clock.now() - asked >= EVICTION_RETRY_MS) {
        asked = clock.now();
        for (const pod of waiting) await this.#evict(pod);
      }
      await clock.sleep(POLL_MS, signal);
    }
  }

  async #evict(pod: Stored<Pod>): Promise<void> {
    const { api, events, metrics, settings } = this.#context;
    const own = pod.spec?.terminationGracePeriodSeconds ?? 30;
    const gracePeriodSeconds = Math.min(own, Math.trunc(settings.maxGracefulTerminationMs / 1_000));
    const { kind } = await evictPod(api, pod, { gracePeriodSeconds });
    metrics.evicted(kind === 'refused' ? 'failed' : 'succeeded');
    if (kind === 'accepted')
      events.event(pod, {
        type: 'Normal',
        reason: 'ScaleDown',
        message: 'deleting pod for node scale down',
      });
  }

  /** As well as it goes: they end with the machine anyway. */
  async #evictDaemonPods(there: readonly Stored<Pod>[]): Promise<void> {
    const { api, log } = this.#context;
    for (const pod of there.filter((one) => staysWithNode(one) && !isMirrorPod(one)))
      await evictPod(api, pod).catch((error: unknown) =>
        log.warn('error evicting a pod of a DaemonSet', { pod: nameOf(pod), error: errorMessage(error) }),
      );
  }

  async #waitForAnnotations(name: string): Promise<void> {
    const { clock, settings, signal, source } = this.#context;
    const startMs = clock.now();
    const isDelayed = (): boolean =>
      Object.keys(source.nodes.get(name)?.metadata.annotations ?? {}).some((key) =>
        key.startsWith(DELAY_DELETION),
      );
    while (isDelayed() && clock.now() - startMs < settings.nodeDeletionDelayTimeoutMs)
      await clock.sleep(POLL_MS, signal);
  }

  async #podsOf(name: string): Promise<readonly Stored<Pod>[]> {
    return (await this.#context.api.list(pods, { fieldSelector: `spec.nodeName=${name}` })).items;
  }

  async #takeBack({ node, pods: moving }: Deletion, error: unknown): Promise<void> {
    const { api, events, clock, log } = this.#context;
    const name = node.metadata?.name ?? '';
    const what = moving.length > 0 ? 'failed to drain and delete the node' : 'failed to delete empty node';
    this.#lastFailureMs = clock.now();
    this.#tracked.delete(name);
    log.warn(what, { node: name, error: errorMessage(error) });
    events.event(node, {
      type: 'Warning',
      reason: 'ScaleDownFailed',
      message: `${what}: ${errorMessage(error)}`,
    });
    await unmarkToBeDeleted(api, name).catch((failure: unknown) =>
      log.warn('error taking back the marks of a node', { node: name, error: errorMessage(failure) }),
    );
  }
}

/** What an earlier leader left half done. Nodes whose deletion it began stay, until they are found unneeded again. */
export async function takeBackMarks({ api, source, log }: AutoscalerContext): Promise<void> {
  for (const node of source.nodes.list().filter((one) => findTaint(one, TO_BE_DELETED))) {
    const { name } = node.metadata;
    await unmarkToBeDeleted(api, name).catch((error: unknown) =>
      log.warn('error taking back the marks of a node', { node: name, error: errorMessage(error) }),
    );
  }
}

/** Of a machine that is gone. Its pods go with it. */
export async function deleteNodeObject({ api, log, events }: AutoscalerContext, node: Node): Promise<void> {
  const { name = '', uid = '' } = node.metadata ?? {};
  log.info('deleting a Node whose instance is gone', { node: name });
  events.event(node, {
    type: 'Normal',
    reason: 'DeletingNode',
    message: `Deleting node ${name} because it does not exist in the cloud provider`,
  });
  await api
    .delete(nodes, { name }, { preconditions: { uid } })
    .catch((error: unknown) => log.warn('error deleting a Node', { node: name, error: errorMessage(error) }));
}
