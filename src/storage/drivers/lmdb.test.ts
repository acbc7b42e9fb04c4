import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { open as openLmdb } from 'lmdb';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { failsWith, storageSuite, until } from '../storage.suite.ts';
import type { Store, StoreEvent } from '../store.ts';
import { FORMAT } from './lmdb-records.ts';
import { openLmdbStore } from './lmdb.ts';

const scratch = mkdtempSync(join(tmpdir(), 'capstan-lmdb-'));
let made = 0;
after(() => rmSync(scratch, { recursive: true, force: true }));

function newDir(): string {
  return join(scratch, `store-${++made}`);
}

storageSuite('lmdb', async (options = {}) => {
  const dir = newDir();
  const store = await openLmdbStore({ dir, ...options });
  return {
    store,
    dispose: async () => {
      await store.close();
      rmSync(dir, { recursive: true });
    },
  };
});

// As a far busier store: heads are written to their table all the time.
storageSuite('lmdb, with heads that hardly gather', async (options = {}) => {
  const dir = newDir();
  const store = await openLmdbStore({ dir, gatherHeads: 3, ...options });
  return {
    store,
    dispose: async () => {
      await store.close();
      rmSync(dir, { recursive: true });
    },
  };
});

async function withStore<T>(dir: string, body: (store: Store) => Promise<T>): Promise<T> {
  const store = await openLmdbStore({ dir });
  try {
    return await body(store);
  } finally {
    await store.close();
  }
}

/** A store with enough data for branch and overflow pages. */
async function filledStore(): Promise<string> {
  const dir = newDir();
  await withStore(dir, async (store) => {
    await Promise.all(
      Array.from({ length: 400 }, (_, i) =>
        store.put(`/registry/things/thing-${i}`, Buffer.alloc(i % 50 === 0 ? 20_000 : 300, `${i} `)),
      ),
    );
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.delete(`/registry/things/thing-${i}`)));
    await store.put('/registry/brief', Buffer.from('x'), { ttlSeconds: 3600 });
  });
  return dir;
}

/** Simulates a machine crash: a copy of the file while the store is open. */
function stoppedCopy(dir: string): string {
  const copy = newDir();
  mkdirSync(copy);
  cpSync(join(dir, 'store.mdb'), join(copy, 'store.mdb'));
  return copy;
}

