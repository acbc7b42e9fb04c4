/** A listener that closes answers what it was asked before, however long that takes within its patience. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:http2';
import { Agent, request } from 'node:https';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAuthority, issueCertificate } from '#pki/certificate.ts';
import { silentLogger } from '#stdx/log.ts';
import { createTlsListener, type TlsListener } from './listener.ts';

const nowMs = Date.now(),
  lifetimeMs = 3_600_000;
const { certificatePem: cert, keyPem: key } = issueCertificate(
  createAuthority({ commonName: 'own', nowMs, lifetimeMs }),
  { subject: { commonName: 'server' }, usages: ['serverAuth'], nowMs, lifetimeMs },
);

/** Holds requests until they are let go. */
async function holding(): Promise<{
  readonly listener: TlsListener;
  readonly url: string;
  readonly held: Promise<void>;
  letGo(): void;
}> {
  const held = Promise.withResolvers<void>(),
    release = Promise.withResolvers<void>();
  const listener = createTlsListener({
    handler: async () => {
      held.resolve();
      await release.promise;
      return { status: 200, headers: {}, body: Buffer.from('done') };
    },
    tls: { cert, key },
    log: silentLogger,
  });
  const { port } = await listener.listen({ host: '127.0.0.1', port: 0 });
  return { listener, url: `https://127.0.0.1:${port}`, held: held.promise, letGo: release.resolve };
}

const GRACE_MS = 20;

test('a request over HTTP/2 is answered, though it takes longer than the grace for reading answers', async () => {
  const { listener, url, held, letGo } = await holding();
  const session = connect(url, { rejectUnauthorized: false });
  const stream = session.request({ ':path': '/' });
  await held;
  const closing = listener.close({ drainMs: 30_000, graceMs: GRACE_MS });
  await sleep(5 * GRACE_MS);
  letGo();
  const [headers] = (await once(stream, 'response')) as [Record<string, number>];
  assert.equal(headers[':status'], 200);
  assert.equal(Buffer.concat(await stream.toArray()).toString(), 'done');
  await closing;
});

test('a request over HTTP/1.1 is answered, and its connection takes no other', async () => {
  const { listener, url, held, letGo } = await holding();
  const agent = new Agent({ keepAlive: true, rejectUnauthorized: false });
  const asking = request(url, { agent });
  asking.end();
  const answered = once(asking, 'response');
  await held;
  const closing = listener.close({ drainMs: 30_000, graceMs: GRACE_MS });
  await sleep(5 * GRACE_MS);
  letGo();
  const [response] = (await answered) as [IncomingMessage];
  assert.equal(response.statusCode, 200);
  assert.equal(response.headers.connection, 'close');
  response.resume();
  await closing;
  agent.destroy();
});

test('a request that is never answered is cut off after the patience', async () => {
  const { listener, url, held } = await holding();
  const session = connect(url, { rejectUnauthorized: false });
  session.on('error', () => {});
  const stream = session.request({ ':path': '/' });
  const failed = once(stream, 'close');
  stream.on('error', () => {});
  await held;
  await listener.close({ drainMs: 50, graceMs: GRACE_MS });
  await failed;
});
