import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CodecStore } from '#apiserver/storagecodec/codec-store.ts';
import { startTestServer, type TestServer } from '#apiserver/testing/server.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import { silentLogger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { startEtcd, unpackedEtcd35, installedEtcd, type TestEtcd } from '#storage/drivers/etcd/test-etcd.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { copyStore, finishCopy, type Side } from './copy.ts';
import { readContents } from './digest.ts';
import { checkStore, digestStore, migrateStore } from './migrate.ts';

const program = unpackedEtcd35() ?? installedEtcd();
const MAPS = '/api/v1/namespaces/default/configmaps';

/** Objects of several kinds, updates and deletes, so that revisions are far above the number of objects. */
async function fill(server: TestServer): Promise<void> {
  await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
  for (let i = 0; i < 20; i++)
    await server.request(`POST ${MAPS}`, { body: { metadata: { name: `m${i}` }, data: { i: String(i) } } });
  for (let i = 0; i < 20; i += 3)
    await server.request(`PATCH ${MAPS}/m${i}`, {
      body: { data: { more: 'x' } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
  for (let i = 1; i < 20; i += 5) await server.request(`DELETE ${MAPS}/m${i}`);
  const event = {
    metadata: { name: 'e' },
    involvedObject: { namespace: 'default' },
    reason: 'R',
    message: 'm',
  };
  await server.request('POST /api/v1/namespaces/default/events', { body: event });
}

async function orderOf(store: Store): Promise<string[]> {
  return (await readContents(store)).keys.map(({ key }) => key);
}

/** Fails from the given write on, as a process that is killed there. */
function failingAt(store: Store, at: number): Store {
  let writes = 0;
  const write = <T>(run: () => Promise<T>): Promise<T> =>
    ++writes >= at ? Promise.reject(new Error('killed')) : run();
  return new Proxy(store, {
    get(target, name) {
      if (name === 'put') return (...words: Parameters<Store['put']>) => write(() => target.put(...words));
      if (name === 'delete')
        return (...words: Parameters<Store['delete']>) => write(() => target.delete(...words));
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

test('a copy that is killed at any write goes on, and ends the same', async () => {
  const raw = createMemoryStore();
  const server = await startTestServer({ store: raw });
  await fill(server);
  const source: Side = { store: raw, raw };
  const contents = await readContents(raw);
  const order = await orderOf(raw);
  const options = { contents, say: () => {}, onMarked: () => {} };
  for (const at of [1, 2, 5, 20, 40, 45]) {
    const target = createMemoryStore();
    const side = (store: Store): Side => ({ raw: store, store: new CodecStore(store) });
    await assert.rejects(copyStore(source, side(failingAt(target, at)), options), /killed/, `write ${at}`);
    await copyStore(source, side(target), options);
    await finishCopy(side(target));
    const copied = await readContents(side(target).store);
    assert.equal(copied.digest, contents.digest);
    assert.deepEqual(await orderOf(side(target).store), order, `write ${at}`);
    assert.ok(copied.keys[0]!.revision > contents.revision, 'no resourceVersion goes back');
    assert.deepEqual((await target.list('/registry/capstan.')).items, []);
    assert.throws(() => target.watch({ prefix: '/', afterRevision: contents.revision, onEvents() {} }));
  }
  await server.stop();
});

test('a target with objects, or with another copy, is refused', async () => {
  const raw = createMemoryStore();
  await raw.put(
    '/registry/configmaps/n/a',
    Buffer.from('{"kind":"ConfigMap","apiVersion":"v1","metadata":{}}'),
  );
  const options = { contents: await readContents(raw), say: () => {}, onMarked: () => {} };
  const copyInto = (store: Store): Promise<void> =>
    copyStore({ store: raw, raw }, { store, raw: store }, options);
  const full = createMemoryStore();
  await full.put('/registry/pods/n/p', Buffer.from('x'));
  await assert.rejects(copyInto(full), /The target is not empty: it has \/registry\/pods\/n\/p/);
  const other = createMemoryStore();
  await other.put('/registry/capstan.migration', Buffer.from('{}'));
  await assert.rejects(copyInto(other), /the beginning of a copy of something else/);
});

describe('capstan store migrate', { skip: program ? false : 'no etcd can be had here' }, () => {
  let etcd: TestEtcd;
  let dir: string;
  let digest: string;
  const said: string[] = [];
  const say = (line: string): void => void said.push(line);
  const flags = (): Parameters<typeof digestStore>[0] => ({
    dataDir: dir,
    etcdServers: etcd.options.endpoints,
    etcdCafile: etcd.options.caFile!,
    etcdCertfile: etcd.options.certFile!,
    etcdKeyfile: etcd.options.keyFile!,
  });
  before(async () => {
    etcd = await startEtcd(program!);
    dir = mkdtempSync(join(tmpdir(), 'capstan-migrate-'));
    mkdirSync(join(dir, 'store'));
    const store = await openStore({ driver: 'lmdb', dir: join(dir, 'store'), log: silentLogger });
    const server = await startTestServer({ store });
    await fill(server);
    await server.stop();
    await store.close();
  });
  after(async () => {
    rmSync(dir, { recursive: true, force: true });
    await etcd.close();
  });
  const lastDigest = async (
    of: Parameters<typeof digestStore>[0],
  ): Promise<{ digest: string; revision: number }> => {
    await digestStore(of, say);
    const [hash = '', , revision] = said.at(-1)!.split(' ');
    return { digest: hash, revision: Number(revision) };
  };

  test('to etcd: what is there is the same, and the embedded store is set aside', async () => {
    await checkStore({ dataDir: dir }, say);
    assert.match(said.at(-1)!, /objects can be read/);
    const before = await lastDigest({ dataDir: dir });
    digest = before.digest;
    await migrateStore({ ...flags(), direction: 'to-etcd' }, say);
    const moved = await lastDigest(flags());
    assert.equal(moved.digest, digest);
    assert.ok(moved.revision > before.revision);
    assert.ok(!existsSync(join(dir, 'store')));
    assert.ok(!existsSync(join(dir, 'store-migration.json')));
    assert.equal(readdirSync(dir).filter((name) => name.startsWith('store.before-etcd-')).length, 1);
    const ttl = etcd.ctl('get', '/registry/events/default/e', '-w', 'json');
    assert.ok(JSON.parse(ttl).kvs[0].lease, 'events keep their lives');
  });

  test('an API server on that etcd serves it, and while one lives nothing is moved', async () => {
    const open = (): Promise<Store> =>
      openEtcdStore({ ...etcd.options, keyPrefix: '/registry', replaces: '/registry' });
    const server = await startTestServer({ store: new CodecStore(await open()) });
    assert.deepEqual((await server.request(`GET ${MAPS}/m3`)).body.data, { i: '3', more: 'x' });
    await server.stop();
    const raw = await open();
    const lease = '{"kind":"Endpoints","apiVersion":"v1","metadata":{}}';
    await raw.put('/registry/masterleases/10.0.0.9', Buffer.from(lease));
    await assert.rejects(
      migrateStore({ ...flags(), direction: 'from-etcd' }, say),
      /in use by the API server at 10\.0\.0\.9/,
    );
    await raw.delete('/registry/masterleases/10.0.0.9');
    await raw.close();
  });

  test('and back, resumed where it was interrupted', async () => {
    const state = { direction: 'from-etcd', etcd: 'x', aside: '', phase: 'copying' };
    writeFileSync(join(dir, 'store-migration.json'), JSON.stringify(state));
    const back = { ...flags(), direction: 'from-etcd' as const };
    await assert.rejects(migrateStore(back, say), /was interrupted: go on with --resume/);
    await assert.rejects(
      migrateStore({ ...flags(), direction: 'to-etcd', resume: true }, say),
      /is --from-etcd, not --to-etcd/,
    );
    await migrateStore({ ...back, resume: true }, say);
    assert.equal((await lastDigest({ dataDir: dir })).digest, digest);
    assert.deepEqual(
      readdirSync(dir).filter((name) => name.includes('migrating')),
      [],
    );
    const store = await openStore({
      driver: 'lmdb',
      dir: join(dir, 'store'),
      mayCreate: false,
      log: silentLogger,
    });
    assert.ok((await store.ttlSeconds!('/registry/events/default/e'))! > 3000);
    const server = await startTestServer({ store });
    assert.deepEqual((await server.request(`GET ${MAPS}/m3`)).body.data, { i: '3', more: 'x' });
    await server.stop();
    await store.close();
  });

  test('a directory that runs, one with nothing, and an etcd that is not empty are refused', async () => {
    mkdirSync(join(dir, 'run'), { recursive: true });
    const lock = acquireProcessLock(join(dir, 'run/lock'));
    await assert.rejects(digestStore({ dataDir: dir }, say), /is run by process/);
    lock.release();
    await assert.rejects(migrateStore({ ...flags(), direction: 'to-etcd' }, say), /The target is not empty/);
    assert.ok(!existsSync(join(dir, 'store-migration.json')), 'what was refused is not begun');
    await assert.rejects(migrateStore({ ...flags(), direction: 'from-etcd' }, say), /store exists/);
    await assert.rejects(
      migrateStore({ ...flags(), direction: 'to-etcd', resume: true }, say),
      /There is no interrupted migration/,
    );
    await assert.rejects(digestStore({ dataDir: join(dir, 'none') }, say), /There is no data directory/);
  });

  test('a damaged store is refused and left as it is', async () => {
    const file = join(dir, 'store', 'store.mdb');
    writeFileSync(file, Buffer.alloc(100_000, 7));
    await assert.rejects(checkStore({ dataDir: dir }, say), /store\.mdb|damaged|corrupt/i);
  });
});
