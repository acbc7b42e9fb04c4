/**
 * The scheduler's queue, in three parts:
 *
 *   set ──► active (by priority, then age) ──pop──► in flight ──failed──► unschedulable ──a change that may help──┐
 *              ▲                                        '────error──► backoff (1 s … 10 s per pod) ◄──────────────┘
 *              '─────────────────── backoff over ──────────────────────────'
 *
 * Unschedulable pods are moved when a cluster event occurs for which one of the plugins that rejected them is registered, and after 5 minutes.
 * Events during a scheduling attempt count too (the pod is requeued instead of being marked unschedulable). Pods rejected by a preEnqueue plugin
 * stay gated until they change, or until something of their PodGroup does. Pods of groups are retried after their backoff, as upstream: hints are about single
 * pods. Bounded by the number of pods in the API.
 */
import type { Pod } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { EVENTS } from './cluster-events.ts';
import { GatedMembers } from './gated-members.ts';
import { Heap, NOT_IN_HEAP, type HeapEntry } from './heap.ts';
import type { Hinted } from './metrics.ts';
import { groupKeyOf, NO_POD_GROUPS, type PodGroupLister } from './pod-groups.ts';
import type { ClusterEvent, SchedulerPlugin } from './plugin.ts';
import { queuedBefore } from './plugins/priority-sort.ts';

const DEFAULT_BACKOFF: Backoff = { initialMs: 1_000, maximumMs: 10_000 };
const UNSCHEDULABLE_LIMIT_MS = 5 * 60_000;
/** Of an event during an attempt. */
const UNKNOWN = { object: undefined, before: undefined };
const FLUSH_EVERY_MS = 30_000;

interface Entry extends HeapEntry {
  pod: Pod;
  readonly uid: string;
  priority: number;
  readonly sinceMs: number;
  /** When it could be scheduled for the first time. */
  readyAtMs: number | undefined;
  readonly order: number;
  attempts: number;
  place: 'active' | 'backoff' | 'unschedulable' | 'in-flight' | 'gated';
  /** Plugins that rejected it in the last attempt, or that gate it. */
  refusedBy: ReadonlySet<string>;
  parkedAtMs: number;
  retryAtMs: number;
  /** Cluster events since its scheduling attempt began. */
  readonly missed: Set<ClusterEvent>;
  isFlushed: boolean;
  /** Whether the pod itself changed since its scheduling attempt began. */
  changed: boolean;
}

export interface Backoff {
  readonly initialMs: number;
  readonly maximumMs: number;
}

interface QueueOptions {
  readonly clock: Clock;
  /** The plugins of all profiles, without duplicates. */
  readonly plugins: readonly SchedulerPlugin[];
  /** Backoff of a pod after an attempt. Default: 1 s, doubled up to 10 s. */
  readonly backoff?: Backoff | undefined;
  /** Undefined: groups are not looked at. */
  readonly groups?: PodGroupLister | undefined;
  /** Called when something can be popped. */
  readonly onReady: () => void;
  /** Called when a pod enters a queue, with upstream's name of the event. */
  readonly onQueued?: ((queue: Queue, event: string) => void) | undefined;
  /** Called after a queueing hint of a plugin. */
  readonly onHint?: ((hint: Hinted) => void) | undefined;
}

type Queue = 'active' | 'backoff' | 'unschedulable' | 'gated';

export interface Popped {
  readonly pod: Pod;
  readonly attempts: number;
  /** When it could be scheduled for the first time. */
  readonly readyAtMs: number;
  /** It waited as unschedulable for as long as a pod may. */
  readonly isFlushed: boolean;
}

