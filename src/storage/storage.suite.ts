/**
 * Tests that every Store must pass. A driver's test calls `storageSuite` with a function that opens an empty store; a durable driver adds its own tests
 * of durability. Random histories print their seed; `STORAGE_SEED=N` reproduces one.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { MAX_KEY_BYTES } from './keys.ts';
import { type LocalStoreOptions, MAX_VALUE_BYTES } from './local-store.ts';
import {
  type Revision,
  type Store,
  type StoredValue,
  StoreError,
  type StoreErrorCode,
  type StoreEvent,
} from './store.ts';
import { runRandomHistory } from './storage-model.ts';
import { readTruth, RecordedWriter, recordWatch, type RecordedWatch } from './testing/recorder.ts';
import { judgeWatch, judgeWrites } from './testing/watch-oracle.ts';

interface Opened {
  readonly store: Store;
  /** Closes the store and removes its files. */
  dispose(): Promise<void>;
}

/** Features that a driver lacks, each with the reason, which is printed with the skipped tests. */
export interface StoreGaps {
  /** Concurrent writes to different keys may get revisions in any order, and a list may include writes made after it was requested. */
  readonly unorderedKeys?: string;
  /** Keys expire by the server's own clock, and in whole seconds. */
  readonly serverClock?: string;
  /** History is compacted by another rule than CompactionPolicy. */
  readonly ownCompaction?: string;
  /** The driver writes for itself now and then: revisions have holes. */
  readonly ownWrites?: string;
  /** stats().keys is not updated with each write. */
  readonly uncountedKeys?: string;
}

type OpenStore = (options?: Pick<LocalStoreOptions, 'clock' | 'autoCompact'>) => Promise<Opened>;

const bytes = (text: string): Buffer => Buffer.from(text);

export function failsWith(code: StoreErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StoreError, String(error));
    assert.equal(error.code, code);
    return true;
  };
}

