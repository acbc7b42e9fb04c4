/** Each way in which etcd refuses is one sentence that says what to do. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServiceError } from '@grpc/grpc-js';
import { createLogger } from '#stdx/log.ts';
import { StoreError, type Store } from '../../store.ts';
import { classifyFailure } from './failures.ts';
import { openEtcdStore, type EtcdStoreOptions } from './etcd-store.ts';
import { installedEtcd, makeCertificates, startEtcd, unpackedEtcd35, type TestEtcd } from './test-etcd.ts';
import { hasTrueProgress, isTooOld, versionWarning } from './versions.ts';

const program = unpackedEtcd35() ?? installedEtcd();

const ROLE =
  /common name of the client certificate should be a user of etcd with a role .*role grant-permission/;

async function refusal(options: EtcdStoreOptions): Promise<StoreError> {
  const outcome = await openEtcdStore({ ...options, connectTimeoutMs: 500 }).catch((error: unknown) => error);
  assert.ok(outcome instanceof StoreError, `it should be refused: ${String(outcome)}`);
  return outcome;
}

describe('etcd that does not let us in', { skip: program ? false : 'no etcd can be had here' }, () => {
  let etcd: TestEtcd;
  let other: string;
  before(async () => {
    etcd = await startEtcd(program!);
    other = mkdtempSync(join(tmpdir(), 'capstan-other-ca-'));
    makeCertificates(other);
    await (await openEtcdStore(etcd.options)).close();
  });
  after(async () => {
    rmSync(other, { recursive: true, force: true });
    await etcd.close();
  });

  test('another authority than the one that signed the member', async () => {
    const { message, code } = await refusal({ ...etcd.options, caFile: join(other, 'ca.crt') });
    assert.equal(code, 'unavailable');
    assert.match(
      message,
      /its certificate is not signed by the authority in .*ca\.crt: --etcd-cafile should be/,
    );
  });

  test('no authority at all', async () => {
    const { message } = await refusal({ ...etcd.options, caFile: undefined });
    assert.match(message, /signed by a private authority: give its certificate with --etcd-cafile/);
  });

  test('no client certificate', async () => {
    const { message } = await refusal({ ...etcd.options, certFile: undefined, keyFile: undefined });
    assert.match(message, /it wants a client certificate: give one with --etcd-certfile and --etcd-keyfile/);
  });

  test('a client certificate of another authority', async () => {
    const { message } = await refusal({
      ...etcd.options,
      certFile: join(other, 'leaf.crt'),
      keyFile: join(other, 'leaf.key'),
    });
    assert.match(
      message,
      /it refuses the client certificate .*leaf\.crt: it should be signed by the authority in etcd's/,
    );
  });

  test('http:// in place of https://, and the reverse', async () => {
    const [https = ''] = etcd.options.endpoints;
    const { message } = await refusal({ endpoints: [https.replace('https', 'http')] });
    assert.match(message, /where it speaks TLS, its URL should begin with https:\/\//);
    const plain = createServer((socket) =>
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n').on('error', () => {}),
    );
    await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
    const { port } = plain.address() as { port: number };
    const reverse = await refusal({ ...etcd.options, endpoints: [`https://127.0.0.1:${port}`] });
    assert.match(reverse.message, /it does not speak TLS: its URL should begin with http:\/\//);
    plain.close();
  });

  test('an address that the certificate does not name, and a member that is not there', async () => {
    const named = etcd.options.endpoints[0]!.replace('127.0.0.1', 'localhost');
    const { message } = await refusal({ ...etcd.options, endpoints: [named] });
    assert.match(message, /its certificate is not for this address/);
    const nobody = await refusal({ endpoints: ['http://127.0.0.1:1'] });
    assert.match(
      nobody.message,
      /no member of etcd can be reached \(http:\/\/127\.0\.0\.1:1: nothing listens there\)/,
    );
  });

  test(
    'authentication: a user that etcd does not know, and one that may not',
    { timeout: 60_000 },
    async () => {
      const one = await startEtcd(program!);
      const store = await openEtcdStore({ ...one.options, keyPrefix: '/registry' });
      try {
        for (const words of [
          ['user', 'add', 'root:r'],
          ['user', 'grant-role', 'root', 'root'],
          ['auth', 'enable'],
        ])
          one.ctl(...words);
        // The certificate's common name is "capstan".
        await fails(store, ROLE);
        one.ctl('--user=root:r', 'user', 'add', 'capstan:x');
        await fails(store, ROLE);
        one.ctl('--user=root:r', 'role', 'add', 'api');
        one.ctl(
          '--user=root:r',
          'role',
          'grant-permission',
          '--prefix=true',
          'api',
          'readwrite',
          '/registry/',
        );
        one.ctl('--user=root:r', 'user', 'grant-role', 'capstan', 'api');
        assert.equal((await store.put('/a', Buffer.from('1'))).value.toString(), '1');
      } finally {
        await store.close();
        await one.close();
      }
    },
  );

  test('a member that stands still: the store tells it soon, and when it is over', async () => {
    const one = await startEtcd(program!);
    const store = await openEtcdStore({ ...one.options, keyPrefix: '/silent' });
    try {
      await store.put('/a', Buffer.from('1'));
      assert.equal(store.stats().problem, undefined);
      await one.pause();
      const read = store.get('/a').catch(() => undefined);
      while (store.stats().problem === undefined) await sleep(20);
      assert.match(store.stats().problem!, /^etcd https:\/\/127\.0\.0\.1:\d+ does not answer$/);
      // Given up: it is not well because nobody waits for it any more.
      while (!store.stats().problem?.startsWith('no connection to etcd https')) await sleep(20);
      one.goOn();
      await read;
      assert.equal(String((await store.get('/a'))?.value), '1');
      while (store.stats().problem !== undefined) await sleep(20);
    } finally {
      one.goOn();
      await store.close();
      await one.close();
    }
  });

  test(
    'a write that crosses the quota is applied and refused by etcd: it succeeds',
    { timeout: 60_000 },
    async () => {
      const one = await startEtcd(program!, [`quota-backend-bytes=${2 * 1024 * 1024}`]);
      const store = await openEtcdStore({ ...one.options, keyPrefix: '/crossing' });
      try {
        const value = Buffer.alloc(100_000, 7);
        let isFull = false;
        for (let batch = 0; batch < 50 && !isFull; batch++) {
          const keys = Array.from({ length: 16 }, (_, i) => `/k${batch}-${i}`);
          const outcomes = await Promise.allSettled(
            keys.map((key) => store.put(key, value, { expected: 0 })),
          );
          for (const [i, outcome] of outcomes.entries()) {
            const stored = await store.get(keys[i]!);
            assert.equal(stored !== undefined, outcome.status === 'fulfilled', keys[i]);
            if (outcome.status === 'fulfilled') continue;
            isFull = true;
            assert.equal(outcome.reason.code, 'no-space');
          }
        }
        assert.ok(isFull);
      } finally {
        await store.close();
        await one.close();
      }
    },
  );

  test(
    'a database that is full: reads go on, and the sentence says how to end it',
    { timeout: 60_000 },
    async () => {
      const one = await startEtcd(program!, [`quota-backend-bytes=${2 * 1024 * 1024}`]);
      const logged: string[] = [];
      const log = createLogger({ write: (line: string) => void logged.push(line) });
      const store = await openEtcdStore({ ...one.options, keyPrefix: '/full', monitorIntervalMs: 50, log });
      try {
        const value = Buffer.alloc(400_000, 7);
        let failed: unknown;
        for (let i = 0; i < 30 && !failed; i++)
          await store.put(`/k${i}`, value).catch((error: unknown) => void (failed = error));
        assert.ok(failed instanceof StoreError);
        assert.equal(failed.code, 'no-space');
        assert.match(failed.message, /NOSPACE alarm: compact and defragment it, .* `etcdctl alarm disarm`/);
        assert.equal((await store.get('/k0'))?.value.length, value.length);
        while (!logged.some((line) => /etcd has an alarm.*NOSPACE/.test(line)))
          await new Promise((resolve) => setTimeout(resolve, 20));
        for (let i = 0; i < 30; i++) await store.delete(`/k${i}`).catch(() => {});
        await store.compact(store.revision);
        one.ctl('defrag');
        one.ctl('alarm', 'disarm');
        await store.put('/again', Buffer.from('1'));
        while (!logged.some((line) => /no alarm any more/.test(line)))
          await new Promise((resolve) => setTimeout(resolve, 20));
      } finally {
        await store.close();
        await one.close();
      }
    },
  );
});

async function fails(store: Store, message: RegExp): Promise<void> {
  const outcome = await store.put('/a', Buffer.from('1')).catch((error: unknown) => error);
  assert.ok(outcome instanceof StoreError, String(outcome));
  assert.equal(outcome.code, 'unavailable');
  assert.match(outcome.message, message);
}

test('versions: what is warned of, refused, and trusted with progress', () => {
  for (const version of ['3.4.23', '3.5.16', '3.5.25']) assert.match(versionWarning(version)!, /3\.5\.26/);
  for (const version of ['3.5.26', '3.5.30', '3.6.0-rc.1', '3.7.1', '4.0.0'])
    assert.equal(versionWarning(version), undefined);
  assert.deepEqual(['3.3.25', '2.3.8', '3.4.0'].map(isTooOld), [true, true, false]);
  for (const version of ['3.4.31', '3.5.13', '3.6.0', '4.0.0']) assert.ok(hasTrueProgress(version), version);
  for (const version of ['3.4.23', '3.4.30', '3.5.0', '3.5.12', '3.3.99', undefined])
    assert.ok(!hasTrueProgress(version), version);
});

test('words of etcd that its tests cannot bring about here', () => {
  const said = (details: string): string =>
    classifyFailure({ code: 3, details, message: details } as ServiceError, { doing: 'write', endpoint: 'e' })
      .error.message;
  assert.match(said('etcdserver: user name is empty'), /common name is a user of etcd/);
  assert.match(said('etcdserver: no leader'), /lost its quorum/);
  assert.match(said('etcdserver: rpc not supported for learner'), /etcdctl member promote/);
  assert.match(said('etcdserver: corrupt cluster'), /remove and add it anew/);
});