export class SchedulingQueue {
  readonly #options: QueueOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #active = new Heap<Entry>(queuedBefore);
  readonly #backoff = new Heap<Entry>((a, b) => a.retryAtMs < b.retryAtMs);
  readonly #unschedulable = new Set<Entry>();
  readonly #inFlight = new Set<Entry>();
  readonly #gatedMembers = new GatedMembers<Entry>();
  /** Plugins whose rejection an event may resolve. */
  readonly #wokenBy = new Map<ClusterEvent, ReadonlyMap<string, SchedulerPlugin>>();
  #order = 0;
  #backoffTimer: Timer | undefined;
  #backoffTimerAtMs = Infinity;
  #flushTimer: Timer | undefined;
  #stopped = false;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#armFlush();
  }

  get size(): number {
    return this.#entries.size;
  }
  /** Number of pods per queue. */
  get sizes(): Readonly<Record<Queue, number>> {
    const [active, backoff, unschedulable] = [
      this.#active.size,
      this.#backoff.size,
      this.#unschedulable.size,
    ];
    const gated = this.#entries.size - active - backoff - unschedulable - this.#inFlight.size;
    return { active, backoff, unschedulable, gated };
  }
  /** The plugins that rejected each unschedulable pod, with the pod's scheduler name. */
  *refusals(): Iterable<{ readonly plugin: string; readonly profile: string }> {
    for (const { pod, place, refusedBy } of this.#entries.values())
      if (place === 'unschedulable' || place === 'backoff')
        for (const plugin of refusedBy)
          yield { plugin, profile: pod.spec?.schedulerName ?? 'default-scheduler' };
  }
  /** Attempts under way, as PodPopped, and the events that they have missed. */
  get inFlight(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = { PodPopped: this.#inFlight.size };
    for (const name of Object.values(EVENTS)) counts[name] = 0;
    for (const { missed } of this.#inFlight)
      for (const kind of missed) counts[EVENTS[kind]] = (counts[EVENTS[kind]] ?? 0) + 1;
    return counts;
  }

  get activeSize(): number {
    return this.#active.size;
  }

  /** The queue that a pod is in; for tests and status pages. */
  placeOf(uid: string): Entry['place'] | undefined {
    return this.#entries.get(uid)?.place;
  }

  /** Adds or updates a pending pod. */
  set(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const entry = this.#entries.get(uid);
    if (!entry) return this.#add(pod, uid);
    const changed = changedFor(entry.pod, pod);
    entry.pod = pod;
    if (!changed) return;
    if (entry.place === 'gated') this.#enqueue(entry, 'UnschedulablePodUpdate');
    else if (entry.place === 'in-flight') entry.changed = true;
    else if (entry.place === 'unschedulable') this.#wake(entry, 'UnschedulablePodUpdate');
  }

  remove(uid: string): void {
    const entry = this.#entries.get(uid);
    if (!entry) return;
    this.#entries.delete(uid);
    this.#leave(entry);
  }

  /** The next pod to schedule; it is in flight until done() or failed(). */
  pop(): Popped | undefined {
    const entry = this.#active.pop();
    return entry && this.#begin(entry);
  }

  /** This pod, whatever it waits for: undefined when it is gated, in flight, or not there. */
  popPod(uid: string): Popped | undefined {
    const entry = this.#entries.get(uid);
    if (!entry || entry.place === 'in-flight') return undefined;
    if (entry.place !== 'active') this.#enqueue(entry, 'ForceActivate');
    if (entry.place !== 'active') return undefined;
    this.#leave(entry);
    return this.#begin(entry);
  }

  #begin(entry: Entry): Popped {
    entry.place = 'in-flight';
    this.#inFlight.add(entry);
    entry.attempts += 1;
    entry.missed.clear();
    entry.changed = false;
    const { pod, attempts, isFlushed } = entry;
    return { pod, attempts, isFlushed, readyAtMs: entry.readyAtMs ?? entry.sinceMs };
  }

  isInFlight(uid: string): boolean {
    return this.#entries.get(uid)?.place === 'in-flight';
  }

  /** The pod is scheduled or deleted. */
  done(uid: string): void {
    if (this.#entries.get(uid)?.place === 'in-flight') this.remove(uid);
  }

  /** The attempt failed. With an empty `refusedBy` it was an error, and is retried after backoff. */
  failed(uid: string, refusedBy: ReadonlySet<string>): void {
    const entry = this.#entries.get(uid);
    if (!entry || entry.place !== 'in-flight') return;
    this.#leave(entry);
    entry.refusedBy = refusedBy;
    entry.isFlushed = false;
    entry.parkedAtMs = this.#now();
    const { initialMs, maximumMs } = this.#options.backoff ?? DEFAULT_BACKOFF;
    entry.retryAtMs = this.#now() + Math.min(maximumMs, initialMs * 2 ** (entry.attempts - 1));
    entry.place = 'unschedulable';
    this.#unschedulable.add(entry);
    this.#options.onQueued?.('unschedulable', 'ScheduleAttemptFailure');
    const isMember = this.#options.groups !== undefined && groupKeyOf(entry.pod) !== undefined;
    if (
      refusedBy.size === 0 ||
      isMember ||
      entry.changed ||
      [...entry.missed].some((kind) => this.#helps(kind, entry))
    )
      this.#wake(entry, 'ScheduleAttemptFailure');
  }

  /** A cluster event: moves the pods that it may make schedulable. `object` is what changed, where plugins ask for it. */
  event(kind: ClusterEvent, object?: KubeObject, before?: KubeObject): void {
    for (const entry of this.#inFlight) entry.missed.add(kind);
    for (const entry of this.#unschedulable)
      if (this.#helps(kind, entry, { object, before })) this.#wake(entry, EVENTS[kind]);
    for (const entry of this.#gatedMembers.concernedBy(kind, object))
      if (this.#helps(kind, entry, { object, before })) this.#enqueue(entry, EVENTS[kind]);
  }

  stop(): void {
    this.#stopped = true;
    this.#backoffTimer?.cancel();
    this.#flushTimer?.cancel();
  }

  #now(): number {
    return this.#options.clock.now();
  }

  #add(pod: Pod, uid: string): void {
    const entry: Entry = {
      pod,
      uid,
      priority: pod.spec?.priority ?? 0,
      sinceMs: this.#now(),
      readyAtMs: undefined,
      order: this.#order++,
      attempts: 0,
      place: 'gated',
      heapAt: NOT_IN_HEAP,
      refusedBy: new Set(),
      parkedAtMs: 0,
      retryAtMs: 0,
      missed: new Set(),
      isFlushed: false,
      changed: false,
    };
    this.#entries.set(uid, entry);
    this.#enqueue(entry, 'UnschedulablePodAdd');
  }

  /** Returns whether its group gated it. */
  #leave(entry: Entry): boolean {
    this.#active.delete(entry);
    this.#backoff.delete(entry);
    this.#unschedulable.delete(entry);
    this.#inFlight.delete(entry);
    return this.#gatedMembers.delete(entry);
  }

  #gate(entry: Entry, plugin: SchedulerPlugin): void {
    entry.place = 'gated';
    entry.refusedBy = new Set([plugin.name]);
    if (plugin.isHelpedBy) this.#gatedMembers.add(entry);
  }

  #enqueue(entry: Entry, event: string): void {
    const wasGated = this.#leave(entry);
    // The API does not allow a priority to change; reading it here must not disturb the heap's order.
    entry.priority = entry.pod.spec?.priority ?? 0;
    const { plugins, groups = NO_POD_GROUPS } = this.#options;
    const gating = plugins.find((plugin) => plugin.preEnqueue?.(entry.pod, groups) !== undefined);
    if (gating) {
      this.#gate(entry, gating);
      if (!wasGated) this.#options.onQueued?.('gated', event);
      return;
    }
    entry.place = 'active';
    this.#options.onQueued?.('active', event);
    entry.readyAtMs ??= this.#now();
    this.#active.push(entry);
    this.#options.onReady();
  }

  #helps(
    kind: ClusterEvent,
    entry: Entry,
    change: { readonly object: KubeObject | undefined; readonly before: KubeObject | undefined } = UNKNOWN,
  ): boolean {
    let helped = this.#wokenBy.get(kind);
    if (!helped) {
      helped = new Map(
        this.#options.plugins
          .filter((plugin) => plugin.queueingHints === undefined || plugin.queueingHints.includes(kind))
          .map((plugin) => [plugin.name, plugin]),
      );
      this.#wokenBy.set(kind, helped);
    }
    for (const name of entry.refusedBy) {
      const plugin = helped.get(name);
      if (plugin && this.#hint(plugin, { kind, pod: entry.pod, ...change })) return true;
    }
    return false;
  }

  #hint(
    plugin: SchedulerPlugin,
    { pod, ...change }: Parameters<NonNullable<SchedulerPlugin['isHelpedBy']>>[1] & { readonly pod: Pod },
  ): boolean {
    if (!plugin.isHelpedBy) return true;
    const startMs = performance.now();
    const isHelped = plugin.isHelpedBy(pod, change);
    this.#options.onHint?.({
      plugin: plugin.name,
      event: EVENTS[change.kind],
      isHelped,
      seconds: (performance.now() - startMs) / 1000,
    });
    return isHelped;
  }

  #wake(entry: Entry, event: string): void {
    if (entry.retryAtMs <= this.#now()) return this.#enqueue(entry, event);
    this.#leave(entry);
    entry.place = 'backoff';
    this.#backoff.push(entry);
    this.#options.onQueued?.('backoff', event);
    this.#armBackoff();
  }

  #flush(entry: Entry): void {
    entry.isFlushed = true;
    this.#wake(entry, 'UnschedulableTimeout');
  }

  #armBackoff(): void {
    const next = this.#backoff.first?.retryAtMs;
    if (next === undefined || next >= this.#backoffTimerAtMs || this.#stopped) return;
    this.#backoffTimer?.cancel();
    this.#backoffTimerAtMs = next;
    this.#backoffTimer = this.#options.clock.after(Math.max(0, next - this.#now()), () =>
      this.#backoffOver(),
    );
  }

  #backoffOver(): void {
    this.#backoffTimerAtMs = Infinity;
    for (
      let entry = this.#backoff.first;
      entry && entry.retryAtMs <= this.#now();
      entry = this.#backoff.first
    )
      this.#enqueue(entry, 'BackoffComplete');
    this.#armBackoff();
  }

  #armFlush(): void {
    if (this.#stopped) return;
    this.#flushTimer = this.#options.clock.after(FLUSH_EVERY_MS, () => {
      for (const entry of this.#unschedulable)
        if (this.#now() - entry.parkedAtMs >= UNSCHEDULABLE_LIMIT_MS) this.#flush(entry);
      this.#armFlush();
    });
  }
}

/** Whether a change is relevant to plugins, unlike our own status writes. The generation counts spec changes; claims are named in the status. */
function changedFor(before: Pod, after: Pod): boolean {
  if (JSON.stringify(before.metadata?.labels ?? {}) !== JSON.stringify(after.metadata?.labels ?? {}))
    return true;
  const claims = (pod: Pod): string => JSON.stringify(pod.status?.resourceClaimStatuses ?? []);
  if (claims(before) !== claims(after)) return true;
  const [old, now] = [before.metadata?.generation, after.metadata?.generation];
  return old === undefined || now === undefined
    ? JSON.stringify(before.spec) !== JSON.stringify(after.spec)
    : old !== now;
}