describe('lmdb store: durability', () => {
  test('pending heads survive a crash at any point of a pass', async () => {
    const dir = newDir();
    const store = await openLmdbStore({ dir, gatherHeads: 40 });
    const expected = new Map<string, string>();
    try {
      for (let round = 0; round < 30; round++) {
        await Promise.all(
          Array.from({ length: 7 }, async (_, i) => {
            const key = `/keys/${(round * 31 + i * 17) % 90}`;
            if (i === 6 && expected.has(key)) {
              expected.delete(key);
              await store.delete(key);
            } else {
              expected.set(key, `${round}.${i}`);
              await store.put(key, Buffer.from(`${round}.${i}`));
            }
          }),
        );
        if (round % 9 === 8) await store.compact((await store.list('/')).revision - 5);
        await withStore(stoppedCopy(dir), async (copy) => {
          const { items } = await copy.list('/keys/');
          assert.deepEqual(
            new Map(items.map(({ key, value }) => [key, value.toString()])),
            new Map([...expected].sort(([a], [b]) => (a < b ? -1 : 1))),
          );
          await copy.put('/keys/new', Buffer.from('x'), { expected: 0 });
        });
      }
    } finally {
      await store.close();
    }
  });

  test('opens a store of format 1, in which all heads are in their table', async () => {
    const dir = await filledStore();
    const root = openLmdb<Buffer, string>({
      path: join(dir, 'store.mdb'),
      noSubdir: true,
      encoding: 'binary',
    });
    const state = Buffer.from(root.get('state')!.subarray(0, 32));
    state.writeUInt32BE(1, 4);
    state.writeUInt32BE(crc32(state.subarray(4)), 0);
    await root.put('state', state);
    await root.close();
    await withStore(dir, async (store) => {
      assert.equal((await store.list('/registry/things/')).items.length, 300);
      await store.put('/registry/things/thing-1', Buffer.from('new'));
    });
    await withStore(dir, async (store) =>
      assert.equal((await store.list('/registry/things/')).items.length, 301),
    );
  });

  test('everything survives closing and opening', async () => {
    const dir = newDir();
    const before = await withStore(dir, async (store) => {
      await store.put('/a', Buffer.from('1'));
      await store.put('/a', Buffer.from('2'));
      await store.put('/b', Buffer.alloc(1_000_000, 'big'));
      await store.delete('/a');
      await store.compact(1);
      return store.stats();
    });
    await withStore(dir, async (store) => {
      assert.deepEqual(store.stats(), before);
      assert.equal((await store.get('/a', { revision: 2 }))?.value.toString(), '2');
      assert.equal(await store.get('/a'), undefined);
      const seen: StoreEvent[] = [];
      store.watch({ prefix: '', afterRevision: 1, onEvents: (events) => seen.push(...events) });
      await until(() => seen.length === 3);
      assert.deepEqual(
        seen.map(({ type, revision }) => `${type} ${revision}`),
        ['put 2', 'put 3', 'delete 4'],
      );
      assert.equal((await store.put('/c', Buffer.from('5'))).modRevision, 5);
    });
  });

  test('TTLs survive, also those that expire while the store is closed', async () => {
    const dir = newDir();
    const clock = new FakeClock();
    const first = await openLmdbStore({ dir, clock });
    await first.put('/short', Buffer.from('1'), { ttlSeconds: 10 });
    await first.put('/long', Buffer.from('1'), { ttlSeconds: 100 });
    await first.close();
    await clock.advance(50_000);
    const second = await openLmdbStore({ dir, clock });
    try {
      await clock.advance(0);
      await until(async () => (await second.get('/short')) === undefined);
      assert.ok(await second.get('/long'));
      await clock.advance(50_000);
      await until(async () => (await second.get('/long')) === undefined);
      assert.equal(second.revision, 4);
    } finally {
      await second.close();
    }
  });

  test('SIGKILL at random times: acknowledged writes survive, revisions increase, history is complete', async (t) => {
    const dir = newDir();
    const known = new Map<string, { revision: number; value: string }>();
    let highest = 0;
    for (let round = 0; round < 10; round++) {
      const lines = await writeAndKill(dir, 30 + Math.random() * 250);
      for (const { key, revision, value } of lines) {
        if (revision > (known.get(key)?.revision ?? 0)) known.set(key, { revision, value });
        highest = Math.max(highest, revision);
      }
      await withStore(dir, (store) => checkSurvivor(store, { known, highest }));
    }
    t.diagnostic(`${highest} revisions acknowledged in 10 rounds`);
    assert.ok(highest > 100);
  });
});

interface Acknowledged {
  readonly key: string;
  readonly revision: number;
  readonly value: string;
}

async function writeAndKill(dir: string, afterMs: number): Promise<Acknowledged[]> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'lmdb-writer.ts'), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: Acknowledged[] = [];
  let timer: NodeJS.Timeout | undefined;
  let opened: Acknowledged | undefined;
  const last = new Map<string, number>();
  for await (const line of createInterface({ input: child.stdout })) {
    const [key, revision, value] = line.split(' ');
    // The last line may be truncated by the kill; then it does not count as reported.
    if (value === undefined) continue;
    const entry = { key: key!, revision: Number(revision), value };
    if (!opened) {
      opened = entry;
      timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
      continue;
    }
    assert.ok(entry.revision > opened.revision, 'a new life goes on after the old one');
    assert.ok(entry.revision > (last.get(entry.key) ?? 0), 'revisions of a key grow');
    last.set(entry.key, entry.revision);
    lines.push(entry);
  }
  clearTimeout(timer);
  assert.ok(opened, 'the writer opened the store');
  return lines;
}

async function checkSurvivor(
  store: Store,
  { known, highest }: { known: Map<string, { revision: number; value: string }>; highest: number },
): Promise<void> {
  assert.ok(store.revision >= highest, `revision ${store.revision} is behind the acknowledged ${highest}`);
  const { items } = await store.list('');
  assert.equal(items.length, store.stats().keys);
  const found = new Map(items.map((item) => [item.key, item]));
  for (const [key, { revision, value }] of known) {
    const item = found.get(key);
    // A write after the last reported one may have become durable before the kill.
    if (item && item.modRevision > revision) continue;
    if (value === '-' || !item) {
      const latest = value === '-' ? revision : await latestEvent(store, key);
      assert.ok((value === '-' || latest > revision) && !item, `${key} of revision ${revision} is lost`);
      // A delete may be durable but not reported: later rounds compact its entry.
      known.set(key, { revision: latest, value: '-' });
    } else {
      assert.equal(item.modRevision, revision);
      assert.equal(item.value.toString().trimEnd(), value);
    }
  }
  const seen: StoreEvent[] = [];
  const floor = store.stats().compactedRevision;
  store.watch({ prefix: '', afterRevision: floor, onEvents: (events) => seen.push(...events) });
  await until(() => seen.length === store.revision - floor);
  assert.deepEqual(
    seen.map(({ revision }) => revision),
    Array.from({ length: seen.length }, (_, i) => floor + 1 + i),
  );
}

