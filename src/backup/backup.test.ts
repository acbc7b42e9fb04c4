/** Format, envelope and target together: what is made is read, what is altered is refused, and a backup under writes is of one revision. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { silentLogger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { installedEtcd, startEtcd, unpackedEtcd35 } from '#storage/drivers/etcd/test-etcd.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { writeArchive } from './archive.ts';
import { findBackup, listBackups, noteName } from './stored-backups.ts';
import { generateKeyPair, seal } from './envelope.ts';
import { BackupError } from './errors.ts';
import type { BackupRecord, Manifest } from './format.ts';
import { makeBackup, type MadeBackup } from './make.ts';
import { openBackup } from './open-backup.ts';
import { decodeSnapshot, encodeSnapshot, takeSnapshot } from './snapshot.ts';
import { DirectoryTarget } from './targets/directory.ts';
import { configMap, fill, makeOptions, PLAIN, storeWith, temporaryDir } from './testing/cluster-store.ts';

const noAge = spawnSync('age', ['--version']).status === 0 ? false : 'age is not installed';

const etcdProgram = unpackedEtcd35() ?? installedEtcd();

/** A generator of numbers in [0, 1) with a seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('a backup', () => {
  const dir = temporaryDir();
  const target = new DirectoryTarget(dir.path);
  let store: Store;
  let options: Awaited<ReturnType<typeof makeOptions>>;
  let made: MadeBackup;
  before(async () => {
    store = await storeWith(500);
    await store.put('/registry/events/default/e', Buffer.from('{}'), { ttlSeconds: 3600 });
    await store.put('/registry/masterleases/10.0.0.1', Buffer.from('{}'));
    options = await makeOptions(store, target);
    made = await makeBackup(options);
  });
  after(() => dir.remove());

  const read = async (name = made.name): Promise<{ manifest: Manifest; records: BackupRecord[] }> => {
    const records: BackupRecord[] = [];
    const manifest = await openBackup({
      target,
      name,
      identities: [options.key.identity],
      decode: PLAIN.decode,
      onObject: (record) => void records.push(record),
    });
    return { manifest, records };
  };

  test('has every object of its revision, with revisions and what is left of its life', async () => {
    const { manifest, records } = await read();
    const { items } = await store.list('/registry/');
    assert.deepEqual(
      records.map(({ key, value, modRevision, createRevision }) => ({
        key,
        value,
        modRevision,
        createRevision,
      })),
      items.filter(({ key }) => !key.includes('masterleases')),
    );
    assert.equal(manifest.revision, store.revision);
    assert.equal(manifest.objects, 502);
    assert.equal(manifest.resources['configmaps']?.count, 500);
    const event = records.find(({ key }) => key.includes('/events/'));
    assert.ok((event?.ttlSeconds ?? 0) > 3000 && (event?.ttlSeconds ?? 0) <= 3600);
  });

  test('is listed with its note, and found as latest', async () => {
    const [one, ...others] = await listBackups(target);
    assert.deepEqual(others, []);
    assert.equal(one?.note?.sha256, made.manifest.sha256);
    assert.equal((await findBackup(target, 'latest')).name, made.name);
    await assert.rejects(findBackup(target, 'capstan-other'), { code: 'missing' });
  });

  test('is opened by plain age, zstd and tar', { skip: noAge }, () => {
    const identity = join(dir.path, 'identity.txt');
    writeFileSync(identity, `${options.key.identity}\n`);
    const zst = execFileSync('age', ['-d', '-i', identity, join(dir.path, made.name)], { maxBuffer: 1e8 });
    const names = execFileSync('tar', ['-tf', '-'], { input: zstdDecompressSync(zst), encoding: 'utf8' });
    assert.match(names, /^backup\.json\nfiles\/pki\/ca\.key\nobjects\/configmaps\/default\/m0\n/);
    assert.match(names, /\nmanifest\.json\n$/);
  });

  test('is not opened by another key', async () => {
    const { identity } = await generateKeyPair();
    const opening = openBackup({ target, name: made.name, identities: [identity], decode: PLAIN.decode });
    await assert.rejects(opening, { code: 'wrong-key', message: /it is encrypted for another key/ });
  });

  test('300 random corruptions are all detected', async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 1e6);
    const random = seeded(seed);
    const whole = readFileSync(join(dir.path, made.name));
    const name = made.name.replace(/-r\d+/, '-r1');
    for (let i = 0; i < 300; i++) {
      const bytes = corrupted(whole, random);
      if (bytes.equals(whole)) continue;
      writeFileSync(join(dir.path, name), bytes);
      await assert.rejects(
        read(name),
        (error: unknown) =>
          error instanceof BackupError && /^capstan-.* cannot be used: .*[^.]$/.test(error.message),
        `seed ${seed}, corruption ${i}`,
      );
    }
    await target.remove(name);
  });

  test('of a newer format is refused, whatever follows', async () => {
    const header = { ...made.manifest, format: 2 };
    const archive = writeArchive({ header, files: [], records: (async function* () {})(), onManifest() {} });
    const name = made.name.replace(/-r\d+/, '-r2');
    await target.write(name, seal(archive, options.recipients));
    await assert.rejects(read(name), { code: 'newer', message: /newer Capstan \(format 2; .* up to 1\)/ });
    await target.remove(name);
  });

  test('is never overwritten, and nothing is left of one that fails', async () => {
    const bytes = readFileSync(join(dir.path, made.name));
    await assert.rejects(
      target.write(
        made.name,
        (async function* () {
          yield Buffer.from('x');
        })(),
      ),
      { code: 'exists' },
    );
    assert.deepEqual(readFileSync(join(dir.path, made.name)), bytes);
    const failing = (async function* () {
      yield Buffer.from('x');
      throw new Error('the source failed');
    })();
    await assert.rejects(target.write('capstan-new', failing), /the source failed/);
    const names = (await target.list()).map((file) => file.name).toSorted();
    assert.deepEqual(names, [made.name, noteName(made.name), 'identity.txt'].toSorted());
  });

  test('a snapshot that was cut is refused', async () => {
    const frames: Buffer[] = [];
    for await (const chunk of encodeSnapshot(await takeSnapshot(store))) frames.push(chunk);
    const whole = Buffer.concat(frames);
    for (const end of [10, 500, whole.length - 30, whole.length - 1]) {
      const drain = async (): Promise<void> => {
        const { records } = await decodeSnapshot(
          (async function* () {
            yield whole.subarray(0, end);
          })(),
        );
        for await (const _ of records);
      };
      await assert.rejects(drain(), { code: 'damaged' }, `cut at ${end}`);
    }
  });
});

/** A bit flipped, a part zeroed, cut, doubled or exchanged, or bytes put in. */
function corrupted(whole: Buffer, random: () => number): Buffer {
  const at = Math.floor(random() * whole.length);
  const to = Math.min(whole.length, at + 1 + Math.floor(random() * 4096));
  const kind = Math.floor(random() * 6);
  const copy = Buffer.from(whole);
  if (kind === 0) copy[at]! ^= 1 << Math.floor(random() * 8);
  if (kind === 1) copy.fill(0, at, to);
  if (kind === 2) return copy.subarray(0, at);
  if (kind === 3) return Buffer.concat([whole.subarray(0, at), whole.subarray(to)]);
  if (kind === 4) return Buffer.concat([whole.subarray(0, to), whole.subarray(at)]);
  if (kind === 5) return Buffer.concat([whole.subarray(0, at), Buffer.from('x'), whole.subarray(at)]);
  return copy;
}

