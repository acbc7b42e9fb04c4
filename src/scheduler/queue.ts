/**
 * The scheduler's queue, in three parts:
 *
 *   add ──► active (by priority, then age) ──pop──► in flight ──failed──► unschedulable ──a change that may help──┐
 *              ▲                                        '────error──► backoff (1 s … 10 s per pod) ◄──────────────┘
 *              '─────────────────── backoff over ──────────────────────────'
 *
 * Pods in `unschedulable` move on when a cluster event comes that one of the plugins that refused them waits for, and after 5 minutes anyhow.
 * An event that comes while a pod is in flight counts too (the pod is tried again instead of being parked).
 */
import type { Pod } from '#api/types.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import type { ClusterEvent, SchedulerPlugin } from './plugin.ts';
import { queuedBefore } from './plugins/priority-sort.ts';

const INITIAL_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 10_000;
const UNSCHEDULABLE_LIMIT_MS = 5 * 60_000;
const FLUSH_EVERY_MS = 30_000;

interface Entry {
  pod: Pod;
  readonly uid: string;
  priority: number;
  sinceMs: number;
  readonly order: number;
  attempts: number;
  place: 'active' | 'backoff' | 'unschedulable' | 'in-flight' | 'gated';
  /** Plugins that refused it last time. */
  refusedBy: ReadonlySet<string>;
  parkedAtMs: number;
  retryAtMs: number;
  /** A helpful event came while it was in flight. */
  missedEvent: boolean;
}

export interface QueueOptions {
  readonly clock: Clock;
  readonly plugins: readonly SchedulerPlugin[];
  /** Called when something can be popped. */
  readonly onReady: () => void;
  /** A pod that a preEnqueue refused. */
  readonly onGated?: (pod: Pod, message: string) => void;
}

