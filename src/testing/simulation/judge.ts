/** Judges the history of one world: writes, reads by name (linearizable for each key), lists, and watches. */
import { keyModel, type KeyOperation } from './register.ts';
import type { History, ListRecord, ReadRecord, SeenObject, Truth, WriteRecord } from './history.ts';
import { checkLinearizable } from './linearizability.ts';
import { judgeStream } from './watch-judges.ts';

/** One sentence per breach; empty: everything holds. */
export function judge(history: History, truth: Truth): string[] {
  const { writes, reads, lists, streams, faults } = history;
  return [
    ...faults,
    ...judgeWrites(writes, truth),
    ...judgeKeys(history, truth),
    ...reads.flatMap((read) => judgeRead(read, truth)),
    ...judgeServersGoForward(reads),
    ...lists.flatMap((list) => judgeList(list, truth)),
    ...streams.flatMap((stream) => judgeStream(stream, truth)),
    ...streams.flatMap(({ name, after, expired }) =>
      expired && after >= expired.floor
        ? [`${name}: 410 after ${after}, though only ${expired.floor} was compacted`]
        : [],
    ),
  ];
}

// ---------------------------------------------------------------------------------------------------------------- writes

export function judgeWrites(writes: readonly WriteRecord[], truth: Truth): string[] {
  const happened = Map.groupBy(
    truth.changes.filter(({ current }) => current !== undefined),
    ({ current }) => current!.value,
  );
  return writes.flatMap(({ key, verb, value, expected, outcome, what }) => {
    if (value === undefined) return [];
    const times = happened.get(value) ?? [];
    const real = times[0];
    const found: string[] = [];
    if (times.length > 1) found.push(`${what}: it happened ${times.length} times`);
    if (outcome.kind === 'done' && (real?.key !== key || real.revision !== outcome.revision))
      found.push(`${what}: acknowledged at ${outcome.revision} and lost`);
    if (outcome.kind !== 'done' && outcome.kind !== 'unknown' && real)
      found.push(`${what}: refused (${outcome.kind}), and happened at ${real.revision}`);
    if (real && expected !== undefined && real.previous?.revision !== expected)
      found.push(`${what}: it replaced ${real.previous?.revision}`);
    if (verb === 'patch' && real && real.previous?.labelled !== real.current!.labelled)
      found.push(`${what}: it changed what it does not name`);
    if (verb === 'create' && real?.previous)
      found.push(`${what}: it replaced ${real.previous.revision}, which existed`);
    return found;
  });
}

// -------------------------------------------------------------------------------------------------------- linearizability

function judgeKeys({ writes, reads }: History, truth: Truth): string[] {
  const operations = [
    ...writes.flatMap((write) => operationOf(write, { truth, shared: isShared(write, writes) })),
    ...reads.filter(({ asked }) => asked === undefined).map(readOperation),
  ];
  return Array.from(Map.groupBy(operations, ({ key }) => key)).flatMap(([key, history]) => {
    const verdict = checkLinearizable(history, keyModel);
    if (verdict.kind === 'linearizable') return [];
    if (verdict.kind === 'undecided') return [`${key}: not decided within ${verdict.states} states`];
    const left = verdict.left.slice(0, 3).map(({ what }) => what);
    return [
      `${key}: not linearizable: after ${verdict.order.at(-1)?.what} none of these fits: ${left.join('; ')}`,
    ];
  });
}

type KeyedOperation = KeyOperation & { readonly key: string };

/** Those without an answer are where etcd's log has them, or did not happen; only deletes leave it open. */
function operationOf(
  write: WriteRecord,
  { truth, shared }: { readonly truth: Truth; readonly shared: boolean },
): KeyedOperation[] {
  const { key, verb, value, expected, outcome, what, startMs, endMs } = write;
  const base = { key, what, startMs, endMs };
  if (verb === 'delete') {
    if (outcome.kind === 'absent') return [{ ...base, result: { kind: 'absent' } }];
    if (outcome.kind !== 'done' && outcome.kind !== 'unknown') return refusal(write, base);
    return [{ ...base, result: { kind: 'deleted', expected, shared }, optional: outcome.kind === 'unknown' }];
  }
  if (outcome.kind !== 'done' && outcome.kind !== 'unknown') return refusal(write, base);
  const real = truth.changes.find((change) => change.current?.value === value);
  if (!real) return [];
  return [
    { ...base, result: { kind: 'wrote', replaced: real.previous?.revision ?? 0, revision: real.revision } },
  ];
}