/** Resolves once `condition` is true. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 2));
}

export function storageSuite(name: string, open: OpenStore, gaps: StoreGaps = {}): void {
  const withStore =
    (options: Parameters<OpenStore>[0], body: (store: Store) => Promise<void>) => async (): Promise<void> => {
      const { store, dispose } = await open(options);
      try {
        await body(store);
      } finally {
        await dispose();
      }
    };
  describe(`${name} store`, () => {
    describe('put and get', () => putAndGet(withStore));
    describe('delete', () => deletes(withStore, gaps));
    describe('list', () => lists(withStore, gaps));
    describe('watch', () => {
      watches(withStore);
      properties(withStore);
    });
    describe('history and compaction', () => compaction(withStore, gaps));
    describe('expiry', () => {
      expiry(withStore, gaps);
      ttl(withStore);
    });
    describe('bounds and closing', () => bounds(withStore));
    test('random histories agree with an obvious model', { skip: gaps.ownWrites ?? false }, async () => {
      const given = process.env['STORAGE_SEED'];
      const seeds = given
        ? [Number(given)]
        : Array.from({ length: gaps.unorderedKeys ? 2 : 8 }, () => Math.floor(Math.random() * 2 ** 31));
      for (const seed of seeds) {
        const { store, dispose } = await open({ autoCompact: false });
        try {
          await runRandomHistory(store, { seed, gaps });
        } catch (error) {
          throw new Error(`random history failed; run it again with STORAGE_SEED=${seed}`, { cause: error });
        } finally {
          await dispose();
        }
      }
    });
  });
}

type WithStore = (
  options: Parameters<OpenStore>[0],
  body: (store: Store) => Promise<void>,
) => () => Promise<void>;

function putAndGet(withStore: WithStore): void {
  test(
    'the first write has revision 1, and each write the next',
    withStore({}, async (store) => {
      assert.equal(store.revision, 0);
      assert.deepEqual(await store.put('/a', bytes('1')), {
        key: '/a',
        value: bytes('1'),
        modRevision: 1,
        createRevision: 1,
      });
      assert.deepEqual(await store.put('/b', bytes('2')), {
        key: '/b',
        value: bytes('2'),
        modRevision: 2,
        createRevision: 2,
      });
      assert.deepEqual(await store.put('/a', bytes('3')), {
        key: '/a',
        value: bytes('3'),
        modRevision: 3,
        createRevision: 1,
      });
      assert.equal(store.revision, 3);
      assert.deepEqual(await store.get('/a'), {
        key: '/a',
        value: bytes('3'),
        modRevision: 3,
        createRevision: 1,
      });
      assert.equal(await store.get('/none'), undefined);
    }),
  );

  test(
    'reads at an old revision',
    withStore({}, async (store) => {
      await store.put('/a', bytes('1'));
      await store.put('/a', bytes('2'));
      await store.delete('/a');
      await store.put('/a', bytes('4'));
      const at = async (revision: Revision): Promise<string | undefined> =>
        (await store.get('/a', { revision }))?.value.toString();
      assert.deepEqual(await Promise.all([0, 1, 2, 3, 4].map(at)), [undefined, '1', '2', undefined, '4']);
      assert.equal((await store.get('/a'))?.createRevision, 4, 'a deleted key is created again');
      await assert.rejects(store.get('/a', { revision: 5 }), failsWith('future'));
    }),
  );

  test(
    'preconditions',
    withStore({}, async (store) => {
      await store.put('/a', bytes('1'), { expected: 0 });
      await assert.rejects(store.put('/a', bytes('2'), { expected: 0 }), (error: StoreError) => {
        failsWith('conflict')(error);
        assert.deepEqual(error.current, { key: '/a', value: bytes('1'), modRevision: 1, createRevision: 1 });
        return true;
      });
      await assert.rejects(store.put('/none', bytes('2'), { expected: 1 }), (error: StoreError) => {
        failsWith('conflict')(error);
        assert.equal(error.current, undefined);
        return true;
      });
      assert.equal((await store.put('/a', bytes('2'), { expected: 1 })).modRevision, 2);
      assert.equal(store.revision, 2, 'a refused write takes no revision');
    }),
  );

  test(
    'writes of one tick are checked in order, each against the one before',
    withStore({}, async (store) => {
      const results = await Promise.allSettled([
        store.put('/a', bytes('1'), { expected: 0 }),
        store.put('/a', bytes('2'), { expected: 0 }),
        store.put('/a', bytes('3'), { expected: 1 }),
        store.delete('/a', { expected: 2 }),
        store.delete('/a'),
        store.put('/a', bytes('4'), { expected: 0 }),
      ]);
      assert.deepEqual(
        results.map((result) => result.status === 'fulfilled' || (result.reason as StoreError).code),
        [true, 'conflict', true, true, 'not-found', true],
      );
      assert.equal(((results[1] as PromiseRejectedResult).reason as StoreError).current?.modRevision, 1);
      assert.equal(store.revision, 4);
      assert.deepEqual(await store.get('/a'), {
        key: '/a',
        value: bytes('4'),
        modRevision: 4,
        createRevision: 4,
      });
      assert.equal((await store.get('/a', { revision: 2 }))?.value.toString(), '3');
    }),
  );

  test(
    'many writers at once: no write is lost, no revision is given twice',
    withStore({}, async (store) => {
      const increment = async (): Promise<void> => {
        for (;;) {
          const current = await store.get('/counter');
          const next = Number(current?.value ?? 0) + 1;
          try {
            await store.put('/counter', bytes(String(next)), { expected: current?.modRevision ?? 0 });
            return;
          } catch (error) {
            failsWith('conflict')(error);
          }
        }
      };
      await Promise.all(
        Array.from({ length: 16 }, async () => {
          for (let i = 0; i < 8; i++) await increment();
        }),
      );
      assert.equal((await store.get('/counter'))?.value.toString(), '128');
      assert.equal(store.revision, 128);
    }),
  );

  test(
    'values of any size and content',
    withStore({}, async (store) => {
      for (const size of [0, 1, 2000, 4096, 100_000, MAX_VALUE_BYTES]) {
        const value = Buffer.alloc(size, 'value\0');
        await store.put('/v', value);
        assert.ok((await store.get('/v'))!.value.equals(value), `${size} bytes`);
      }
      await assert.rejects(store.put('/v', Buffer.alloc(MAX_VALUE_BYTES + 1)), failsWith('too-large'));
    }),
  );

  test(
    'an empty value is a value',
    withStore({}, async (store) => {
      await store.put('/empty', Buffer.alloc(0));
      assert.equal((await store.get('/empty'))?.value.length, 0);
      assert.equal((await store.list('/')).items.length, 1);
      assert.equal((await store.delete('/empty')).previous.value.length, 0);
    }),
  );
}

function deletes(withStore: WithStore, gaps: StoreGaps): void {
  test(
    'returns what was there and the revision',
    withStore({}, async (store) => {
      const stored = await store.put('/a', bytes('1'));
      assert.deepEqual(await store.delete('/a'), { revision: 2, previous: stored });
      assert.equal(await store.get('/a'), undefined);
      if (!gaps.uncountedKeys) assert.equal(store.stats().keys, 0);
    }),
  );

  test(
    'of what does not exist, or has changed',
    withStore({}, async (store) => {
      await assert.rejects(store.delete('/a'), failsWith('not-found'));
      await assert.rejects(store.delete('/a', { expected: 3 }), failsWith('not-found'));
      await store.put('/a', bytes('1'));
      await store.put('/a', bytes('2'));
      await assert.rejects(store.delete('/a', { expected: 1 }), failsWith('conflict'));
      assert.equal((await store.delete('/a', { expected: 2 })).revision, 3);
      await assert.rejects(store.delete('/a'), failsWith('not-found'));
    }),
  );
}

function lists(withStore: WithStore, gaps: StoreGaps): void {
  const keysOf = (items: readonly StoredValue[]): string[] => items.map(({ key }) => key);

  test(
    'a prefix in the order of bytes',
    withStore({}, async (store) => {
      const keys = ['/a/1', '/a/10', '/a/2', '/a/é', '/a/\u{ffee}', '/a/\u{1f600}', '/ab', '/b'];
      for (const key of [...keys].reverse()) await store.put(key, bytes(key));
      assert.deepEqual(keysOf((await store.list('/a/')).items), keys.slice(0, 6));
      assert.deepEqual(keysOf((await store.list('')).items), keys);
      assert.deepEqual(keysOf((await store.list('/c')).items), []);
    }),
  );

  test(
    'in pages, at one revision',
    withStore({}, async (store) => {
      for (let i = 0; i < 25; i++) await store.put(`/p/${String(i).padStart(2, '0')}`, bytes(String(i)));
      const first = await store.list('/p/', { limit: 10 });
      assert.equal(first.more, true);
      await store.delete('/p/15');
      await store.put('/p/99', bytes('new'));
      const rest = await store.list('/p/', {
        revision: first.revision,
        startKey: `${first.items.at(-1)!.key}\0`,
      });
      assert.equal(rest.more, false);
      assert.equal(rest.revision, first.revision);
      assert.deepEqual(
        [...first.items, ...rest.items].map(({ value }) => Number(value)),
        Array.from({ length: 25 }, (_, i) => i),
      );
      assert.equal((await store.list('/p/', { limit: 25 })).more, false);
      assert.equal((await store.list('/p/', { limit: 24 })).more, true);
      await assert.rejects(store.list('/p/', { startKey: '/q' }), TypeError);
    }),
  );

  test(
    'in pages of so many bytes: each ends with the item that reaches them',
    withStore({}, async (store) => {
      // Large beside what encryption adds to each.
      const sizes = [3, 3, 10, 1, 1, 1, 20, 4, ...Array.from({ length: 40 }, () => 2)];
      const maxBytes = 6_000;
      for (const [i, size] of sizes.entries())
        await store.put(`/p/${String(i).padStart(2, '0')}`, Buffer.alloc(size * 1_000));
      const pages: number[][] = [];
      for (let startKey = '/p/', more = true; more;) {
        const page = await store.list('/p/', { maxBytes, limit: 25, startKey });
        pages.push(page.items.map(({ value }) => value.length / 1_000));
        startKey = `${page.items.at(-1)!.key}\0`;
        more = page.more;
      }
      assert.deepEqual(pages.slice(0, 4), [[3, 3], [10], [1, 1, 1, 20], [4, 2]]);
      assert.deepEqual(pages.flat(), sizes);
      assert.equal((await store.list('/p/', { maxBytes, limit: 1 })).items.length, 1);
    }),
  );

  test(
    'a long list is consistent though others write meanwhile',
    withStore({}, async (store) => {
      const count = 3000;
      await Promise.all(Array.from({ length: count }, (_, i) => store.put(`/l/${i}`, bytes('old'))));
      const listing = store.list('/l/');
      const writes = Promise.all(
        Array.from({ length: count }, (_, i) =>
          i % 2 ? store.put(`/l/${i}`, bytes('new')) : store.delete(`/l/${i}`),
        ),
      );
      const { items, revision } = await listing;
      await writes;
      if (gaps.unorderedKeys) {
        assert.deepEqual(items, (await store.list('/l/', { revision })).items);
        return;
      }
      assert.equal(revision, count);
      assert.equal(items.length, count);
      assert.ok(items.every(({ value, modRevision }) => value.toString() === 'old' && modRevision <= count));
    }),
  );
}

function properties(withStore: WithStore): void {
  const WRITES = 120;
  test(
    'all nine properties hold for watches of every kind under concurrent writers (watch-oracle.ts)',
    withStore({ autoCompact: false }, async (store) => {
      const prefixes = ['/w/', '/w/shared-1', '/w/own-0', '/none/'];
      const watches: RecordedWatch[] = [];
      const watchAll = (when: string, afterRevision: Revision): void => {
        for (const prefix of prefixes)
          watches.push(recordWatch(store, { name: `${prefix} ${when}`, prefix, afterRevision }));
      };
      watchAll('from the start', 0);
      const writers = [0, 1, 2].map(() => new RecordedWriter(store));
      await Promise.all(
        writers.map(async (writer, number) => {
          for (let i = 0; i < WRITES; i++) {
            const value = `${number}-${i}`;
            const key = i % 3 === 0 ? `/w/own-${number}` : `/w/shared-${i % 4}`;
            const expected = (await store.get(key))?.modRevision ?? 0;
            if (expected > 0 && i % 7 === 6) await writer.delete(key, { expected });
            else await writer.put(key, value, i % 5 === 4 ? {} : { expected });
            if (number === 0 && i === WRITES / 2) watchAll('from now', store.revision);
            if (number === 0 && i === WRITES - 10) watchAll('from the past', 20);
          }
        }),
      );
      const upTo = store.revision;
      const truth = await readTruth(store, { prefix: '/w/', after: 0, upTo });
      const newest = (prefix: string): Revision =>
        truth.events.findLast(({ key }) => key.startsWith(prefix))?.revision ?? 0;
      await until(() => watches.every((watch) => watch.reached >= newest(watch.history().prefix)));
      assert.deepEqual(
        [
          ...judgeWrites(
            writers.flatMap((writer) => writer.writes),
            truth,
          ),
          ...watches.flatMap((watch) => judgeWatch(watch.history(newest(watch.history().prefix)), truth)),
        ],
        [],
      );
      for (const watch of watches) watch.stop();
    }),
  );
}

function watches(withStore: WithStore): void {
  const short = (events: readonly StoreEvent[]): string[] =>
    events.map(({ type, key, revision }) => `${type} ${key} ${revision}`);

  test(
    'events come before the write is acknowledged, with both values',
    withStore({}, async (store) => {
      const seen: StoreEvent[] = [];
      const watch = store.watch({
        prefix: '/a',
        afterRevision: 0,
        onEvents: (events) => seen.push(...events),
      });
      let seenWhenAcknowledged = 0;
      await store.put('/a', bytes('1')).then(() => {
        seenWhenAcknowledged = seen.length;
      });
      assert.equal(seenWhenAcknowledged, 1);
      await store.put('/b', bytes('x'));
      await store.put('/a', bytes('2'));
      await store.delete('/a');
      const one = { key: '/a', value: bytes('1'), modRevision: 1, createRevision: 1 };
      const two = { key: '/a', value: bytes('2'), modRevision: 3, createRevision: 1 };
      assert.deepEqual(seen, [
        { type: 'put', key: '/a', revision: 1, value: one },
        { type: 'put', key: '/a', revision: 3, value: two, previous: one },
        { type: 'delete', key: '/a', revision: 4, previous: two },
      ]);
      watch.stop();
      await store.put('/a', bytes('3'));
      assert.equal(seen.length, 3);
    }),
  );

  test(
    'from an old revision: history, then live, without gap or duplicate',
    withStore({}, async (store) => {
      const total = 2000;
      const seen: StoreEvent[] = [];
      // One after the other: writes at the same time may reach the store in any order.
      for (let i = 0; i < 7; i++) await store.put(`/k/${i}`, bytes(String(i)));
      await Promise.all(
        Array.from({ length: total / 2 - 7 }, (_, i) => store.put(`/k/${i % 7}`, bytes(String(i)))),
      );
      store.watch({ prefix: '/k/', afterRevision: 10, onEvents: (events) => seen.push(...events) });
      for (let i = 0; i < total / 2; i += 10)
        await Promise.all(
          Array.from({ length: 10 }, (_, j) => store.put(`/k/${j % 7}`, bytes(String(i + j)))),
        );
      await until(() => seen.at(-1)?.revision === total);
      assert.deepEqual(
        seen.map(({ revision }) => revision),
        Array.from({ length: total - 10 }, (_, i) => i + 11),
      );
      assert.ok(
        seen.every(
          ({ previous, key, revision }) =>
            revision <= 7 || (previous?.key === key && previous.modRevision < revision),
        ),
      );
    }),
  );

  test(
    'one that begins while a commit is in flight sees it',
    withStore({}, async (store) => {
      const seen: StoreEvent[] = [];
      await store.put('/a', bytes('0'));
      const begun = store.put('/a', bytes('1'));
      for (let i = 0; i < 20; i++) {
        store.watch({ prefix: '/a', afterRevision: 1, onEvents: (events) => seen.push(...events) });
        await (i % 2 ? undefined : new Promise((resolve) => setImmediate(resolve)));
      }
      await begun;
      await until(() => seen.length === 20);
      assert.ok(seen.every(({ revision, previous }) => revision === 2 && previous?.modRevision === 1));
    }),
  );

  test(
    'from a revision to come: only what is newer than it',
    withStore({}, async (store) => {
      const seen: StoreEvent[] = [];
      store.watch({ prefix: '', afterRevision: 2, onEvents: (events) => seen.push(...events) });
      for (let i = 0; i < 4; i++) await store.put(`/${i}`, bytes(''));
      assert.deepEqual(short(seen), ['put /2 3', 'put /3 4']);
    }),
  );

  test(
    'a listener that throws ends its watch, and no other',
    withStore({}, async (store) => {
      const seen: StoreEvent[] = [];
      let ended: Error | undefined;
      const wrong = new Error('listener');
      store.watch({
        prefix: '/',
        afterRevision: 0,
        onEvents: () => {
          throw wrong;
        },
        onClose: (error) => {
          ended = error;
        },
      });
      store.watch({ prefix: '/', afterRevision: 0, onEvents: (events) => seen.push(...events) });
      await store.put('/a', bytes('1'));
      await store.put('/a', bytes('2'));
      assert.equal(ended, wrong);
      assert.deepEqual(short(seen), ['put /a 1', 'put /a 2']);
    }),
  );

  test(
    'a listener may stop watches, its own and others',
    withStore({}, async (store) => {
      let calls = 0;
      const handles: { stop(): void }[] = [];
      const onEvents = (): void => {
        calls++;
        for (const handle of handles) handle.stop();
      };
      for (let i = 0; i < 3; i++)
        handles.push(
          store.watch({
            prefix: '/',
            afterRevision: 0,
            onEvents,
            onClose: () => assert.fail('stopped watches do not end'),
          }),
        );
      await store.put('/a', bytes('1'));
      await store.put('/a', bytes('2'));
      assert.equal(calls, 1);
    }),
  );

  test(
    'a failed write makes no event',
    withStore({}, async (store) => {
      const seen: StoreEvent[] = [];
      store.watch({ prefix: '', afterRevision: 0, onEvents: (events) => seen.push(...events) });
      await Promise.allSettled([
        store.delete('/a'),
        store.put('/a', bytes(''), { expected: 9 }),
        store.put('/b', bytes('')),
      ]);
      assert.deepEqual(short(seen), ['put /b 1']);
    }),
  );
}

function compaction(withStore: WithStore, gaps: StoreGaps): void {
  test(
    'forgets history and keeps what lives',
    withStore({ autoCompact: false }, async (store) => {
      await store.put('/old', bytes('never changed'));
      await store.put('/a', bytes('1'));
      await store.put('/a', bytes('2'));
      await store.put('/gone', bytes('x'));
      await store.delete('/gone');
      await store.put('/a', bytes('3'));
      await store.compact(5);
      assert.equal(store.stats().compactedRevision, 5);
      await assert.rejects(store.get('/a', { revision: 4 }), failsWith('compacted'));
      await assert.rejects(store.list('/', { revision: 4 }), failsWith('compacted'));
      assert.throws(
        () => store.watch({ prefix: '', afterRevision: 4, onEvents: () => {} }),
        failsWith('compacted'),
      );
      const at = async (revision: Revision): Promise<string[]> =>
        (await store.list('/', { revision })).items.map(({ value }) => value.toString());
      assert.deepEqual(await at(5), ['2', 'never changed'], 'the floor itself can be read');
      assert.deepEqual(await at(6), ['3', 'never changed']);
      const seen: StoreEvent[] = [];
      store.watch({ prefix: '', afterRevision: 5, onEvents: (events) => seen.push(...events) });
      await until(() => seen.length === 1);
      assert.equal(seen[0]!.previous?.value.toString(), '2');
      await store.compact(3);
      assert.equal(store.stats().compactedRevision, 5, 'the floor never sinks');
      await assert.rejects(store.compact(7), failsWith('future'));
    }),
  );

  test(
    'up to a delete that was the last write',
    withStore({ autoCompact: false }, async (store) => {
      await store.put('/a', bytes('1'));
      await store.delete('/a');
      await store.compact(2);
      assert.equal(store.revision, 2);
      assert.equal(await store.get('/a'), undefined);
      assert.deepEqual((await store.list('')).items, []);
      const again = await store.put('/a', bytes('2'), { expected: 0 });
      assert.deepEqual([again.modRevision, again.createRevision], [3, 3]);
      assert.deepEqual(await store.get('/a'), again);
      await store.compact(3);
      assert.deepEqual(await store.get('/a'), again);
    }),
  );

  test(
    'by itself, by revisions, while keys are overwritten',
    { skip: gaps.ownCompaction ?? false },
    withStore({ autoCompact: { keepRevisions: 500 } }, async (store) => {
      for (let i = 0; i < 40; i++)
        await Promise.all(Array.from({ length: 100 }, (_, j) => store.put(`/k/${j % 10}`, bytes(`${i}`))));
      const { compactedRevision, revision, keys } = store.stats();
      assert.equal(revision, 4000);
      assert.equal(keys, 10);
      assert.ok(
        compactedRevision >= 3000 && compactedRevision <= 3500,
        `compacted up to ${compactedRevision}`,
      );
      assert.equal((await store.list('/k/', { revision: 3500 })).items.length, 10);
    }),
  );

  test('by itself, by age, also where little is written', { skip: gaps.ownCompaction ?? false }, async () => {
    const clock = new FakeClock();
    await withStore({ clock, autoCompact: { keepMs: 300_000 } }, async (store) => {
      for (let minute = 0; minute < 10; minute++) {
        await store.put('/k', bytes(`${minute}`));
        await clock.advance(60_000);
      }
      await store.put('/k', bytes('last'));
      const { compactedRevision, revision } = store.stats();
      assert.equal(revision, 11);
      assert.ok(compactedRevision >= 4 && compactedRevision <= 5, `compacted up to ${compactedRevision}`);
      await assert.rejects(store.list('/k', { revision: 3 }), failsWith('compacted'));
    })();
  });

  test(
    'by itself, by bytes',
    { skip: gaps.ownCompaction ?? false },
    withStore({ autoCompact: { keepBytes: 1_000_000 } }, async (store) => {
      for (let i = 0; i < 40; i++)
        await Promise.all(Array.from({ length: 50 }, () => store.put('/k', Buffer.alloc(10_000))));
      const kept = store.revision - store.stats().compactedRevision;
      assert.ok(kept >= 90 && kept <= 600, `${kept} revisions kept`);
    }),
  );
}

function ttl(withStore: WithStore): void {
  test(
    'a key tells how long it still lives',
    withStore({}, async (store) => {
      await store.put('/brief', bytes('1'), { ttlSeconds: 600 });
      await store.put('/for-good', bytes('1'));
      const seconds = (await store.ttlSeconds!('/brief'))!;
      assert.ok(seconds > 500 && seconds <= 660, String(seconds));
      assert.equal(await store.ttlSeconds!('/for-good'), undefined);
      assert.equal(await store.ttlSeconds!('/none'), undefined);
    }),
  );
}

function expiry(withStore: WithStore, gaps: StoreGaps): void {
  test(
    'a key with a time to live is deleted by an ordinary event',
    withStore({}, async (store) => {
      const seen: StoreEvent[] = [];
      store.watch({ prefix: '', afterRevision: 0, onEvents: (events) => seen.push(...events) });
      const stored = await store.put('/event', bytes('1'), { ttlSeconds: 0.05 });
      await until(() => seen.length === 2);
      assert.deepEqual(seen[1], { type: 'delete', key: '/event', revision: 2, previous: stored });
      assert.equal(await store.get('/event'), undefined);
    }),
  );

  test('a later write removes or replaces the TTL', { skip: gaps.serverClock ?? false }, async () => {
    const clock = new FakeClock();
    await withStore({ clock }, async (store) => {
      await Promise.all([
        store.put('/kept', bytes('1'), { ttlSeconds: 30 }),
        store.put('/twice', bytes('1'), { ttlSeconds: 30 }),
      ]);
      await Promise.all([
        store.put('/kept', bytes('2')),
        store.put('/twice', bytes('2'), { ttlSeconds: 60 }),
      ]);
      await Promise.all([
        store.put('/same-tick', bytes('1'), { ttlSeconds: 10 }),
        store.put('/same-tick', bytes('2')),
      ]);
      await clock.advance(59_999);
      await store.put('/after', bytes('1'));
      assert.equal((await store.get('/twice'))?.value.toString(), '2');
      await clock.advance(1);
      await until(async () => (await store.get('/twice')) === undefined);
      assert.equal((await store.get('/kept'))?.value.toString(), '2');
      assert.equal((await store.get('/same-tick'))?.value.toString(), '2');
      assert.equal(store.revision, 8, 'only /twice expired, and once');
    })();
  });

  test('thousands expire in their order', { skip: gaps.serverClock ?? false }, async () => {
    const clock = new FakeClock();
    await withStore({ clock, autoCompact: false }, async (store) => {
      await Promise.all(
        Array.from({ length: 1000 }, (_, i) => store.put(`/e/${i}`, bytes(''), { ttlSeconds: 1000 - i })),
      );
      await clock.advance(500_000);
      await until(() => store.stats().keys === 500);
      await clock.advance(500_000);
      await until(() => store.stats().keys === 0);
      assert.equal(store.revision, 2000);
      assert.equal((await store.list('/e/', { revision: 1500 })).items.length, 500);
      assert.ok(
        (await store.list('/e/', { revision: 1500 })).items.every(({ key }) => Number(key.slice(3)) < 500),
      );
    })();
  });
}

function bounds(withStore: WithStore): void {
  test(
    'keys',
    withStore({}, async (store) => {
      const longest = 'é'.repeat(MAX_KEY_BYTES / 2);
      await store.put(longest, bytes('1'));
      assert.equal((await store.list('é')).items[0]?.key, longest);
      await assert.rejects(store.put(`${longest}x`, bytes('1')), failsWith('too-large'));
      await assert.rejects(store.put('', bytes('1')), TypeError);
      await assert.rejects(store.put('\ud800', bytes('1')), TypeError);
      await store.put('/with\0zero', bytes('1'));
      assert.equal((await store.get('/with\0zero'))?.key, '/with\0zero');
    }),
  );

  test(
    'close finishes what was begun, ends watches, and refuses the rest',
    withStore({}, async (store) => {
      let ended: unknown;
      store.watch({
        prefix: '',
        afterRevision: 0,
        onEvents: () => {},
        onClose: (error) => {
          ended = error;
        },
      });
      const begun = store.put('/a', bytes('1'));
      const closed = store.close();
      assert.equal((await begun).modRevision, 1);
      await closed;
      await store.close();
      failsWith('closed')(ended);
      await assert.rejects(store.get('/a'), failsWith('closed'));
      await assert.rejects(store.list('/a'), failsWith('closed'));
      await assert.rejects(store.put('/a', bytes('2')), failsWith('closed'));
      await assert.rejects(store.delete('/a'), failsWith('closed'));
      await assert.rejects(store.compact(1), failsWith('closed'));
      assert.throws(
        () => store.watch({ prefix: '', afterRevision: 0, onEvents: () => {} }),
        failsWith('closed'),
      );
    }),
  );
}
