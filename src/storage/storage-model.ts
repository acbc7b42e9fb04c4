/**
 * Random histories against a Store and against an obviously correct model: an array of all writes. Used by
 * storage.suite.ts.
 */
import assert from 'node:assert/strict';
import { compareKeys } from './keys.ts';
import {
  type Revision,
  type Store,
  type StoredValue,
  StoreError,
  type StoreErrorCode,
  type StoreEvent,
} from './store.ts';

const STEPS = 120;
const KEYS = ['/a', '/a/x', '/a/y', '/a/é', '/b', '/b/\u{1f600}', '/c'];
const PREFIXES = ['', '/a', '/a/', '/b/', '/zz'];

interface Write {
  readonly key: string;
  readonly value: Buffer | undefined;
}

/** The n-th write has revision n + 1. */
class Model {
  readonly writes: Write[] = [];
  floor: Revision = 0;

  get revision(): Revision {
    return this.writes.length;
  }

  get(key: string, at: Revision = this.revision): StoredValue | undefined {
    let stored: StoredValue | undefined;
    this.writes.slice(0, at).forEach((write, i) => {
      if (write.key !== key) return;
      stored = write.value && {
        key,
        value: write.value,
        modRevision: i + 1,
        createRevision: stored?.createRevision ?? i + 1,
      };
    });
    return stored;
  }

  list(prefix: string, at: Revision): StoredValue[] {
    return KEYS.filter((key) => key.startsWith(prefix))
      .sort(compareKeys)
      .flatMap((key) => this.get(key, at) ?? []);
  }

  events(prefix: string, after: Revision): string[] {
    return this.writes.flatMap(({ key, value }, i) =>
      i >= after && key.startsWith(prefix) ? [describeEvent({ key, value, revision: i + 1 })] : [],
    );
  }

  /** The expected result of a write, which also determines whether it takes effect. */
  write({ key, value, expected }: Write & { expected: Revision | undefined }): StoreErrorCode | Revision {
    const current = this.get(key);
    if (!value && !current) return 'not-found';
    if (expected !== undefined && expected !== (current?.modRevision ?? 0)) return 'conflict';
    this.writes.push({ key, value });
    return this.revision;
  }
}

function describeEvent({ key, value, revision }: Write & { revision: Revision }): string {
  return `${revision} ${key} ${value?.toString() ?? 'deleted'}`;
}

interface ModelWatch {
  readonly prefix: string;
  readonly after: Revision;
  readonly seen: string[];
  stop(): void;
}

export async function runRandomHistory(
  store: Store,
  {
    seed,
    gaps,
  }: {
    readonly seed: number;
    readonly gaps: { readonly unorderedKeys?: string; readonly uncountedKeys?: string };
  },
): Promise<void> {
  const random = mulberry32(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  const model = new Model();
  const watches: ModelWatch[] = [];
  for (let step = 0; step < STEPS; step++) {
    const dice = random();
    if (dice < 0.6)
      await writeBatch({ store, model, random, pick, oneKey: gaps.unorderedKeys !== undefined });
    else if (dice < 0.8) await readSome({ store, model, random, pick });
    else if (dice < 0.92)
      watches.push(startWatch(store, { prefix: pick(PREFIXES), after: randomRevision(model, random) }));
    else if (model.revision > model.floor) {
      const floor = randomRevision(model, random);
      await settle(watches, model);
      // A watch of another process may not have read the history that is to be compacted.
      model.floor = gaps.unorderedKeys
        ? Math.max(model.floor, Math.min(floor, ...watches.map(reachedBy)))
        : floor;
      await store.compact(model.floor);
    }
    assert.equal(store.revision, model.revision);
  }
  await settle(watches, model);
  for (const { prefix, after, seen } of watches) assert.deepEqual(seen, model.events(prefix, after));
  if (!gaps.uncountedKeys) assert.equal(store.stats().keys, model.list('', model.revision).length);
}

interface Step {
  readonly store: Store;
  readonly model: Model;
  readonly random: () => number;
  readonly pick: <T>(from: readonly T[]) => T;
}

async function writeBatch({
  store,
  model,
  random,
  pick,
  oneKey,
}: Step & { readonly oneKey: boolean }): Promise<void> {
  const only = oneKey ? pick(KEYS) : undefined;
  const operations = Array.from({ length: 1 + Math.floor(random() * 5) }, () => {
    const key = only ?? pick(KEYS);
    const current = model.get(key)?.modRevision ?? 0;
    const expected = pick([undefined, undefined, current, 0, current + 1]);
    return {
      key,
      expected,
      value: random() < 0.7 ? Buffer.from(`${model.revision}-${Math.floor(random() * 1e6)}`) : undefined,
    };
  });
  const answers = await Promise.all(
    operations.map(async ({ key, value, expected }) => {
      const options = expected === undefined ? {} : { expected };
      try {
        return value
          ? (await store.put(key, value, options)).modRevision
          : (await store.delete(key, options)).revision;
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        return error.code;
      }
    }),
  );
  assert.deepEqual(
    answers,
    operations.map((operation) => model.write(operation)),
  );
}

async function readSome({ store, model, random, pick }: Step): Promise<void> {
  const revision = randomRevision(model, random);
  const key = pick(KEYS);
  assert.deepEqual(await store.get(key, { revision }), model.get(key, revision));
  assert.deepEqual(await store.get(key), model.get(key));
  const prefix = pick(PREFIXES);
  const limit = 1 + Math.floor(random() * 6);
  const all = model.list(prefix, revision);
  assert.deepEqual(await store.list(prefix, { revision }), { revision, items: all, more: false });
  assert.deepEqual(await store.list(prefix, { revision, limit }), {
    revision,
    items: all.slice(0, limit),
    more: all.length > limit,
  });
  const startKey = all[Math.floor(random() * all.length)]?.key;
  if (startKey)
    assert.deepEqual(
      (await store.list(prefix, { revision, startKey })).items,
      all.filter((item) => compareKeys(item.key, startKey) >= 0),
    );
  if (model.floor > 0)
    await assert.rejects(store.get(key, { revision: model.floor - 1 }), { code: 'compacted' });
}

function startWatch(store: Store, { prefix, after }: { prefix: string; after: Revision }): ModelWatch {
  const seen: string[] = [];
  const onEvents = (events: readonly StoreEvent[]): void => {
    for (const { key, revision, value, type } of events) {
      assert.equal(type, value ? 'put' : 'delete');
      seen.push(describeEvent({ key, revision, value: value?.value }));
    }
  };
  const { stop } = store.watch({ prefix, afterRevision: after, onEvents });
  return { prefix, after, seen, stop };
}

function reachedBy({ after, seen }: ModelWatch): Revision {
  return Math.max(after, Number(seen.at(-1)?.split(' ')[0] ?? 0));
}

/** Waits for the watches, before history is compacted that they have not read yet. */
async function settle(watches: readonly ModelWatch[], model: Model): Promise<void> {
  const behind = (): boolean =>
    watches.some(({ prefix, after, seen }) => seen.length < model.events(prefix, after).length);
  for (let turns = 0; behind() && turns < 6000; turns++)
    await new Promise((resolve) => (turns < 1000 ? setImmediate(resolve) : setTimeout(resolve, 1)));
}

function randomRevision(model: Model, random: () => number): Revision {
  return model.floor + Math.floor(random() * (model.revision - model.floor + 1));
}

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
