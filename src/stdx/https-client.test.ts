/** The HTTPS client against Node's server: connection reuse, pools, shutdown, and error messages. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { makeAuthority } from '#testing/certificates.ts';
import { HttpsClient, readBody, type Destination, type IncomingAnswer } from './https-client.ts';

const authority = makeAuthority();

interface Peer {
  readonly to: Destination;
  readonly server: Server;
  /** Connections to the server. */
  readonly sockets: Set<Socket>;
}

async function peer(t: TestContext, listener: RequestListener, commonName = 'localhost'): Promise<Peer> {
  const { cert, key } = authority.issue({ commonName, addresses: ['127.0.0.1'] });
  const server = createServer({ cert, key }, listener);
  const sockets = new Set<Socket>();
  server.on('secureConnection', (socket: Socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { to: { host: '127.0.0.1', port, tls: { ca: authority.cert } }, server, sockets };
}

function clientFor(t: TestContext, options = {}): HttpsClient {
  const client = new HttpsClient(options);
  t.after(() => client.destroy());
  return client;
}

const get = (to: Destination, more = {}) => ({ to, method: 'GET', path: '/', headers: {}, ...more });

async function text(answer: IncomingAnswer): Promise<string> {
  const bytes = await readBody(answer, { maximumBytes: 1000, tooLong: () => new Error('too long') });
  return bytes.toString();
}

test('reuses a connection for the next request; each set of credentials has its own', async (t) => {
  const { to, sockets } = await peer(t, (_, response) => response.end('ok'));
  const client = clientFor(t, { maximumSockets: 1 });
  for (let n = 0; n < 3; n++) assert.equal(await text(await client.request(get(to))), 'ok');
  assert.equal(sockets.size, 1);
  await text(
    await client.request(get({ ...to, tls: { ...to.tls, ...authority.issue({ commonName: 'me' }) } })),
  );
  await text(await client.request(get({ ...to, tls: { rejectUnauthorized: false } })));
  assert.equal(sockets.size, 3);
});

test('verifies certificates by CA and name', async (t) => {
  const { to } = await peer(t, (_, response) => response.end('ok'));
  const client = clientFor(t);
  await assert.rejects(client.request(get({ ...to, tls: {} })), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  const named = (servername: string) => get({ ...to, tls: { ...to.tls, servername } });
  await assert.rejects(client.request(named('elsewhere.svc')), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  await assert.rejects(client.request({ ...named('elsewhere.svc'), headers: { host: '127.0.0.1' } }), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  });
  assert.equal((await client.request(get(to, { headers: { host: 'elsewhere.svc' } }))).status, 200);
});

test('plain HTTP, streamed bodies, repeated headers, and a status', async (t) => {
  const server = createHttpServer((request, response) => {
    response.writeHead(202, { 'set-cookie': ['a=1', 'b=2'], 'x-utf8': Buffer.from('ü').toString('latin1') });
    request.pipe(response);
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const to: Destination = {
    protocol: 'http:',
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
  };
  const client = clientFor(t);
  const answer = await client.request({ ...get(to), method: 'POST', body: Readable.from(['one ', 'two']) });
  assert.equal(answer.status, 202);
  assert.equal(answer.statusText, 'Accepted');
  assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2']);
  assert.equal(Buffer.from(answer.headers['x-utf8'] as string, 'latin1').toString(), 'ü');
  assert.equal(await text(answer), 'one two');
});

test('replaces a kept connection that the server closed, where the request may be retried', async (t) => {
  const paths: string[] = [];
  const { to, sockets } = await peer(t, (request, response) => {
    paths.push(request.url!);
    if (request.url === '/second' && sockets.size === 1) request.socket.destroy();
    else response.end('ok');
  });
  const client = clientFor(t, { maximumSockets: 1 });
  await text(await client.request(get(to)));
  const body = Buffer.from('{}');
  const answer = await client.request({ ...get(to), method: 'POST', path: '/second', body, repeats: true });
  assert.equal(await text(answer), 'ok');
  assert.deepEqual(paths, ['/', '/second', '/second']);
});

test('a connection that is closed before its first response fails any request', async (t) => {
  const { to, sockets } = await peer(t, (request) => request.socket.destroy());
  const client = clientFor(t);
  await assert.rejects(client.request(get(to, { repeats: true })), {
    code: 'ECONNRESET',
    message: 'socket hang up',
  });
  assert.equal(sockets.size, 1);
});

test('a request that must not be retried fails on a closed connection', async (t) => {
  let count = 0;
  const { to } = await peer(t, (request, response) => {
    if (++count === 2) request.socket.destroy();
    else response.end('ok');
  });
  const client = clientFor(t, { maximumSockets: 1 });
  await text(await client.request(get(to)));
  await assert.rejects(client.request(get(to)), { code: 'ECONNRESET' });
});

test('a signal ends a request that waits for a connection, the response, or its body', async (t) => {
  const { to, sockets } = await peer(t, (request, response) => {
    if (request.url === '/rest') response.write('some');
  });
  const client = clientFor(t, { maximumSockets: 1 });
  const abort = new AbortController();
  const first = client.request(get(to, { signal: abort.signal }));
  const queued = client.request(get(to, { signal: AbortSignal.timeout(20) }));
  await assert.rejects(queued, { name: 'TimeoutError' });
  abort.abort(new Error('enough'));
  await assert.rejects(first, /enough/);
  const rest = new AbortController();
  const answer = await client.request(get(to, { path: '/rest', signal: rest.signal }));
  rest.abort(new Error('no more'));
  await assert.rejects(text(answer), /no more/);
  await assert.rejects(client.request(get(to, { signal: AbortSignal.abort(new Error('over')) })), /over/);
  assert.ok(sockets.size >= 2);
});

test('limits the size of a response', async (t) => {
  const { to } = await peer(t, (_, response) => response.end('x'.repeat(1001)));
  const client = clientFor(t);
  await assert.rejects(client.request(get(to)).then(text), /too long/);
});

test('bounds the number of pools; the one that was idle longest is closed after its requests', async (t) => {
  let finish: (() => void) | undefined;
  const held = await peer(t, (_, response) => {
    response.write('begin ');
    finish = () => response.end('end');
  });
  const other = await peer(t, (_, response) => response.end('ok'));
  const client = clientFor(t, { maximumPools: 1 });
  const answer = await client.request(get(held.to));
  assert.equal(await text(await client.request(get(other.to))), 'ok');
  const [socket] = held.sockets;
  finish!();
  assert.equal(await text(answer), 'begin end');
  if (!socket!.destroyed) await once(socket!, 'close');
});

test('retiring closes idle connections, destroying aborts requests too', async (t) => {
  const asked = Promise.withResolvers<void>();
  const { to, sockets } = await peer(t, (request, response) => {
    if (request.url === '/') response.end('ok');
    else asked.resolve();
  });
  const client = clientFor(t);
  await text(await client.request(get(to)));
  const [socket] = sockets;
  client.retire();
  if (!socket!.destroyed) await once(socket!, 'close');
  assert.equal(await text(await client.request(get(to))), 'ok');
  const waiting = client.request(get(to, { path: '/never' }));
  const failed = assert.rejects(waiting);
  await asked.promise;
  client.destroy();
  await failed;
  await assert.rejects(client.request(get(to)), /the client is closed/);
});

test('timeouts and non-TLS servers fail with the messages of Node', async (t) => {
  const client = clientFor(t, { connectTimeoutMs: 50 });
  const plain = createTcpServer((socket) => {
    socket.on('error', () => {}).resume();
    socket.end('HTTP/1.1 200 OK\r\n\r\n');
  }).listen(0, '127.0.0.1');
  const silent = createTcpServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  await Promise.all([once(plain, 'listening'), once(silent, 'listening')]);
  t.after(() => {
    plain.close();
    silent.close();
  });
  const at = (server: { address(): unknown }) =>
    get({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  await assert.rejects(client.request(at(plain)), { code: 'ERR_SSL_WRONG_VERSION_NUMBER' });
  await assert.rejects(client.request(at(silent)), { code: 'ETIMEDOUT' });
  const { port } = plain.address() as AddressInfo;
  plain.close();
  await once(plain, 'close');
  await assert.rejects(client.request(get({ host: '127.0.0.1', port })), { code: 'ECONNREFUSED', port });
});