interface OpenStore {
  readonly store: Store;
  dispose(): Promise<void>;
}

async function openEmbedded(): Promise<OpenStore> {
  const dir = temporaryDir();
  const store = await openStore({ driver: 'lmdb', dir: join(dir.path, 'store'), log: silentLogger });
  const dispose = async (): Promise<void> => {
    await store.close();
    dir.remove();
  };
  return { store, dispose };
}

async function openEtcd(): Promise<OpenStore> {
  const etcd = await startEtcd(etcdProgram!);
  const store = await openEtcdStore({ ...etcd.options, compactionIntervalMs: 0, monitorIntervalMs: 0 });
  const dispose = async (): Promise<void> => {
    await store.close();
    await etcd.close();
  };
  return { store, dispose };
}

/** The real stores, and the memory's. Removed by dispose. */
const STORES: Readonly<
  Record<string, { readonly skip: string | false; readonly open: () => Promise<OpenStore> }>
> = {
  memory: { skip: false, open: async () => ({ store: createMemoryStore(), dispose: async () => {} }) },
  embedded: { skip: false, open: openEmbedded },
  etcd: { skip: etcdProgram ? false : 'no etcd can be had here', open: openEtcd },
};

for (const [name, { skip, open }] of Object.entries(STORES))
  test(
    `under 500 writes/s a backup of the ${name} store equals the model at its revision`,
    { skip },
    async () => {
      const { store, dispose } = await open();
      try {
        await requireModel(store);
      } finally {
        await dispose();
      }
    },
  );

