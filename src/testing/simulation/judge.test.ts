/** Histories of writes, reads and lists that have a fault, made by hand: each is found, and sound ones are not accused. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  History,
  PREFIX,
  Truth,
  type ListRecord,
  type ReadRecord,
  type SeenObject,
  type WriteRecord,
} from './history.ts';
import { judge, judgeList, judgeRead, judgeServersGoForward, judgeWrites } from './judge.ts';

const KEY = `${PREFIX}a`;
function object(revision: number, labelled = true): SeenObject {
  return { key: KEY, revision, value: `v${revision}`, labelled };
}
const [v2, v5] = [object(2), object(5, false)];
/** Created at 2, replaced at 5, deleted at 8. */
const truth = new Truth(
  [
    { key: KEY, revision: 2, current: v2, previous: undefined },
    { key: KEY, revision: 5, current: v5, previous: v2 },
    { key: KEY, revision: 8, current: undefined, previous: v5 },
  ],
  9,
);

const timed = { what: 'it', startMs: 0, endMs: 1, decided: 1 };
function write(more: Partial<WriteRecord>): WriteRecord {
  const outcome = { kind: 'done', revision: 5 } as const;
  return { ...timed, key: KEY, verb: 'update', value: 'v5', expected: 2, outcome, ...more };
}
function read(more: Partial<ReadRecord>): ReadRecord {
  return { ...timed, key: KEY, server: 'api1', asked: undefined, found: undefined, ...more };
}
function list(more: Partial<ListRecord>): ListRecord {
  const base = { ...timed, server: 'api1', kind: 'consistent', asked: undefined, labelled: false } as const;
  return { ...base, revision: 5, pages: [5], items: [v5], ...more };
}

describe('writes', () => {
  const sound = [
    write({}),
    write({ outcome: { kind: 'unknown' } }),
    write({ value: 'never', outcome: { kind: 'conflict' } }),
    write({ value: 'never', outcome: { kind: 'unknown' } }),
  ];
  const wrong: Readonly<Record<string, WriteRecord>> = {
    'acknowledged and lost': write({ value: 'v6', outcome: { kind: 'done', revision: 6 } }),
    'acknowledged at another revision': write({ outcome: { kind: 'done', revision: 6 } }),
    'refused and done all the same': write({ outcome: { kind: 'conflict' } }),
    'its precondition did not hold': write({ expected: 4 }),
    'a patch that undoes what another wrote': write({ verb: 'patch', expected: undefined }),
    'a create of what existed': write({ verb: 'create', expected: undefined }),
  };
  test('that are sound', () => assert.deepEqual(judgeWrites(sound, truth), []));
  for (const [name, one] of Object.entries(wrong))
    test(name, () => assert.notDeepEqual(judgeWrites([one], truth), []));
  test('sent twice without being asked to', () => {
    const twice = new Truth(
      [...truth.changes, { key: KEY, revision: 9, current: v5, previous: undefined }],
      9,
    );
    assert.notDeepEqual(judgeWrites([write({})], twice), []);
  });
});

describe('reads', () => {
  const sound = [
    read({ asked: 0, found: v2 }),
    read({ asked: 4, found: v2 }),
    read({ asked: 5, found: v5 }),
    read({ asked: 5 }),
    read({ asked: 0 }),
  ];
  const wrong: Readonly<Record<string, ReadRecord>> = {
    'of what never was': read({ found: object(3) }),
    'older than asked for': read({ asked: 5, found: v2 }),
    'not found, after it was created for good': read({ asked: 3 }),
  };
  test('that are sound', () =>
    assert.deepEqual(
      sound.flatMap((one) => judgeRead(one, truth)),
      [],
    ));
  for (const [name, one] of Object.entries(wrong)) {
    const forGood = new Truth(truth.changes.slice(0, 2), 9);
    test(name, () => assert.notDeepEqual(judgeRead(one, forGood), []));
  }
  test('at one server that go back in time, though any revision would do', () => {
    const [first, second] = [
      read({ asked: 0, found: v5 }),
      read({ asked: 0, found: v2, startMs: 2, endMs: 3 }),
    ];
    assert.equal(judgeServersGoForward([first, second]).length, 1);
    assert.deepEqual(judgeServersGoForward([first, { ...second, server: 'api2' }]), []);
  });
  test('that are stale: not linearizable', () => {
    const history = new History();
    history.writes.push(
      write({ verb: 'create', value: 'v2', expected: undefined, outcome: { kind: 'done', revision: 2 } }),
    );
    history.writes.push(write({ startMs: 2, endMs: 3 }));
    history.reads.push(read({ found: v2, startMs: 4, endMs: 5 }));
    assert.match(judge(history, truth).join(), /not linearizable/);
    history.reads[0] = read({ found: v5, startMs: 4, endMs: 5 });
    assert.deepEqual(judge(history, truth), []);
  });
});

describe('lists', () => {
  const sound = [
    list({}),
    list({ revision: 9, pages: [9, 9], items: [] }),
    list({ kind: 'any', asked: 0, revision: 3, pages: [3], items: [v2], decided: 9 }),
    list({ kind: 'exact', asked: 4, revision: 4, pages: [4], items: [v2] }),
    list({ labelled: true, items: [] }),
  ];
  const wrong: Readonly<Record<string, ListRecord>> = {
    'a consistent list that is stale': list({ decided: 6 }),
    'initial events that are stale': list({ kind: 'initial-events', decided: 6 }),
    'a revision and not its state': list({ items: [v2] }),
    'an object too few': list({ items: [] }),
    'an object twice': list({ items: [v5, v5] }),
    'pages of two revisions': list({ pages: [5, 6] }),
    'another revision than exactly that one': list({ kind: 'exact', asked: 4 }),
    'older than asked for': list({ kind: 'not-older', asked: 6 }),
    'what the selector does not select': list({ labelled: true }),
  };
  test('that are sound', () =>
    assert.deepEqual(
      sound.flatMap((one) => judgeList(one, truth)),
      [],
    ));
  for (const [name, one] of Object.entries(wrong))
    test(name, () => assert.notDeepEqual(judgeList(one, truth), []));
});

test('a 410 where history was not compacted', () => {
  const history = new History();
  const base = { name: 's', server: 'api1', prefix: PREFIX, labelled: false, after: 4, entries: [] };
  history.streams.push({ ...base, expired: { floor: 5 } });
  assert.deepEqual(judge(history, truth), []);
  history.streams.push({ ...base, expired: { floor: 4 } });
  assert.match(judge(history, truth).join(), /410/);
});

test('two deletes at the same time may share one deletion, one after the other may not', () => {
  const created = write({
    verb: 'create',
    value: 'v2',
    expected: undefined,
    outcome: { kind: 'done', revision: 2 },
  });
  const deleted = write({ verb: 'delete', value: undefined, expected: undefined, startMs: 4, endMs: 9 });
  const history = new History();
  history.writes.push(created, write({ startMs: 2, endMs: 3 }), deleted, { ...deleted, startMs: 5 });
  assert.deepEqual(judge(history, truth), []);
  history.writes[3] = { ...deleted, startMs: 10, endMs: 11 };
  assert.match(judge(history, truth).join(), /not linearizable/);
});
