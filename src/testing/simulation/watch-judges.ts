/**
 * The nine properties of watches (etcd's "KV API guarantees"), each judged by itself, over what a client of the API received on one stream. Where watches of the
 * store are judged by storage/testing/watch-oracle.ts, here objects come and go as a label selector has it.
 *
 *   ordered       in the order of revisions                      bookmarkable  after bookmark R nothing up to R comes, and all up to R has come
 *   unique        no change comes twice                          filter        only objects below the prefix that carry the label, or did
 *   atomic        changes of one revision come together          previous      DELETED carries the state that was there before
 *   reliable      no change between two that came is missing     created       ADDED exactly where there was none, or none with the label
 *   resumable     the first change after the start comes first
 */
import type { Revision } from '#storage/store.ts';
import type { SeenObject, StreamEntry, StreamRecord, TrueChange, Truth } from './history.ts';

type Event = Extract<StreamEntry, { readonly kind: 'event' }>;

/** One sentence per breach. */
type WatchJudge = (stream: StreamRecord, truth: Truth) => string[];

export const WATCH_JUDGES: Readonly<Record<string, WatchJudge>> = {
  ordered,
  unique,
  atomic,
  reliable,
  resumable,
  bookmarkable,
  filter,
  previous,
  created,
};

export function judgeStream(stream: StreamRecord, truth: Truth): string[] {
  return Object.entries(WATCH_JUDGES).flatMap(([name, judge]) =>
    judge(stream, truth).map((breach) => `${stream.name}: ${name}: ${breach}`),
  );
}

function eventsOf({ entries }: StreamRecord): Event[] {
  return entries.filter((entry) => entry.kind === 'event');
}

function idOf({ object }: Event): string {
  return `${object.revision} ${object.key}`;
}

/** What of a change the stream is to show; undefined: nothing. */
function shown(change: TrueChange, { prefix, labelled }: StreamRecord): Event['type'] | undefined {
  if (!change.key.startsWith(prefix)) return undefined;
  const isIn = (object: SeenObject | undefined): boolean =>
    object !== undefined && (!labelled || object.labelled);
  if (isIn(change.current)) return isIn(change.previous) ? 'MODIFIED' : 'ADDED';
  return isIn(change.previous) ? 'DELETED' : undefined;
}

/** Of changes that the stream is to show and that did not come. */
function missing(
  stream: StreamRecord,
  { truth, from, upTo }: { readonly truth: Truth; readonly from: Revision; readonly upTo: Revision },
): string[] {
  const seen = new Set(eventsOf(stream).map(idOf));
  return truth.changes
    .filter(({ revision }) => revision > from && revision <= upTo)
    .filter((change) => shown(change, stream) !== undefined)
    .map(({ revision, key }) => `${revision} ${key}`)
    .filter((id) => !seen.has(id));
}

function ordered(stream: StreamRecord): string[] {
  let newest = 0;
  return eventsOf(stream).flatMap((event) => {
    const before = newest;
    newest = Math.max(newest, event.object.revision);
    return event.object.revision < before ? [`${idOf(event)} after ${before}`] : [];
  });
}

function unique(stream: StreamRecord): string[] {
  const seen = new Set<string>();
  return eventsOf(stream).flatMap((event) => {
    const id = idOf(event);
    if (seen.has(id)) return [`${id} came twice`];
    seen.add(id);
    return event.object.revision <= stream.after ? [`${id} was known at the start (${stream.after})`] : [];
  });
}

function atomic({ entries }: StreamRecord): string[] {
  const over = new Set<Revision>();
  let current = 0;
  return entries.flatMap((entry) => {
    const revision = entry.kind === 'event' ? entry.object.revision : entry.revision;
    if (entry.kind === 'event' && over.has(revision)) return [`${idOf(entry)} came apart from its revision`];
    if (revision !== current) over.add(current);
    if (entry.kind === 'bookmark') over.add(revision);
    current = revision;
    return [];
  });
}

function reliable(stream: StreamRecord, truth: Truth): string[] {
  const events = eventsOf(stream);
  const untrue = events.flatMap((event) => {
    const change = truth.at(event.object.key, event.object.revision);
    if (!change) return [`${idOf(event)} never happened`];
    const isSame = event.type === 'DELETED' || change.current?.value === event.object.value;
    return isSame ? [] : [`${idOf(event)} is ${change.current?.value}, not ${event.object.value}`];
  });
  const revisions = events.map(({ object }) => object.revision);
  const from = Math.min(...revisions, stream.upTo ?? Infinity);
  const upTo = Math.max(...revisions, stream.upTo ?? 0);
  if (upTo === 0) return untrue;
  return [...untrue, ...missing(stream, { truth, from, upTo }).map((id) => `${id} is missing`)];
}

function resumable(stream: StreamRecord, truth: Truth): string[] {
  const first = eventsOf(stream)[0]?.object.revision ?? stream.upTo;
  if (first === undefined) return [];
  return missing(stream, { truth, from: stream.after, upTo: first }).map(
    (id) => `${id} is missing at the start (after ${stream.after})`,
  );
}

function bookmarkable(stream: StreamRecord, truth: Truth): string[] {
  const found: string[] = [];
  let reached = 0;
  stream.entries.forEach((entry, index) => {
    if (entry.kind === 'event') {
      if (entry.object.revision <= reached) found.push(`${idOf(entry)} after bookmark ${reached}`);
      return;
    }
    if (entry.revision < reached) found.push(`bookmark ${entry.revision} after ${reached}`);
    reached = Math.max(reached, entry.revision);
    if (reached > truth.revision) found.push(`bookmark ${reached} is of the future`);
    const soFar = { ...stream, entries: stream.entries.slice(0, index) };
    for (const id of missing(soFar, { truth, from: stream.after, upTo: reached }))
      found.push(`${id} had not come before bookmark ${reached}`);
  });
  return found;
}

function filter(stream: StreamRecord, truth: Truth): string[] {
  return eventsOf(stream).flatMap((event) => {
    const { key, revision } = event.object;
    const change = truth.at(key, revision);
    if (!key.startsWith(stream.prefix)) return [`${idOf(event)} is not below ${stream.prefix}`];
    return change && shown(change, stream) === undefined ? [`${idOf(event)} does not match`] : [];
  });
}

function previous(stream: StreamRecord, truth: Truth): string[] {
  return eventsOf(stream).flatMap((event) => {
    const before = truth.at(event.object.key, event.object.revision)?.previous;
    if (event.type !== 'DELETED' || before?.value === event.object.value) return [];
    return [`${idOf(event)} carries ${event.object.value}, where ${before?.value ?? 'nothing'} was before`];
  });
}

function created(stream: StreamRecord, truth: Truth): string[] {
  return eventsOf(stream).flatMap((event) => {
    const change = truth.at(event.object.key, event.object.revision);
    const should = change && shown(change, stream);
    return should === undefined || should === event.type
      ? []
      : [`${idOf(event)} is ${event.type}, not ${should}`];
  });
}
