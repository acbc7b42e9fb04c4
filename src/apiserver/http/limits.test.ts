import assert from 'node:assert/strict';
import type { webcrypto } from 'node:crypto';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import { test, type TestContext } from 'node:test';
import 'reflect-metadata';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import type { ListenerLimits } from './listener.ts';
import { ADMIN, startTestServer } from '../testing/server.ts';

async function selfSigned(): Promise<{ readonly cert: string; readonly key: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as {
    readonly publicKey: webcrypto.CryptoKey;
    readonly privateKey: webcrypto.CryptoKey;
  };
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=server',
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    extensions: [new SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return {
    cert: certificate.toString('pem'),
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  };
}

async function start(
  t: TestContext,
  limits: Partial<ListenerLimits> = {},
): Promise<{ readonly port: number; readonly ca: string }> {
  const tls = await selfSigned();
  const server = await startTestServer();
  t.after(() => server.stop());
  const { port } = await server.server.start({ host: '127.0.0.1', port: 0, tls, limits });
  return { port, ca: tls.cert };
}

function get(session: ClientHttp2Session, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':path': path });
    let status = 0;
    stream
      .on('response', (response) => (status = Number(response[':status'])))
      .on('error', reject)
      .on('end', () => resolve(status))
      .resume();
  });
}

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

function send(
  { port, ca }: { readonly port: number; readonly ca: string },
  { method = 'GET', path = '/version', headers = {}, body }: Sent,
): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      { host: '127.0.0.1', port, ca, method, path, headers: { connection: 'close', ...headers } },
      (response) => {
        let text = '';
        response
          .setEncoding('utf8')
          .on('data', (chunk: string) => (text += chunk))
          .on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    request.on('error', reject).end(body);
  });
}

test('a client that is sent away has its answer first, and is served on a new connection', async (t) => {
  const { port, ca } = await start(t, { goawayChance: 1 });
  for (let round = 0; round < 2; round++) {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca });
    const closed = new Promise<number>((resolve) => session.on('goaway', resolve));
    const [first, second] = await Promise.all([get(session, '/version'), get(session, '/api')]);
    assert.deepEqual([first, second], [200, 200], 'requests under way are answered');
    assert.equal(await closed, 0, 'without an error');
    session.destroy();
  }
});

test('too long a body is 413, too many bytes of headers are 431', async (t) => {
  const to = await start(t, { maxHeaderBytes: 64 * 1024 });
  const long = Buffer.alloc(3 * 1024 * 1024 + 1, 0x20);
  const refused = await send(to, {
    method: 'POST',
    path: '/api/v1/namespaces',
    headers: { 'content-type': 'application/json', 'content-length': String(long.length) },
    body: long,
  });
  const { reason, message, code } = JSON.parse(refused.text) as {
    reason: string;
    message: string;
    code: number;
  };
  assert.deepEqual(
    [refused.status, reason, message, code],
    [413, 'RequestEntityTooLarge', 'Request entity too large: limit is 3145728', 413],
  );
  assert.equal((await send(to, { headers: { 'x-long': 'x'.repeat(70_000) } })).status, 431);
  const session = connectHttp2(`https://127.0.0.1:${to.port}`, { ca: to.ca });
  t.after(() => session.destroy());
  session.on('error', () => {});
  await assert.rejects(
    new Promise((resolve, reject) => {
      session
        .request({
          ':path': '/version',
          ...Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-long-${i}`, 'x'.repeat(4000)])),
        })
        .on('response', resolve)
        .on('error', reject);
    }),
    'HTTP/2 refuses it, too',
  );
});

test('selectors may be as long as upstream takes them: headers up to a MiB', async (t) => {
  const to = await start(t);
  assert.equal(
    (await send(to, { path: `/api/v1/namespaces?labelSelector=a%20in%20(${'x,'.repeat(250_000)}y)` })).status,
    200,
  );
  assert.equal((await send(to, { headers: { 'x-long': 'x'.repeat(1_100_000) } })).status, 431);
});

test('HTTP/1.1: a client that goes away while it waits is known of; others leave nothing behind on their connection', async (t) => {
  const tls = await selfSigned();
  const gone: string[] = [];
  let arrived = (): void => {};
  const arrival = new Promise<void>((resolve) => (arrived = resolve));
  const server = await startTestServer({
    authentication: () => ({
      authenticator: {
        authenticate: async (request) => {
          request.onAbort(() => gone.push(request.query));
          if (request.query === 'waits') {
            arrived();
            await new Promise(() => {});
          }
          return { user: ADMIN };
        },
      },
    }),
  });
  t.after(() => server.stop());
  const warnings: Error[] = [];
  const warn = (warning: Error): void => void warnings.push(warning);
  process.on('warning', warn);
  t.after(() => process.off('warning', warn));
  const { port } = await server.server.start({ host: '127.0.0.1', port: 0, tls });
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: tls.cert });
  t.after(() => agent.destroy());
  for (let i = 0; i < 20; i++) {
    await new Promise<void>((resolve, reject) =>
      httpsRequest({ host: '127.0.0.1', port, agent, path: `/version?n${i}` }, (response) =>
        response.on('end', () => resolve()).resume(),
      )
        .on('error', reject)
        .end(),
    );
  }
  const waiting = httpsRequest({ host: '127.0.0.1', port, agent, path: '/version?waits' });
  waiting.on('error', () => {}).end();
  await arrival;
  waiting.destroy();
  while (gone.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(gone, ['waits']);
  assert.deepEqual(warnings, []);
});