async function latestEvent(store: Store, key: string): Promise<number> {
  let latest = 0;
  let reached = store.stats().compactedRevision;
  store.watch({
    prefix: '',
    afterRevision: reached,
    onEvents: (events) => {
      for (const event of events) if (event.key === key) latest = event.revision;
      reached = events.at(-1)!.revision;
    },
  });
  await until(() => reached === store.revision);
  return latest;
}

describe('lmdb store: size', () => {
  test('200,000 overwrites of 100 keys stay small, and an idle store writes nothing', async (t) => {
    const dir = newDir();
    const store = await openLmdbStore({ dir, autoCompact: { keepRevisions: 5000 } });
    try {
      for (let i = 0; i < 200_000; i += 1000) {
        await Promise.all(
          Array.from({ length: 1000 }, (_, j) =>
            store.put(`/lease/${(i + j) % 100}`, Buffer.alloc(300, String(i))),
          ),
        );
      }
      const { sizeBytes, revision, compactedRevision } = store.stats();
      t.diagnostic(`${(sizeBytes / 2 ** 20).toFixed(1)} MiB`);
      assert.equal(revision, 200_000);
      assert.ok(revision - compactedRevision < 10_000);
      // 5,000 revisions of some 450 B are 2.2 MiB; twice that for delayed sweeping, and as much again for LMDB's pages in flight.
      assert.ok(sizeBytes < 12 * 2 ** 20, `${sizeBytes} bytes`);
      const written = (): string => /^write_bytes: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]!;
      const changed = statSync(join(dir, 'store.mdb')).mtimeMs;
      const bytesBefore = written();
      await new Promise((resolve) => setTimeout(resolve, 200));
      assert.equal(statSync(join(dir, 'store.mdb')).mtimeMs, changed);
      assert.equal(written(), bytesBefore);
    } finally {
      await store.close();
    }
  });

  test('the map grows automatically', async () => {
    await withStore(newDir(), async (store) => {
      const value = Buffer.alloc(3 * 2 ** 20, 'x');
      for (let i = 0; i < 12; i++) {
        await Promise.all(Array.from({ length: 9 }, (_, j) => store.put(`/big/${i * 9 + j}`, value)));
        assert.ok((await store.get(`/big/${i}`))!.value.equals(value));
      }
      assert.ok(store.stats().sizeBytes > 300 * 2 ** 20);
      assert.equal((await store.list('/big/', { limit: 5 })).items.length, 5);
    });
  });
});

describe('lmdb store: locking', () => {
  test('one opener at a time, in this process and in another', async () => {
    const dir = newDir();
    const child = await startHolder(dir);
    const locked = { code: 'locked', message: `Cannot open store ${dir}: locked by process ${child.pid}` };
    await assert.rejects(openLmdbStore({ dir }), locked);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    await withStore(dir, async (store) => {
      assert.ok(store.revision > 0);
      await assert.rejects(openLmdbStore({ dir }), {
        code: 'locked',
        message: `Cannot open store ${dir}: locked by process ${process.pid}`,
      });
      await store.put('/still', Buffer.from('works'));
    });
  });

  test('ignores a stale lock file, even when its pid was reused', async () => {
    const dir = newDir();
    await withStore(dir, async (store) => {
      await store.put('/a', Buffer.from('1'));
    });
    writeFileSync(join(dir, 'lock.pid'), `${process.ppid}\n`);
    writeFileSync(join(dir, 'store.mdb-lock'), Buffer.alloc(8192, 0xff));
    await withStore(dir, async (store) => assert.equal(store.revision, 1));
  });
});

async function startHolder(dir: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'lmdb-writer.ts'), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let lines = 0;
  child.stdout.on('data', () => {
    lines++;
  });
  await until(() => lines > 1);
  return child;
}

