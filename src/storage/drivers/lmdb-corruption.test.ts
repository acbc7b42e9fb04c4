/**
 * 300 corruptions of a store's file from a seed (bits, runs of bytes, swapped pages, cut ends): each is refused with 'corrupt' or 'version' and the file kept as it is, or harmless:
 * then every key, value and revision is as it was. Wrong data are never served.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createHash } from 'node:crypto';
import { seededRandom } from '#stdx/random.ts';
import { type Store, StoreError } from '../store.ts';
import { openLmdbStore } from './lmdb.ts';

const PAGE = 4096;
const CASES = 300;
const SEED = Number(process.env['SEED'] ?? 20_261_202);

async function fill(dir: string): Promise<void> {
  const store = await openLmdbStore({ dir, autoCompact: false });
  for (let round = 0; round < 4; round++)
    await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        store.put(
          `/registry/configmaps/default/m${i + 20 * round}`,
          Buffer.alloc(20 + ((i * 371) % 9000), `v${i}`),
        ),
      ),
    );
  for (let i = 0; i < 20; i++) await store.delete(`/registry/configmaps/default/m${i}`);
  await store.put('/registry/events/default/e', Buffer.from('event'), { ttlSeconds: 86_400 });
  await store.close();
}

/** Of all that is read: newest state and history. */
async function digest(store: Store): Promise<string> {
  const hash = createHash('sha256');
  for (const revision of [store.revision, Math.floor(store.revision / 2), 1])
    for (const { key, value, modRevision, createRevision } of (await store.list('', { revision })).items)
      hash.update(`${key} ${modRevision} ${createRevision} ${value.length} `).update(value);
  return `${store.revision} ${hash.digest('hex')}`;
}

test('300 corruptions of a file are refused or harmless', async () => {
  const root = mkdtempSync(join(tmpdir(), 'capstan-corruption-'));
  const random = seededRandom(SEED);
  const below = (n: number): number => Math.floor(random() * n);
  try {
    await fill(join(root, 'origin'));
    const whole = readFileSync(join(root, 'origin/store.mdb'));
    const kinds: readonly ((bytes: Buffer) => Buffer)[] = [
      (bytes) => {
        bytes[below(bytes.length)]! ^= 1 << below(8);
        return bytes;
      },
      (bytes) => {
        const at = below(bytes.length);
        return bytes.fill(below(256), at, at + 1 + below(2 * PAGE));
      },
      (bytes) => {
        const [a, b] = [below(bytes.length / PAGE) * PAGE, below(bytes.length / PAGE) * PAGE];
        const page = Buffer.from(bytes.subarray(a, a + PAGE));
        bytes.copy(bytes, a, b, b + PAGE);
        page.copy(bytes, b);
        return bytes;
      },
      (bytes) => bytes.subarray(0, below(bytes.length)),
    ];
    const origin = await openLmdbStore({ dir: join(root, 'origin') });
    const expected = await digest(origin);
    await origin.close();
    let refused = 0;
    for (let i = 0; i < CASES; i++) {
      const what = `case ${i} of seed ${SEED}`;
      const dir = join(root, `case${i}`);
      mkdirSync(dir);
      const damaged = kinds[i % kinds.length]!(Buffer.from(whole));
      writeFileSync(join(dir, 'store.mdb'), damaged);
      let store: Store | undefined;
      try {
        store = await openLmdbStore({ dir });
      } catch (error) {
        assert.ok(
          error instanceof StoreError && ['corrupt', 'version'].includes(error.code),
          `${what}: ${error}`,
        );
        assert.ok(readFileSync(join(dir, 'store.mdb')).equals(damaged), `${what}: the file is kept`);
        refused++;
      }
      if (store) assert.equal(await digest(store), expected, what);
      await store?.close();
      rmSync(dir, { recursive: true });
    }
    assert.ok(refused > CASES / 4, `${refused} of ${CASES} are refused: the corruptions hit something`);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