export class SchedulingQueue {
  readonly #options: QueueOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #active: Entry[] = [];
  #order = 0;
  #backoffTimer: Timer | undefined;
  #flushTimer: Timer | undefined;
  #stopped = false;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#armFlush();
  }

  get size(): number { return this.#entries.size; }
  get activeSize(): number { return this.#active.length; }

  /** A pod that waits for a node: new, or changed while it waits. */
  set(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const entry = this.#entries.get(uid);
    if (!entry) return this.#add(pod, uid);
    const specChanged = entry.pod.metadata?.generation !== pod.metadata?.generation || changedFor(entry.pod, pod);
    entry.pod = pod;
    entry.priority = pod.spec?.priority ?? 0;
    if (entry.place === 'gated') return this.#enqueue(entry);
    if (entry.place === 'in-flight') entry.missedEvent ||= specChanged;
    else if (entry.place === 'unschedulable' && specChanged) this.#wake(entry);
  }

  remove(uid: string): void {
    const entry = this.#entries.get(uid);
    if (!entry) return;
    this.#entries.delete(uid);
    if (entry.place === 'active') removeFromHeap(this.#active, entry);
  }

  /** The next pod to decide on; it is in flight until done() or failed(). */
  pop(): { readonly pod: Pod; readonly attempts: number } | undefined {
    const entry = popHeap(this.#active);
    if (!entry) return undefined;
    entry.place = 'in-flight';
    entry.attempts += 1;
    entry.missedEvent = false;
    return { pod: entry.pod, attempts: entry.attempts };
  }

  /** It has its node, or it is gone. */
  done(uid: string): void {
    const entry = this.#entries.get(uid);
    if (entry?.place === 'in-flight') this.#entries.delete(uid);
  }

  /** No node now. `refusedBy` empty: an error, tried again after backoff. */
  failed(uid: string, refusedBy: ReadonlySet<string>): void {
    const entry = this.#entries.get(uid);
    if (!entry || entry.place !== 'in-flight') return;
    entry.refusedBy = refusedBy;
    entry.parkedAtMs = this.#now();
    entry.retryAtMs = this.#now() + Math.min(MAX_BACKOFF_MS, INITIAL_BACKOFF_MS * 2 ** (entry.attempts - 1));
    entry.place = 'unschedulable';
    if (refusedBy.size === 0 || entry.missedEvent) this.#wake(entry);
  }

  /** Something changed in the cluster: wake the pods it may help. */
  event(kind: ClusterEvent): void {
    for (const entry of this.#entries.values()) {
      if (entry.place !== 'unschedulable' && entry.place !== 'in-flight') continue;
      if (entry.place === 'in-flight') entry.missedEvent = true;
      else if (this.#helps(kind, entry)) this.#wake(entry);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#backoffTimer?.cancel();
    this.#flushTimer?.cancel();
  }

  #now(): number { return this.#options.clock.now(); }

  #add(pod: Pod, uid: string): void {
    const entry: Entry = {
      pod, uid, priority: pod.spec?.priority ?? 0, sinceMs: this.#now(), order: this.#order++, attempts: 0, place: 'gated',
      refusedBy: new Set(), parkedAtMs: 0, retryAtMs: 0, missedEvent: false,
    };
    this.#entries.set(uid, entry);
    this.#enqueue(entry);
  }

  #enqueue(entry: Entry): void {
    for (const plugin of this.#options.plugins) {
      const message = plugin.preEnqueue?.(entry.pod);
      if (message === undefined) continue;
      entry.place = 'gated';
      return this.#options.onGated?.(entry.pod, message);
    }
    entry.place = 'active';
    pushHeap(this.#active, entry);
    this.#options.onReady();
  }

  #helps(kind: ClusterEvent, entry: Entry): boolean {
    return this.#options.plugins.some((plugin) => entry.refusedBy.has(plugin.name) && (plugin.wakesOn === undefined || plugin.wakesOn.includes(kind)));
  }

  #wake(entry: Entry): void {
    if (entry.retryAtMs <= this.#now()) return this.#enqueue(entry);
    entry.place = 'backoff';
    this.#armBackoff();
  }

  #armBackoff(): void {
    this.#backoffTimer?.cancel();
    const waiting = [...this.#entries.values()].filter((entry) => entry.place === 'backoff');
    if (waiting.length === 0 || this.#stopped) return;
    const next = Math.min(...waiting.map((entry) => entry.retryAtMs));
    this.#backoffTimer = this.#options.clock.after(Math.max(0, next - this.#now()), () => {
      for (const entry of [...this.#entries.values()]) if (entry.place === 'backoff' && entry.retryAtMs <= this.#now()) this.#enqueue(entry);
      this.#armBackoff();
    });
  }

  #armFlush(): void {
    if (this.#stopped) return;
    this.#flushTimer = this.#options.clock.after(FLUSH_EVERY_MS, () => {
      for (const entry of [...this.#entries.values()]) {
        if (entry.place === 'unschedulable' && this.#now() - entry.parkedAtMs >= UNSCHEDULABLE_LIMIT_MS) this.#wake(entry);
      }
      this.#armFlush();
    });
  }
}

/** A change of what plugins look at, as opposed to our own status writes. */
function changedFor(before: Pod, after: Pod): boolean {
  return JSON.stringify(before.metadata?.labels ?? {}) !== JSON.stringify(after.metadata?.labels ?? {})
    || JSON.stringify(before.spec) !== JSON.stringify(after.spec);
}

function pushHeap(heap: Entry[], entry: Entry): void {
  heap.push(entry);
  siftUp(heap, heap.length - 1);
}

function popHeap(heap: Entry[]): Entry | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (heap.length > 0 && last && first !== last) {
    heap[0] = last;
    siftDown(heap, 0);
  }
  return first;
}

function removeFromHeap(heap: Entry[], entry: Entry): void {
  const at = heap.indexOf(entry);
  const last = heap.pop();
  if (at < 0 || !last || last === entry) return;
  heap[at] = last;
  siftUp(heap, at);
  siftDown(heap, heap.indexOf(last));
}

function siftUp(heap: Entry[], start: number): void {
  let at = start;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(heap, { first: at, second: parent })) return;
    swap(heap, { first: at, second: parent });
    at = parent;
  }
}

function siftDown(heap: Entry[], start: number): void {
  for (let at = start; ;) {
    let best = at;
    for (const child of [2 * at + 1, 2 * at + 2]) if (child < heap.length && before(heap, { first: child, second: best })) best = child;
    if (best === at) return;
    swap(heap, { first: at, second: best });
    at = best;
  }
}

interface Pair { readonly first: number; readonly second: number }

function before(heap: readonly Entry[], { first, second }: Pair): boolean {
  return queuedBefore(heap[first] as Entry, heap[second] as Entry);
}

function swap(heap: Entry[], { first, second }: Pair): void {
  const kept = heap[first] as Entry;
  heap[first] = heap[second] as Entry;
  heap[second] = kept;
}
