/**
 * Checks events of watches and results of writers against the actual history: the nine guarantees of etcd watches
 * (Documentation, "KV API guarantees"; etcd checks them itself in tests/robustness/validate/watch.go), and that no acknowledged write is lost.
 * Independent of the store: histories come from recorder.ts, or from watches of the API.
 *
 *   ordered       events come in the order of revisions          resumable      a watch after R begins with the first event after R
 *   unique        no event comes twice                           bookmarkable   after "all up to R was delivered", nothing up to R comes
 *   atomic        events of one revision come in one batch       filter         only keys below the prefix
 *   reliable      no event between two that came is missing      previous       the value before is the one that was there
 *                                                                created        a key is created exactly where it was absent
 */
import type { Revision } from '../store.ts';

export interface SeenEvent {
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly revision: Revision;
  /** Text of the value. Undefined for a delete, or when it must not be compared. */
  readonly value?: string | undefined;
  readonly createRevision?: Revision | undefined;
  readonly previous?: { readonly revision: Revision; readonly value?: string | undefined } | undefined;
}

/** In order of arrival. */
export type Delivery =
  | { readonly events: readonly SeenEvent[] }
  /** All events up to this revision were delivered. */
  | { readonly reached: Revision };

export interface WatchHistory {
  readonly name: string;
  readonly prefix: string;
  readonly afterRevision: Revision;
  readonly deliveries: readonly Delivery[];
  /** All matching events up to this revision must have been delivered; default: up to the last one. */
  readonly upTo?: Revision | undefined;
  /** Properties that this kind of watch does not have, which are not checked. */
  readonly untold?: readonly ('previous' | 'created' | 'atomic')[] | undefined;
}

export interface WriteHistory {
  readonly key: string;
  readonly type: 'put' | 'delete';
  readonly value?: string | undefined;
  readonly expected?: Revision | undefined;
  /** The writer's result; 'refused': it had no effect. */
  readonly outcome: { readonly revision: Revision } | 'refused' | 'unknown';
}

/** The complete history, in order; the result of a full replay. */
export class Truth {
  readonly events: readonly SeenEvent[];
  readonly #byRevision = new Map<string, SeenEvent>();

  constructor(events: readonly SeenEvent[]) {
    this.events = events;
    for (const event of events) this.#byRevision.set(`${event.revision} ${event.key}`, event);
  }

  at(key: string, revision: Revision): SeenEvent | undefined {
    return this.#byRevision.get(`${revision} ${key}`);
  }

  matching(prefix: string, { after, upTo }: { after: Revision; upTo: Revision }): SeenEvent[] {
    return this.events.filter(
      ({ key, revision }) => key.startsWith(prefix) && revision > after && revision <= upTo,
    );
  }
}

/** One sentence per violation; empty: all guarantees hold. */
export function judgeWatch(watch: WatchHistory, truth: Truth): string[] {
  const found: string[] = [];
  const breach = (property: string, what: string): void =>
    void found.push(`${watch.name}: ${property}: ${what}`);
  const untold = new Set(watch.untold);
  const seen = new Set<string>();
  let newest = watch.afterRevision;
  let reached = watch.afterRevision;
  for (const delivery of watch.deliveries) {
    if ('reached' in delivery) {
      if (delivery.reached < reached) breach('bookmarkable', `${delivery.reached} after ${reached}`);
      reached = Math.max(reached, delivery.reached);
      continue;
    }
    const first = delivery.events[0];
    if (first && first.revision === newest && seen.size > 0 && !untold.has('atomic'))
      breach('atomic', `revision ${newest} came in two batches`);
    for (const event of delivery.events) {
      const id = `${event.revision} ${event.key}`;
      if (seen.has(id)) breach('unique', `${id} came twice`);
      seen.add(id);
      if (event.revision < newest) breach('ordered', `${id} after ${newest}`);
      if (event.revision <= reached) breach('bookmarkable', `${id} after progress ${reached}`);
      if (!event.key.startsWith(watch.prefix)) breach('filter', `${id} is not below ${watch.prefix}`);
      newest = Math.max(newest, event.revision);
      judgeEvent(event, { truth, untold, breach });
    }
  }
  judgeCompleteness(watch, { truth, seen, upTo: Math.max(newest, reached, watch.upTo ?? 0), breach });
  return found;
}

function judgeEvent(
  event: SeenEvent,
  {
    truth,
    untold,
    breach,
  }: {
    readonly truth: Truth;
    readonly untold: ReadonlySet<string>;
    readonly breach: (property: string, what: string) => void;
  },
): void {
  const id = `${event.revision} ${event.key}`;
  const real = truth.at(event.key, event.revision);
  if (!real) return breach('reliable', `${id} never happened`);
  if (real.type !== event.type) breach('reliable', `${id} is a ${real.type}, reported as a ${event.type}`);
  if (event.value !== undefined && real.value !== event.value) breach('reliable', `${id} has another value`);
  if (!untold.has('previous') && event.previous?.revision !== real.previous?.revision)
    breach('previous', `${id} follows ${real.previous?.revision}, reported as ${event.previous?.revision}`);
  if (!untold.has('previous') && event.previous?.value !== real.previous?.value)
    breach('previous', `the value before ${id} is another`);
  if (untold.has('created') || event.type === 'delete') return;
  if ((event.createRevision === event.revision) !== (real.previous === undefined))
    breach('created', `${id} was ${real.previous ? 'an update' : 'a create'}`);
}

function judgeCompleteness(
  watch: WatchHistory,
  {
    truth,
    seen,
    upTo,
    breach,
  }: {
    readonly truth: Truth;
    readonly seen: ReadonlySet<string>;
    readonly upTo: Revision;
    readonly breach: (property: string, what: string) => void;
  },
): void {
  let isFirst = true;
  for (const { key, revision } of truth.matching(watch.prefix, { after: watch.afterRevision, upTo })) {
    if (!seen.has(`${revision} ${key}`))
      breach(isFirst ? 'resumable' : 'reliable', `${revision} ${key} is missing (judged up to ${upTo})`);
    isFirst = false;
  }
}

/** Values of all writes must differ. */
export function judgeWrites(writes: readonly WriteHistory[], truth: Truth): string[] {
  const found: string[] = [];
  const happened = new Map<string, SeenEvent[]>();
  for (const event of truth.events)
    if (event.type === 'put') happened.set(event.value!, [...(happened.get(event.value!) ?? []), event]);
  for (const write of writes) {
    const times = write.type === 'put' ? (happened.get(write.value!) ?? []) : [];
    const what = `${write.type} of ${write.key} (${write.value ?? ''})`;
    if (times.length > 1) found.push(`${what} happened ${times.length} times`);
    if (write.outcome === 'refused' && times.length > 0) found.push(`${what} was refused and happened`);
    const real = typeof write.outcome === 'object' ? truth.at(write.key, write.outcome.revision) : times[0];
    if (typeof write.outcome === 'object' && (real?.type !== write.type || real.value !== write.value))
      found.push(`${what} was acknowledged at ${write.outcome.revision} and is lost`);
    if (real && write.expected !== undefined && (real.previous?.revision ?? 0) !== write.expected)
      found.push(`${what} expected ${write.expected} and replaced ${real.previous?.revision ?? 0}`);
  }
  return found;
}