describe('lmdb store: damaged or foreign files', () => {
  test('a missing store is not recreated', async () => {
    const dir = newDir();
    await assert.rejects(openLmdbStore({ dir, mayCreate: false }), {
      code: 'missing',
      message: /^Cannot open store .*: store\.mdb is missing/,
    });
    assert.equal(existsSync(join(dir, 'store.mdb')), false);
    await (await openLmdbStore({ dir })).close();
    await (await openLmdbStore({ dir, mayCreate: false })).close();
  });

  /** Opens a copy after `damage`; it must either be rejected and left unchanged, or be intact. */
  async function damaged(dir: string, damage: (file: string) => void): Promise<string> {
    const copy = newDir();
    cpSync(dir, copy, { recursive: true });
    const file = join(copy, 'store.mdb');
    damage(file);
    const before = readFileSync(file);
    let code = 'sound';
    try {
      await withStore(copy, async (store) => {
        assert.equal((await store.list('/registry/things/')).items.length, 300);
        assert.equal(store.revision, 501);
      });
    } catch (error) {
      if ((error as { code?: string }).code === undefined) throw error;
      ({ code } = error as { code: string });
      assert.ok(
        (error as Error).message.startsWith(`Cannot open store ${copy}: it `),
        (error as Error).message,
      );
      assert.ok(readFileSync(file).equals(before), 'the file was left as it is');
      assert.deepEqual(
        readdirSync(copy).filter((name) => name.startsWith('store.mdb') && name !== 'store.mdb-lock'),
        ['store.mdb'],
      );
    }
    rmSync(copy, { recursive: true });
    return code;
  }

  /** Without the headroom behind the last page. */
  const usedBytes = (image: Buffer): number =>
    (Math.max(Number(image.readBigUInt64LE(144)), Number(image.readBigUInt64LE(4096 + 144))) + 1) * 4096;

  const overwrite =
    (at: number, bytes: Buffer) =>
    (file: string): void => {
      const fd = openSync(file, 'r+');
      writeSync(fd, bytes, 0, bytes.length, at);
      closeSync(fd);
    };

  test('garbage, an empty file, text, zeros', async () => {
    const dir = await filledStore();
    const size = statSync(join(dir, 'store.mdb')).size;
    for (const content of [
      Buffer.alloc(0),
      Buffer.from('hello'),
      Buffer.alloc(size),
      Buffer.alloc(size, 0xff),
    ]) {
      assert.equal(await damaged(dir, (file) => writeFileSync(file, content)), 'corrupt');
    }
  });

  test('truncated anywhere', async () => {
    const dir = await filledStore();
    const size = usedBytes(readFileSync(join(dir, 'store.mdb')));
    const codes: string[] = [];
    for (let i = 0; i < 20; i++)
      codes.push(await damaged(dir, (file) => truncateSync(file, Math.floor((size * i) / 20))));
    // Only the very end may be free pages.
    assert.ok(
      codes.slice(0, 15).every((code) => code === 'corrupt'),
      codes.join(),
    );
  });

  test('each page overwritten by zeros, noise, or another page: rejected, or nothing was lost', async () => {
    const dir = await filledStore();
    const whole = readFileSync(join(dir, 'store.mdb'));
    const image = whole.subarray(0, usedBytes(whole));
    const noise = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919) & 0xff));
    const codes = new Map<string, number>();
    for (let page = 0; page < image.length / 4096; page += page < 8 ? 1 : 7) {
      const other = (page * 4096 + 5 * 4096) % image.length;
      for (const bytes of [Buffer.alloc(4096), noise, image.subarray(other, other + 4096)]) {
        const code = await damaged(dir, overwrite(page * 4096, bytes));
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
    }
    assert.ok((codes.get('corrupt') ?? 0) > 10, JSON.stringify([...codes]));
    assert.deepEqual(
      [...codes.keys()].filter((code) => code !== 'corrupt' && code !== 'sound'),
      [],
    );
  });

  test('single flipped bits: rejected, or nothing was lost', async () => {
    const dir = await filledStore();
    const whole = readFileSync(join(dir, 'store.mdb'));
    const image = whole.subarray(0, usedBytes(whole));
    let corrupt = 0;
    for (let i = 0; i < 60; i++) {
      const at = Math.floor((image.length * (i + 0.37)) / 60);
      if ((await damaged(dir, overwrite(at, Buffer.from([image[at]! ^ 0x10])))) === 'corrupt') corrupt++;
    }
    assert.ok(corrupt > 20, `${corrupt} of 60 noticed`);
  });

  test('written by a newer program', async () => {
    const dir = await filledStore();
    const root = openLmdb<Buffer, string>({
      path: join(dir, 'store.mdb'),
      noSubdir: true,
      encoding: 'binary',
    });
    const state = Buffer.from(root.get('state')!);
    state.writeUInt32BE(FORMAT + 1, 4);
    state.writeUInt32BE(crc32(state.subarray(4)), 0);
    await root.put('state', state);
    await root.close();
    assert.equal(await damaged(dir, () => {}), 'version');
    assert.equal(await damaged(await filledStore(), overwrite(28, Buffer.from([3]))), 'version');
  });
});

