/** The client against a real HTTPS server: what it sends, whom it trusts, how each failure is named, what is tried again. */
import assert from 'node:assert/strict';
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { startWebhookPeer, type WebhookPeer } from '#testing/webhook-peer.ts';
import {
  createKubeconfigClient,
  WebhookCallError,
  withRetries,
  type KubeconfigClient,
  type WebhookFailure,
} from './kubeconfig-client.ts';

let peer: WebhookPeer;
let client: KubeconfigClient;
before(async () => {
  peer = await startWebhookPeer(() => ({ body: { ok: true } }));
  client = createKubeconfigClient({ file: peer.kubeconfig });
});
beforeEach(() => peer.answer(() => ({ body: { ok: true } })));
after(async () => {
  client.close();
  await peer.stop();
});

const failsAs =
  (failure: WebhookFailure, text: RegExp, status = 0) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof WebhookCallError, String(error));
    assert.equal(error.failure, failure, error.message);
    assert.match(error.message, text);
    assert.equal(error.status, status);
    return true;
  };

test('posts JSON to exactly the URL, with the client certificate, over a kept connection', async () => {
  assert.deepEqual(await client.post({ a: 1 }, { timeoutMs: 5000 }), { ok: true });
  const call = peer.calls.at(-1);
  assert.deepEqual(call?.body, { a: 1 });
  assert.equal(call?.path, '/webhook');
  assert.equal(call?.clientName, 'kube-apiserver');
  assert.equal(call?.headers['content-type'], 'application/json');
  assert.equal(call?.headers.authorization, undefined);
});

