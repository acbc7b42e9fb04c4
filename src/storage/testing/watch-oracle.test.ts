import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  judgeWatch,
  judgeWrites,
  Truth,
  type Delivery,
  type SeenEvent,
  type WatchHistory,
} from './watch-oracle.ts';

const put = (revision: number, key: string, before?: number): SeenEvent => ({
  type: 'put',
  key,
  revision,
  value: `v${revision}`,
  createRevision: before === undefined ? revision : 1,
  ...(before !== undefined && { previous: { revision: before, value: `v${before}` } }),
});
const [one, two, three, four] = [put(1, '/a/x'), put(2, '/a/y'), put(3, '/a/x', 1), put(4, '/b/z')];
/** One transaction with both deletes. */
const five: SeenEvent[] = [
  { type: 'delete', key: '/a/x', revision: 5, previous: { revision: 3, value: 'v3' } },
  { type: 'delete', key: '/a/y', revision: 5, previous: { revision: 2, value: 'v2' } },
];
const truth = new Truth([one, two, three, four, ...five]);

function judged(deliveries: readonly Delivery[], more: Partial<WatchHistory> = {}): string {
  return judgeWatch({ name: 'w', prefix: '/a/', afterRevision: 0, deliveries, ...more }, truth).join('\n');
}

test('a correct watch', () => {
  assert.equal(
    judged([{ events: [one, two] }, { reached: 2 }, { events: [three] }, { reached: 4 }, { events: five }]),
    '',
  );
  assert.equal(judged([{ events: [three] }], { afterRevision: 2 }), '');
  assert.equal(judged([{ reached: 4 }], { prefix: '/c/' }), '');
});

test('reports each violated property by name', () => {
  const broken: Record<string, string> = {
    ordered: judged([{ events: [two, one] }]),
    unique: judged([{ events: [one] }, { events: [one] }]),
    atomic: judged([{ events: [one, two, three] }, { events: [five[0]!] }, { events: [five[1]!] }]),
    reliable: judged([{ events: [one, three] }]),
    resumable: judged([{ events: [three] }], { afterRevision: 1 }),
    bookmarkable: judged([{ reached: 2 }, { events: [one, two] }]),
    filter: judged([{ events: [one, two, three, four] }]),
    previous: judged([{ events: [one, two, { ...three, previous: undefined }] }]),
    created: judged([{ events: [one, two, { ...three, createRevision: 3 }] }]),
  };
  for (const [property, found] of Object.entries(broken))
    assert.match(found, new RegExp(`^w: ${property}: `, 'm'));
  assert.match(judged([{ events: [one] }], { upTo: 3 }), /reliable: 2 \/a\/y is missing/);
  assert.match(judged([{ events: [{ ...one, key: '/a/none' }] }]), /never happened/);
  assert.match(judged([{ events: [one, two, { ...three, value: 'x' }] }]), /another value/);
});

test('writes: lost, duplicated, rejected and acknowledged ones, and their preconditions', () => {
  const key = '/a/x';
  const judge = (write: object): string =>
    judgeWrites(
      [{ key, type: 'put', value: 'v3', expected: 1, outcome: { revision: 3 }, ...write }],
      truth,
    ).join();
  assert.equal(judge({}), '');
  assert.equal(judge({ outcome: 'unknown' }), '');
  assert.equal(judge({ outcome: 'unknown', value: 'none' }), '');
  assert.match(judge({ outcome: { revision: 2 } }), /is lost/);
  assert.match(judge({ outcome: 'refused' }), /was refused and happened/);
  assert.match(judge({ expected: 2 }), /expected 2 and replaced 1/);
  assert.equal(judge({ type: 'delete', value: undefined, expected: 3, outcome: { revision: 5 } }), '');
  const doubled = new Truth([one, { ...one, revision: 6, previous: { revision: 1, value: 'v1' } }]);
  assert.match(
    judgeWrites([{ key, type: 'put', value: 'v1', outcome: 'unknown' }], doubled).join(),
    /happened 2 times/,
  );
});