const isRoot = process.getuid?.() === 0;

describe('lmdb store: disk errors', { skip: !isRoot && 'mounting a file system needs root' }, () => {
  async function onTmpfs(options: string, body: (mount: string) => Promise<void>): Promise<void> {
    const mount = newDir();
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', mount]);
    try {
      await body(mount);
    } finally {
      execFileSync('umount', [mount]);
    }
  }

  test('a full disk fails only the affected writes; writing continues once there is space', async () => {
    await onTmpfs('size=8m', async (mount) => {
      const dir = join(mount, 'store');
      const acknowledged = new Map<string, number>();
      await withStore(dir, async (store) => {
        const seen: number[] = [];
        store.watch({
          prefix: '',
          afterRevision: 0,
          onEvents: (events) => seen.push(...events.map(({ revision }) => revision)),
        });
        const write = async (key: string, size = 50_000): Promise<string> =>
          store.put(key, Buffer.alloc(size, key)).then(
            ({ modRevision }) => {
              acknowledged.set(key, modRevision);
              return 'ok';
            },
            (error: { code: string }) => error.code,
          );
        writeFileSync(join(mount, 'ballast'), Buffer.alloc(4 * 2 ** 20));
        for (let cycle = 0; cycle < 3; cycle++) {
          const codes = new Set<string>();
          for (let i = 0; i < 300 && !codes.has('no-space'); i++) {
            for (const code of await Promise.all([write(`/${cycle}/${i}/a`), write(`/${cycle}/${i}/b`)]))
              codes.add(code);
          }
          assert.deepEqual([...codes], ['ok', 'no-space']);
          assert.equal(
            store.revision,
            Math.max(...acknowledged.values()),
            'the state does not run ahead of the disk',
          );
          assert.equal((await store.list('')).items.length, acknowledged.size);
          assert.equal(await write('/refused', 3 * 2 ** 20), 'no-space');
          assert.equal(await store.get('/refused'), undefined);
          if (cycle === 0) rmSync(join(mount, 'ballast'));
          else await makeRoom(store, acknowledged);
          assert.equal(await write(`/${cycle}/again`), 'ok', 'writing goes on without a restart');
        }
        assert.deepEqual(
          seen,
          Array.from({ length: store.revision }, (_, i) => i + 1),
        );
      });
      await withStore(dir, async (store) => {
        for (const [key, revision] of acknowledged)
          assert.equal((await store.get(key))?.modRevision, revision, key);
        assert.equal(store.stats().keys, acknowledged.size);
      });
    });
  });

  /** Enlarges the disk, as an operator would. */
  async function makeRoom(store: Store, acknowledged: ReadonlyMap<string, number>): Promise<void> {
    assert.equal(store.stats().keys, acknowledged.size);
    const mount = execFileSync('sh', ['-c', `grep ' ${scratch}/' /proc/mounts | tail -1 | cut -d' ' -f2`])
      .toString()
      .trim();
    const size = Number(execFileSync('stat', ['-f', '-c', '%b', mount])) * 4096;
    execFileSync('mount', ['-o', `remount,size=${size + 2 * 2 ** 20}`, mount]);
  }

  test('no space to create a store: reported, and possible later', async () => {
    await onTmpfs('size=1m', async (mount) => {
      writeFileSync(join(mount, 'ballast'), Buffer.alloc(2 ** 20 - 8192));
      await assert.rejects(openLmdbStore({ dir: join(mount, 'store') }), failsWith('no-space'));
      rmSync(join(mount, 'ballast'));
      await withStore(join(mount, 'store'), async (store) => {
        await store.put('/a', Buffer.from('1'));
      });
    });
  });

  test('a read-only disk', async () => {
    await onTmpfs('size=8m', async (mount) => {
      const dir = join(mount, 'store');
      await withStore(dir, async (store) => {
        await store.put('/a', Buffer.from('1'));
      });
      execFileSync('mount', ['-o', 'remount,ro', mount]);
      await assert.rejects(openLmdbStore({ dir }), {
        code: 'read-only',
        message: `Cannot open store ${dir}: it may not be written`,
      });
      await assert.rejects(openLmdbStore({ dir: join(mount, 'new') }), failsWith('read-only'));
    });
  });
});