describe('each failure has a name', () => {
  const cases: readonly {
    readonly name: string;
    readonly answer: Parameters<WebhookPeer['answer']>[0];
    readonly failure: WebhookFailure;
    readonly says: RegExp;
    readonly status?: number;
    readonly timeoutMs?: number;
  }[] = [
    {
      name: 'a status',
      answer: () => ({ status: 403 }),
      failure: 'status',
      says: /^Post "https:\/\/127\.0\.0\.1:\d+\/webhook": the server answered 403$/,
      status: 403,
    },
    {
      name: 'no JSON',
      answer: () => ({ body: 'hello' }),
      failure: 'malformed',
      says: /the answer is no JSON/,
    },
    {
      name: 'too long',
      answer: () => ({ body: `"${'x'.repeat(5 * 1024 * 1024)}"` }),
      failure: 'malformed',
      says: /longer than 4194304 bytes/,
    },
    {
      name: 'cut off',
      answer: () => ({ status: 0 }),
      failure: 'reset',
      says: /socket hang up|ECONNRESET|closed before/,
    },
    {
      name: 'silence',
      answer: () => new Promise(() => {}),
      failure: 'timeout',
      says: /context deadline exceeded/,
      timeoutMs: 50,
    },
  ];
  for (const { name, answer, failure, says, status = 0, timeoutMs = 5000 } of cases) {
    test(name, async () => {
      peer.answer(answer);
      await assert.rejects(client.post({}, { timeoutMs }), failsAs(failure, says, status));
    });
  }

  test('canceled by the caller', async () => {
    const controller = new AbortController();
    peer.answer(() => {
      controller.abort();
      return new Promise(() => {});
    });
    await assert.rejects(
      client.post({}, { timeoutMs: 5000, signal: controller.signal }),
      failsAs('canceled', /context canceled/),
    );
  });

  test('nobody listens', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const file = join(peer.dir, 'nobody');
    writeFileSync(
      file,
      readFileSync(peer.kubeconfig, 'utf8').replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${port}`),
    );
    const nobody = createKubeconfigClient({ file });
    await assert.rejects(nobody.post({}, { timeoutMs: 5000 }), failsAs('connection', /ECONNREFUSED/));
    nobody.close();
  });

  test('a server of another authority is not trusted', async () => {
    const file = join(peer.dir, 'untrusted');
    writeFileSync(
      file,
      readFileSync(peer.kubeconfig, 'utf8').replace(/ +certificate-authority-data: .*\n/, ''),
    );
    const untrusting = createKubeconfigClient({ file });
    await assert.rejects(untrusting.post({}, { timeoutMs: 5000 }), failsAs('connection', /certificate/));
    untrusting.close();
  });
});

test('tries again what upstream tries again, up to five times, and waits longer when told to', async () => {
  const tries = async (
    status: number,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly calls: number; readonly waits: readonly number[] }> => {
    peer.answer(() => ({ status, headers }));
    const before = peer.calls.length;
    const waits: number[] = [];
    const clock = {
      ...new FakeClock(),
      sleep: (ms: number) => {
        waits.push(ms);
        return Promise.resolve();
      },
    } as unknown as FakeClock;
    await assert.rejects(withRetries(() => client.post({}, { timeoutMs: 5000 }), { clock }));
    return { calls: peer.calls.length - before, waits };
  };
  for (const status of [429, 500, 504, 0]) assert.equal((await tries(status)).calls, 5, String(status));
  for (const status of [400, 401, 403, 404, 503])
    assert.equal((await tries(status)).calls, 1, String(status));
  const told = await tries(503, { 'retry-after': '3' });
  assert.equal(told.calls, 5);
  assert.ok(
    told.waits.every((ms) => ms >= 3000),
    String(told.waits),
  );
  const { waits } = await tries(500);
  [500, 750, 1125, 1687.5].forEach((ms, index) =>
    assert.ok(waits[index]! >= ms && waits[index]! <= ms * 1.2, String(waits)),
  );
});

test('a changed token file is read again', async () => {
  const clock = new FakeClock();
  const token = join(peer.dir, 'token');
  writeFileSync(token, 'one\n');
  const file = join(peer.dir, 'with-token');
  writeFileSync(
    file,
    readFileSync(peer.kubeconfig, 'utf8')
      .replace(/ +client-certificate-data: .*\n/, '')
      .replace(/client-key-data: .*/, 'tokenFile: token'),
  );
  const bearer = createKubeconfigClient({ file, clock });
  await bearer.post({}, { timeoutMs: 5000 });
  assert.equal(peer.calls.at(-1)?.headers.authorization, 'Bearer one');
  writeFileSync(token, 'second');
  utimesSync(token, 1, 1);
  clock.advanceSync(11_000);
  await bearer.post({}, { timeoutMs: 5000 });
  assert.equal(peer.calls.at(-1)?.headers.authorization, 'Bearer second');
  bearer.close();
});

describe('files that cannot be used are refused in one sentence', () => {
  const text = (): string => readFileSync(peer.kubeconfig, 'utf8');
  const cases: readonly { readonly name: string; readonly content: () => string; readonly says: RegExp }[] = [
    { name: 'no YAML', content: () => 'a: [', says: /not valid YAML/ },
    { name: 'empty', content: () => '', says: /no cluster is configured/ },
    {
      name: 'another cluster',
      content: () => text().replace('cluster: "webhook"', 'cluster: "other"'),
      says: /no cluster is configured/,
    },
    {
      name: 'no URL',
      content: () => text().replace(/server: .*/, 'server: somewhere'),
      says: /server is "somewhere"; it should be an https:\/\/ URL/,
    },
    {
      name: 'an exec plugin',
      content: () => text().replace(/client-key-data: .*/, 'exec: {}'),
      says: /exec of user "kube-apiserver" is not supported/,
    },
    {
      name: 'half a pair',
      content: () => text().replace(/ +client-key-data: .*\n/, ''),
      says: /client-certificate and client-key go together/,
    },
  ];
  for (const { name, content, says } of cases) {
    test(name, () => {
      const file = join(peer.dir, 'bad');
      writeFileSync(file, content());
      assert.throws(() => createKubeconfigClient({ file }), says);
    });
  }
  test('absent', () =>
    assert.throws(
      () => createKubeconfigClient({ file: '/nonexistent/k' }),
      /Cannot read kubeconfig \/nonexistent\/k/,
    ));
});