async function requireModel(store: Store): Promise<void> {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e6);
  const random = seeded(seed);
  const dir = temporaryDir();
  await fill(store, 3000);
  const target = new DirectoryTarget(dir.path);
  const options = await makeOptions(store, target);
  /** By revision, what was written. */
  const history: { revision: number; key: string; value: Buffer | undefined }[] = [];
  for (const { key, value, modRevision } of (await store.list('/registry/')).items)
    history.push({ revision: modRevision, key, value });
  let over = false;
  let inFlight: Promise<unknown> = Promise.resolve();
  const writing = (async () => {
    while (!over) {
      // 10 writes each 20 ms.
      for (let i = 0; i < 10; i++) {
        const [key, value] = configMap('default', `m${Math.floor(random() * 4000)}`, `new ${random()}`);
        const isDelete = random() < 0.2;
        const done = isDelete ? store.delete(key) : store.put(key, value);
        await (inFlight = done.then(
          (written) =>
            history.push({
              revision: 'modRevision' in written ? written.modRevision : written.revision,
              key,
              value: isDelete ? undefined : value,
            }),
          () => {},
        ));
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  try {
    for (let round = 0; round < 3; round++) {
      const { name, manifest } = await makeBackup(options);
      const found = new Map<string, string>();
      await openBackup({
        target,
        name,
        identities: [options.key.identity],
        decode: PLAIN.decode,
        onObject: ({ key, value }) => void found.set(key, value.toString()),
      });
      // One that the snapshot has may be answered later.
      await inFlight;
      const model = new Map<string, string>();
      for (const { revision, key, value } of history.toSorted((a, b) => a.revision - b.revision)) {
        if (revision > manifest.revision) break;
        if (value) model.set(key, value.toString());
        else model.delete(key);
      }
      assert.deepEqual([...found].toSorted(), [...model].toSorted(), `seed ${seed}, round ${round}`);
      await target.remove(name);
    }
  } finally {
    over = true;
    await writing;
    dir.remove();
  }
}

test('a revision that is compacted while it is read is begun again at a newer one', async () => {
  const dir = temporaryDir();
  const store = await storeWith(1000);
  let lists = 0;
  const compacting = new Proxy(store, {
    get(target, name) {
      if (name !== 'list') {
        const value = Reflect.get(target, name) as unknown;
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      }
      return async (...words: Parameters<Store['list']>) => {
        const result = await target.list(...words);
        // After the first page of the first try.
        if (++lists === 1) {
          await target.put(...configMap('default', 'm0', 'newer'));
          await target.compact(target.revision);
        }
        return result;
      };
    },
  });
  const made = await makeBackup(await makeOptions(compacting, new DirectoryTarget(dir.path)));
  assert.equal(made.manifest.revision, store.revision);
  assert.ok(lists > 6);
  dir.remove();
});

test('a store on which no API server has run is refused', async () => {
  await assert.rejects(takeSnapshot(createMemoryStore()), { code: 'missing' });
});
