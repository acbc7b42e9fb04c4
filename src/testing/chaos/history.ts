/** What the programs of load.ts print, kept and judged: writes and watches by storage's watch oracle against etcd's own history, reads and leases here. */
import {
  judgeWatch,
  judgeWrites,
  type Delivery,
  type SeenEvent,
  type Truth,
  type WriteHistory,
} from '#storage/testing/watch-oracle.ts';
import type { PodLine } from './pods.ts';

/** Of all keys of the test. */
export const PREFIX = 'chaos-';

export interface Lease {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

interface Timed {
  /** Milliseconds since the epoch. */
  readonly start: number;
  readonly end: number;
  readonly error?: string;
}

export interface PutLine extends Timed {
  readonly kind: 'put';
  readonly key: string;
  readonly value: string;
  readonly expected: number;
  readonly outcome: number | 'refused' | 'unknown';
}

export interface GetLine extends Timed {
  readonly kind: 'get';
  readonly by: string;
  readonly ok: boolean;
  /** Of one object; undefined: a list. */
  readonly key?: string;
  /** What was read: of the object, 0 where it is absent, or of the list. */
  readonly revision?: number;
}

interface LeaseLine {
  readonly kind: 'lease';
  readonly name: string;
  readonly revision: number;
  readonly spec: Lease;
  /** Milliseconds since the epoch, by a clock that is right. */
  readonly seen: number;
}

export type Line =
  | PutLine
  | GetLine
  | LeaseLine
  | PodLine
  | { readonly kind: 'delete-failed'; readonly key: string; readonly error: string }
  | { readonly kind: 'scale-failed'; readonly error: string }
  | { readonly kind: 'watching'; readonly after: number }
  | { readonly kind: 'reached'; readonly revision: number }
  | {
      readonly kind: 'event';
      readonly type: string;
      readonly key: string;
      readonly revision: number;
      readonly value?: string;
    }
  | { readonly kind: 'watch-ended'; readonly plural: string; readonly error: string }
  /** Of what is promised to the client that saw it. */
  | { readonly kind: 'breach'; readonly what: string };

/** What one fault cost, as clients of one local balancer saw it. */
export interface Cost {
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
  readonly failedReads: number;
  /** The longest time without one successful answer, for any client of the program. */
  readonly withoutReadMs: number;
  readonly withoutWriteMs: number;
  /** The longest that one client waited for an answer, of whatever kind. */
  readonly slowestMs: number;
  /** What writes and reads failed with: each text once, with its longest wait. */
  readonly errors: readonly string[];
}

/** Of one program. */
export class History {
  readonly name: string;
  readonly puts: PutLine[] = [];
  readonly gets: GetLine[] = [];
  readonly leases: LeaseLine[] = [];
  readonly pods: PodLine[] = [];
  acknowledged = 0;
  events = 0;
  readonly breaches: string[] = [];
  readonly watchEnds: string[] = [];
  /** Undefined: it does not watch yet. */
  watchingAfter: number | undefined;
  /** Of the newest event or bookmark. */
  reached = 0;
  #deliveries: Delivery[] = [];
  #unjudgedReads: GetLine[] = [];

  constructor(name: string) {
    this.name = name;
  }

  add(line: Line): void {
    if (line.kind === 'put') this.#put(line);
    else if (line.kind === 'get') this.#get(line);
    else if (line.kind === 'lease') this.leases.push(line);
    else if (line.kind === 'pod') this.pods.push(line);
    else if (line.kind === 'breach') this.breaches.push(line.what);
    else if (line.kind === 'watch-ended') this.watchEnds.push(`${line.plural}: ${line.error}`);
    else if (line.kind === 'watching') this.watchingAfter = line.after;
    else if (line.kind === 'reached') this.#deliver({ reached: line.revision });
    else if (line.kind === 'event') this.#event(line);
  }

  /** Of what came before the first delivery beyond the revision; it is forgotten, and what follows is judged next time. */
  judgeWatch(upTo: number, truth: Truth): string[] {
    const cut = this.#deliveries.findIndex((delivery) => newestOf(delivery) > upTo);
    const deliveries = cut < 0 ? this.#deliveries : this.#deliveries.slice(0, cut);
    this.#deliveries = cut < 0 ? [] : this.#deliveries.slice(cut);
    const afterRevision = this.watchingAfter!;
    this.watchingAfter = upTo;
    return judgeWatch(
      {
        name: `watch of ${this.name}`,
        prefix: PREFIX,
        afterRevision,
        upTo,
        deliveries,
        untold: ['previous', 'atomic'],
      },
      truth,
    );
  }

  judgeWrites(upTo: number, truth: Truth): string[] {
    return judgeWrites(
      this.puts
        .filter(({ outcome }) => typeof outcome !== 'number' || outcome <= upTo)
        .map(({ key, value, expected, outcome }): WriteHistory => ({
          key,
          value,
          expected,
          type: 'put',
          outcome: typeof outcome === 'number' ? { revision: outcome } : outcome,
        })),
      truth,
    );
  }

  /** Those that ended before the moment, each once. */
  takeReads(before: number): GetLine[] {
    const taken = this.#unjudgedReads.filter(({ end }) => end < before);
    this.#unjudgedReads = this.#unjudgedReads.filter(({ end }) => end >= before);
    return taken;
  }

