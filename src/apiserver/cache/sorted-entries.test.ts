import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CacheEntry } from './entry.ts';
import { SortedEntries } from './sorted-entries.ts';

function entryOf(key: string, revision: number): CacheEntry {
  return new CacheEntry(key, { revision, value: Buffer.from(JSON.stringify({ kind: 'K', apiVersion: 'v1', metadata: { name: key.split('/').at(-1) } })) });
}

test('entries behave as a sorted map, and pieces are their bytes joined', () => {
  const key = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 400 })).map(([namespace, number]) => `/r/${namespace}/${String(number).padStart(4, '0')}`);
  const step = fc.oneof({ weight: 4, arbitrary: fc.record({ op: fc.constant('set' as const), key }) }, { weight: 2, arbitrary: fc.record({ op: fc.constant('delete' as const), key }) }, { weight: 1, arbitrary: fc.record({ op: fc.constant('pieces' as const), key }) });
  fc.assert(fc.property(fc.array(step, { maxLength: 900, minLength: 300 }), (steps) => {
    const entries = new SortedEntries();
    const model = new Map<string, CacheEntry>();
    let revision = 0;
    const check = (prefix: string): void => {
      const expected = Array.from(model.values()).filter((entry) => entry.key.startsWith(prefix)).toSorted((left, right) => (left.key < right.key ? -1 : 1));
      assert.deepEqual(entries.list(prefix).map(({ key: found }) => found), expected.map(({ key: found }) => found));
      assert.equal(entries.count(prefix), expected.length);
      // As a long list does it, some at a time.
      while (entries.prepare(prefix, 1000));
      assert.equal(entries.prepare(prefix, 0), false);
      const objects = JSON.parse(`[${Buffer.concat(entries.pieces(prefix)).toString()}]`) as { metadata: { resourceVersion: string } }[];
      assert.deepEqual(objects.map(({ metadata }) => metadata.resourceVersion), expected.map((entry) => String(entry.revision)));
    };
    for (const { op, key: at } of steps) {
      revision++;
      if (op === 'set') {
        const entry = entryOf(at, revision);
        assert.equal(entries.set(entry), model.get(at));
        model.set(at, entry);
      } else if (op === 'delete') {
        assert.equal(entries.delete(at), model.get(at));
        model.delete(at);
      } else check('/r/b/');
    }
    for (const prefix of ['', '/r/', '/r/a/', '/r/b/', '/r/c/', '/r/d/']) check(prefix);
    const all = entries.list('/r/');
    const from = all[Math.floor(all.length / 2)];
    if (from) assert.deepEqual(entries.list('/r/', { startKey: from.key, limit: 3 }), all.slice(Math.floor(all.length / 2), Math.floor(all.length / 2) + 3));
  }), { numRuns: 30 });
});

test('an entry of another revision carries that revision', () => {
  const entry = entryOf('/r/a/x', 7);
  assert.equal((JSON.parse(entry.bytes.toString()) as { metadata: { resourceVersion: string } }).metadata.resourceVersion, '7');
  const moved = entry.at(9);
  assert.deepEqual(JSON.parse(moved.bytes.toString()), { kind: 'K', apiVersion: 'v1', metadata: { resourceVersion: '9', name: 'x' } });
});
