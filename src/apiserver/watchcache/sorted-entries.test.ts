import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { serializedHead } from '#machinery/serialize.ts';
import { CacheEntry } from './entry.ts';
import { jsonForm, protobufForm } from './slab-forms.ts';
import { SortedEntries } from './sorted-entries.ts';

function createEntry(key: string, revision: number): CacheEntry {
  return new CacheEntry(key, {
    revision,
    value: Buffer.from(
      JSON.stringify({ kind: 'K', apiVersion: 'v1', metadata: { name: key.split('/').at(-1) } }),
    ),
  });
}

const HEAD = serializedHead({ kind: 'K', apiVersion: 'v1' });

test('entries behave as a sorted map, and pieces are their bytes joined', () => {
  const key = fc
    .tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 400 }))
    .map(([namespace, number]) => `/r/${namespace}/${String(number).padStart(4, '0')}`);
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ op: fc.constant('set' as const), key }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constant('delete' as const), key }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('pieces' as const), key }) },
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 900, minLength: 300 }),
      fc.constantFrom(HEAD, undefined),
      (steps, head) => {
        const entries = new SortedEntries();
        const form = { ...jsonForm(head), turnBytes: 1000 };
        // Any bytes will do: the key's length and the key.
        const encode = (entry: CacheEntry): Buffer =>
          Buffer.from([entry.key.length, ...Buffer.from(entry.key)]);
        const binary = protobufForm(encode);
        const model = new Map<string, CacheEntry>();
        let revision = 0;
        const check = (prefix: string): void => {
          const expected = Array.from(model.values())
            .filter((entry) => entry.key.startsWith(prefix))
            .toSorted((left, right) => (left.key < right.key ? -1 : 1));
          assert.deepEqual(
            entries.list(prefix).map(({ key: found }) => found),
            expected.map(({ key: found }) => found),
          );
          assert.equal(entries.count(prefix), expected.length);
          // As a long list does it, some at a time.
          while (entries.prepare(prefix, form));
          assert.equal(entries.prepare(prefix, { ...form, turnBytes: 0 }), false);
          const objects = JSON.parse(
            `[${entries
              .slabs(prefix, form)
              .map(({ bytes }) => bytes.toString())
              .join()}]`,
          ) as { metadata: { resourceVersion: string } }[];
          assert.deepEqual(
            objects.map(({ metadata }) => metadata.resourceVersion),
            expected.map((entry) => String(entry.revision)),
          );
          // Laid out without their head, entries still know it.
          assert.ok(objects.every((object) => head === undefined || !('kind' in object)));
          for (const entry of entries.list(prefix))
            assert.equal((JSON.parse(entry.bytes.toString()) as { kind: string }).kind, 'K');
          const middle = expected[Math.floor(expected.length / 3)];
          if (!middle) return;
          const page = entries.list(prefix, { startKey: middle.key, limit: 150 });
          assert.deepEqual(
            JSON.parse(
              `[${entries
                .slabs(prefix, form, { startKey: middle.key, limit: 150 })
                .map(({ bytes }) => bytes.toString())
                .join()}]`,
            ),
            page.map((entry) => {
              const { kind, apiVersion, ...rest } = JSON.parse(entry.bytes.toString()) as {
                kind: string;
                apiVersion: string;
              };
              return head ? rest : { kind, apiVersion, ...rest };
            }),
          );
          assert.deepEqual(
            Buffer.concat(
              entries.slabs(prefix, binary, { startKey: middle.key, limit: 150 }).map(({ bytes }) => bytes),
            ),
            Buffer.concat(page.map(encode)),
          );
          assert.equal(
            entries.count(prefix, { startKey: middle.key }),
            expected.length - Math.floor(expected.length / 3),
          );
        };
        for (const { op, key: at } of steps) {
          revision++;
          if (op === 'set') {
            const entry = createEntry(at, revision);
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
        if (from)
          assert.deepEqual(
            entries.list('/r/', { startKey: from.key, limit: 3 }),
            all.slice(Math.floor(all.length / 2), Math.floor(all.length / 2) + 3),
          );
      },
    ),
    { numRuns: 30 },
  );
});

test('an entry of another revision carries that revision', () => {
  const entry = createEntry('/r/a/x', 7);
  assert.equal(
    (JSON.parse(entry.bytes.toString()) as { metadata: { resourceVersion: string } }).metadata
      .resourceVersion,
    '7',
  );
  const moved = entry.at(9);
  assert.deepEqual(JSON.parse(moved.bytes.toString()), {
    kind: 'K',
    apiVersion: 'v1',
    metadata: { resourceVersion: '9', name: 'x' },
  });
});

test('loaded anew, what was deleted meanwhile is gone from look-ups and counts too', () => {
  const entries = new SortedEntries();
  const entry = (name: string): CacheEntry =>
    new CacheEntry(`/registry/things/${name}`, { revision: 1, value: Buffer.from('{}') });
  entries.load([entry('a'), entry('b')]);
  entries.load([entry('b')]);
  assert.equal(entries.get('/registry/things/a'), undefined);
  assert.equal(entries.size, 1);
});