/** Two deletes of one object at the same time. */
function isShared(write: WriteRecord, writes: readonly WriteRecord[]): boolean {
  if (write.verb !== 'delete') return false;
  return writes.some(
    (other) =>
      other !== write &&
      other.verb === 'delete' &&
      other.key === write.key &&
      other.startMs <= write.endMs &&
      write.startMs <= other.endMs,
  );
}

function refusal({ outcome, expected }: WriteRecord, base: Omit<KeyedOperation, 'result'>): KeyedOperation[] {
  if (outcome.kind === 'exists' || outcome.kind === 'absent')
    return [{ ...base, result: { kind: outcome.kind } }];
  // Without a precondition of the client's it only says that others wrote too.
  return outcome.kind === 'conflict' && expected !== undefined
    ? [{ ...base, result: { kind: 'conflict', expected } }]
    : [];
}

function readOperation({ key, what, startMs, endMs, found }: ReadRecord): KeyedOperation {
  return { key, what, startMs, endMs, result: { kind: 'read', revision: found?.revision ?? 0 } };
}

// ----------------------------------------------------------------------------------------------------------------- reads

/** What it found existed, and was the state at some revision that was asked for. */
export function judgeRead({ key, asked, found, what }: ReadRecord, truth: Truth): string[] {
  const changes = truth.changes.filter((change) => change.key === key);
  if (found) {
    const index = changes.findIndex(({ revision }) => revision === found.revision);
    if (changes[index]?.current?.value !== found.value) return [`${what}: ${found.revision} never was`];
    const until = changes[index + 1]?.revision ?? Infinity;
    return until > (asked ?? 0) ? [] : [`${what}: ${found.revision} was replaced at ${until} already`];
  }
  if (asked === undefined) return [];
  const wasAbsent = [{ revision: 0, current: undefined }, ...changes].some(
    ({ current }, index) => current === undefined && (changes[index]?.revision ?? Infinity) > asked,
  );
  return wasAbsent ? [] : [`${what}: not found, and it was there all the time`];
}

/** Old reads are allowed, but one server in one life does not go back in time for a client that has its answer. */
export function judgeServersGoForward(reads: readonly ReadRecord[]): string[] {
  const breaches: string[] = [];
  for (const ofOne of Map.groupBy(reads, ({ server, key }) => `${server} ${key}`).values()) {
    let newest: ReadRecord | undefined;
    for (const read of ofOne.toSorted((a, b) => a.endMs - b.endMs)) {
      if (!read.found) continue;
      if (newest && newest.endMs < read.startMs && read.found.revision < newest.found!.revision)
        breaches.push(`${read.what}: ${read.found.revision} after ${newest.found!.revision}`);
      if (!newest || read.found.revision > newest.found!.revision) newest = read;
    }
  }
  return breaches;
}

// ----------------------------------------------------------------------------------------------------------------- lists

export function judgeList(list: ListRecord, truth: Truth): string[] {
  const { kind, asked, labelled, revision, pages, items, what, decided } = list;
  const found: string[] = [];
  const isConsistent = kind === 'consistent' || kind === 'initial-events';
  if (isConsistent && revision < decided)
    found.push(
      `${what}: it is of revision ${revision}, where ${decided} was decided before it was asked for`,
    );
  if (kind === 'exact' && revision !== asked) found.push(`${what}: it is of revision ${revision}`);
  if (kind === 'not-older' && revision < asked!) found.push(`${what}: it is of revision ${revision}`);
  if (pages.some((one) => one !== revision))
    found.push(`${what}: its pages are of revisions ${pages.join()}`);
  const state = truth.stateAt(revision).filter((object) => !labelled || object.labelled);
  const difference = differenceOf(items, state);
  if (difference !== undefined) found.push(`${what}: at revision ${revision} ${difference}`);
  return found;
}

function differenceOf(items: readonly SeenObject[], state: readonly SeenObject[]): string | undefined {
  const text = (objects: readonly SeenObject[]): string =>
    objects.map(({ key, revision, value }) => `${key.split('/').at(-1)}@${revision}=${value}`).join(' ');
  return text(items) === text(state)
    ? undefined
    : `it has [${text(items)}], and the state was [${text(state)}]`;
}