  /** Of what ended since. */
  cost(since: number): Cost {
    const puts = this.puts.filter(({ end }) => end >= since);
    const gets = this.gets.filter(({ end }) => end >= since);
    const of = (outcome: string): number => puts.filter((put) => put.outcome === outcome).length;
    return {
      acknowledged: puts.length - of('refused') - of('unknown'),
      refused: of('refused'),
      unknown: of('unknown'),
      failedReads: gets.filter(({ ok }) => !ok).length,
      withoutReadMs: longestGap(
        since,
        gets.filter(({ ok }) => ok),
      ),
      withoutWriteMs: longestGap(
        since,
        puts.filter(({ outcome }) => typeof outcome === 'number'),
      ),
      slowestMs: Math.max(0, ...[...puts, ...gets].map(({ start, end }) => end - start)),
      errors: errorsOf([...puts, ...gets]),
    };
  }

  #get(line: GetLine): void {
    this.gets.push(line);
    if (line.revision !== undefined) this.#unjudgedReads.push(line);
  }

  #put(line: PutLine): void {
    this.puts.push(line);
    if (typeof line.outcome === 'number') this.acknowledged += 1;
  }

  #event(line: Line & { readonly kind: 'event' }): void {
    this.events += 1;
    this.#deliver({ events: [seenEvent(line)] });
  }

  #deliver(delivery: Delivery): void {
    this.#deliveries.push(delivery);
    this.reached = Math.max(this.reached, newestOf(delivery));
  }
}

function newestOf(delivery: Delivery): number {
  return 'reached' in delivery ? delivery.reached : (delivery.events.at(-1)?.revision ?? 0);
}

function seenEvent({ type, key, revision, value }: Line & { kind: 'event' }): SeenEvent {
  if (type === 'DELETED') return { type: 'delete', key, revision };
  // An event of a watch tells no more than whether the object is new to it.
  return { type: 'put', key, revision, value, createRevision: type === 'ADDED' ? revision : 0 };
}

function errorsOf(all: readonly Timed[]): string[] {
  const longest = new Map<string, number>();
  for (const { error, start, end } of all)
    if (error !== undefined) longest.set(error, Math.max(longest.get(error) ?? 0, end - start));
  return Array.from(longest, ([error, ms]) => `${error} (after ${ms} ms)`);
}

function longestGap(since: number, successes: readonly Timed[]): number {
  let last = since;
  let longest = 0;
  for (const { end } of successes.toSorted((a, b) => a.end - b.end)) {
    longest = Math.max(longest, end - last);
    last = Math.max(last, end);
  }
  return longest;
}

/** What an API server answers as all that there is. */
export interface List {
  readonly server: string;
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly resourceVersion: string };
    readonly data?: { readonly value?: string };
  }[];
}

/** It holds what there was at its revision, no more and no less. */
export function judgeList({ server, metadata, items }: List, truth: Truth): string[] {
  const upTo = Number(metadata.resourceVersion);
  const wanted = new Map<string, SeenEvent>();
  for (const event of truth.matching(PREFIX, { after: 0, upTo }))
    if (event.type === 'put') wanted.set(event.key, event);
    else wanted.delete(event.key);
  const found: string[] = [];
  for (const {
    metadata: { name, resourceVersion },
    data,
  } of items) {
    if (!name.startsWith(PREFIX)) continue;
    const event = wanted.get(name);
    wanted.delete(name);
    if (event?.revision !== Number(resourceVersion) || event.value !== data?.value)
      found.push(`list of ${server} at ${upTo}: ${name} is of ${resourceVersion}, is ${event?.revision}`);
  }
  for (const { key, revision } of wanted.values())
    found.push(`list of ${server} at ${upTo}: ${key} of ${revision} is missing`);
  return found;
}

/** A lease goes to another holder only once it is over or given up, and is counted once for each time. */
export function judgeLeases(lines: readonly LeaseLine[]): string[] {
  const found: string[] = [];
  const last = new Map<string, Lease>();
  for (const { name, spec: asWritten, seen } of lines) {
    const spec = {
      ...asWritten,
      ...rightTime(asWritten, 'acquireTime', seen),
      ...rightTime(asWritten, 'renewTime', seen),
    };
    const before = last.get(name);
    last.set(name, spec);
    if (before) found.push(...judgeTransition(name, { before, after: spec }));
  }
  return found;
}

/** How far clocks are wrong in a fault: whole hours. */
const WRONG_BY_MS = 3_600_000;

/**
 * By the right clock, whatever clock it was written with. renewTime is at most a lease old when it is seen; acquireTime can be older than half an hour, and is only
 * compared where the lease was just taken.
 */
function rightTime(spec: Lease, field: 'acquireTime' | 'renewTime', seen: number): Lease {
  const renewed = Date.parse(spec.renewTime ?? '');
  const time = Date.parse(spec[field] ?? '');
  if (Number.isNaN(renewed) || Number.isNaN(time)) return {};
  const wrongBy = Math.round((renewed - seen) / WRONG_BY_MS) * WRONG_BY_MS;
  return { [field]: new Date(time - wrongBy).toISOString() };
}

/** Right clocks are one clock here; writing the lease takes a moment. */
const LEASE_SLACK_MS = 1_000;

function judgeTransition(
  name: string,
  { before, after }: { readonly before: Lease; readonly after: Lease },
): string[] {
  const found: string[] = [];
  const grown = (after.leaseTransitions ?? 0) - (before.leaseTransitions ?? 0);
  if (grown < 0 || grown > 1) found.push(`lease ${name}: transitions went up by ${grown}`);
  const taken =
    Boolean(after.holderIdentity) && after.holderIdentity !== before.holderIdentity && before.holderIdentity;
  if (!taken) return found;
  const over = Date.parse(before.renewTime ?? '') + (before.leaseDurationSeconds ?? 0) * 1000;
  if (Date.parse(after.acquireTime ?? '') + LEASE_SLACK_MS < over)
    found.push(
      `lease ${name}: ${after.holderIdentity} took it from ${before.holderIdentity} ${over - Date.parse(after.acquireTime ?? '')} ms before it was over`,
    );
  return found;
}
