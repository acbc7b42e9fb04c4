import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tls from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { describe, it, type TestContext } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { DirectHandler } from './direct.ts';
import { createHttpsTransport } from './https.ts';
import { makeAuthority } from '#testing/certificates.ts';
import { transportSuite } from './transport.suite.ts';
import { isTransportError } from './transport-error.ts';

type Request = IncomingMessage | http2.Http2ServerRequest;
type Response = ServerResponse | http2.Http2ServerResponse;

const authority = makeAuthority();

/** A minimal server that passes requests to a handler, with back-pressure and aborts. */
async function listen(
  kind: 'http2' | 'http1',
  handler: DirectHandler,
): Promise<{ server: string; stop(): Promise<void>; dropConnections(): void }> {
  const { cert, key } = authority.issue({ commonName: 'server', addresses: ['127.0.0.1'] });
  const tlsOptions = { cert, key, ca: authority.cert, requestCert: true, rejectUnauthorized: false };
  const onRequest = (request: Request, response: Response): void =>
    void carry(handler, { request, response });
  const server =
    kind === 'http2'
      ? http2.createSecureServer({ ...tlsOptions, settings: { maxConcurrentStreams: 100 } }, onRequest)
      : https.createServer(tlsOptions, onRequest);
  const sockets = new Set<TLSSocket>();
  server.on('secureConnection', (socket: TLSSocket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const dropConnections = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    dropConnections,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        dropConnections();
      }),
  };
}

async function carry(
  handler: DirectHandler,
  { request, response }: { readonly request: Request; readonly response: Response },
): Promise<void> {
  const closed = (): boolean => response.destroyed || response.closed === true;
  const closeCallbacks: (() => void)[] = [];
  response.on('error', () => {});
  response.setMaxListeners(0);
  response.on('close', () => {
    for (const callback of closeCallbacks) callback();
  });
  const [path = '', query = ''] = (request.url ?? '').split('?');
  const socket = request.socket as TLSSocket;
  const answer = await handler({
    method: request.method ?? '',
    path,
    query,
    headers: {
      ...(request.headers as Record<string, string>),
      'x-client': String(socket.getPeerCertificate?.().subject?.CN ?? ''),
    },
    async body() {
      const chunks: Buffer[] = [];
      for await (const chunk of request as IncomingMessage) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks);
    },
    onAbort: (callback) => void closeCallbacks.push(callback),
    remoteAddress: '127.0.0.1',
  });
  (response as ServerResponse).writeHead(answer.status, answer.headers);
  if (typeof answer.body !== 'function') {
    response.end(Buffer.isBuffer(answer.body) ? answer.body : Buffer.concat(answer.body as Buffer[]));
    return;
  }
  answer.body({
    write: (chunk) => closed() || (response as ServerResponse).write(chunk),
    drained: () =>
      new Promise((resolve) => {
        response.once('drain', resolve);
        response.once('close', resolve);
      }),
    get bufferedBytes() {
      return response.writableLength;
    },
    end: () => void response.end(),
    get closed() {
      return closed();
    },
    onClose: (callback) => void closeCallbacks.push(callback),
  });
}

for (const kind of ['http2', 'http1'] as const) {
  transportSuite(`https over ${kind}`, async (handler) => {
    const listening = await listen(kind, handler);
    const transport = createHttpsTransport({ server: listening.server, ca: authority.cert });
    return {
      transport,
      stop: async () => {
        await transport.close();
        await listening.stop();
      },
    };
  });
}

describe('https transport', () => {
  const echo =
    (header: string): DirectHandler =>
    (request) =>
      Promise.resolve({ status: 200, headers: {}, body: Buffer.from(request.headers[header] ?? '') });

  async function setUp(
    t: TestContext,
    {
      handler,
      options = {},
    }: { handler: DirectHandler; options?: Partial<Parameters<typeof createHttpsTransport>[0]> },
  ) {
    const listening = await listen('http2', handler);
    const transport = createHttpsTransport({ server: listening.server, ca: authority.cert, ...options });
    t.after(async () => {
      await transport.close();
      await listening.stop();
    });
    const get = async (): Promise<string> =>
      (await (await transport.request({ method: 'GET', path: '/' })).bytes()).toString();
    return { ...listening, transport, get };
  }

  it('sends a bearer token, and reads its file again when it changes', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'capstan-https-'));
    t.after(() => rm(folder, { recursive: true }));
    const tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'first\n');
    const clock = new FakeClock();
    const { get } = await setUp(t, { handler: echo('authorization'), options: { tokenFile, clock } });
    assert.equal(await get(), 'Bearer first');
    await writeFile(join(folder, 'new'), 'second, and longer');
    await rename(join(folder, 'new'), tokenFile);
    await clock.advance(1_000);
    assert.equal(await get(), 'Bearer second, and longer');
    await rm(tokenFile);
    await clock.advance(1_000);
    assert.equal(
      await get(),
      'Bearer second, and longer',
      'a file that is missing for a moment changes nothing',
    );
  });

  it('presents a client certificate, and a new one after reload, without failing open requests', async (t) => {
    const held = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    const first = authority.issue({ commonName: 'first' });
    const { transport, get } = await setUp(t, {
      options: first,
      handler: async (request) => {
        if (request.path === '/held') {
          arrived.resolve();
          await held.promise;
        }
        return { status: 200, headers: {}, body: Buffer.from(request.headers['x-client'] ?? '') };
      },
    });
    assert.equal(await get(), 'first');
    const open = transport.request({ method: 'GET', path: '/held' });
    await arrived.promise;
    transport.reload({ ca: authority.cert, ...authority.issue({ commonName: 'second' }) });
    assert.equal(await get(), 'second');
    held.resolve();
    assert.equal((await (await open).bytes()).toString(), 'first');
  });

  it('reconnects after the connection broke', async (t) => {
    const { get, dropConnections } = await setUp(t, {
      handler: () => Promise.resolve({ status: 200, headers: {}, body: Buffer.from('ok') }),
    });
    assert.equal(await get(), 'ok');
    dropConnections();
    assert.equal(await get(), 'ok');
  });

  it('retries a GET whose connection broke before the response, but no write', async (t) => {
    const arrivals: string[] = [];
    const { transport, get, dropConnections } = await setUp(t, {
      handler: (request) => {
        arrivals.push(request.method);
        if (arrivals.length === 1 || request.method === 'POST') dropConnections();
        return Promise.resolve({ status: 200, headers: {}, body: Buffer.from('ok') });
      },
    });
    assert.equal(await get(), 'ok', 'the first connection of all was cut');
    await assert.rejects(transport.request({ method: 'POST', path: '/', body: '{}' }), (error) =>
      isTransportError(error, 'reset'),
    );
    assert.deepEqual(arrivals, ['GET', 'GET', 'POST']);
  });

  it('retries a write whose connection was closed before it was open', async (t) => {
    const { server, stop } = await listen('http2', (request) =>
      Promise.resolve({ status: 200, headers: {}, body: Buffer.from(request.method) }),
    );
    t.after(stop);
    let accepted = 0;
    // A load balancer without a backend for the first connection.
    const balancer = createServer((socket) => {
      accepted += 1;
      if (accepted === 1) return socket.destroy();
      const upstream = connect(Number(new URL(server).port), '127.0.0.1');
      upstream.on('error', () => socket.destroy());
      socket.pipe(upstream).pipe(socket);
      return socket.on('error', () => upstream.destroy()).on('close', () => upstream.destroy());
    });
    await new Promise<void>((resolve) => balancer.listen(0, '127.0.0.1', resolve));
    t.after(() => balancer.close());
    const transport = createHttpsTransport({
      server: `https://127.0.0.1:${(balancer.address() as AddressInfo).port}`,
      ca: authority.cert,
    });
    t.after(() => transport.close());
    const response = await transport.request({ method: 'POST', path: '/', body: '{}' });
    assert.equal((await response.bytes()).toString(), 'POST');
    assert.equal(accepted, 2);
  });

  it('fails a stream when its connection breaks', async (t) => {
    for (const kind of ['http2', 'http1'] as const) {
      const { server, stop, dropConnections } = await listen(kind, () =>
        Promise.resolve({ status: 200, headers: {}, body: (sink) => void sink.write(Buffer.from('.')) }),
      );
      const transport = createHttpsTransport({ server, ca: authority.cert });
      t.after(async () => {
        await transport.close();
        await stop();
      });
      const response = await transport.request({ method: 'GET', path: '/' });
      await assert.rejects(
        async () => {
          for await (const _chunk of response.stream()) dropConnections();
        },
        (error) => isTransportError(error, 'reset'),
        kind,
      );
    }
  });

  it('keeps a response that completed before it was read', async (t) => {
    const { transport } = await setUp(t, {
      handler: () => Promise.resolve({ status: 200, headers: {}, body: Buffer.alloc(1_000) }),
    });
    const responses = await Promise.all(
      Array.from({ length: 50 }, () => transport.request({ method: 'GET', path: '/' })),
    );
    await transport.request({ method: 'GET', path: '/' }).then((response) => response.bytes());
    for (const response of responses) assert.equal((await response.bytes()).length, 1_000);
  });

  it('opens another connection when streams run out', async (t) => {
    const { transport } = await setUp(t, {
      handler: () =>
        Promise.resolve({ status: 200, headers: {}, body: (sink) => void sink.write(Buffer.from('.')) }),
    });
    const responses = [];
    for (let opened = 0; opened < 250; opened += 1)
      responses.push(await transport.request({ method: 'GET', path: '/' }));
    assert.equal(responses.length, 250);
  });

  it('reports refused without a listener, and tls for an untrusted certificate', async (t) => {
    const { server, stop } = await listen('http2', echo('x'));
    const other = createHttpsTransport({ server });
    await assert.rejects(other.request({ method: 'GET', path: '/' }), (error) =>
      isTransportError(error, 'tls'),
    );
    const careless = createHttpsTransport({ server, insecureSkipVerify: true });
    t.after(() => careless.close());
    assert.equal((await careless.request({ method: 'GET', path: '/' })).status, 200);
    await stop();
    await assert.rejects(createHttpsTransport({ server }).request({ method: 'GET', path: '/' }), (error) =>
      isTransportError(error, 'refused'),
    );
  });

  it('times out on a server that does not respond', async (t) => {
    const clock = new FakeClock();
    const arrived = Promise.withResolvers<void>();
    const { transport } = await setUp(t, {
      options: { clock, timeoutMs: 5_000 },
      handler: () => {
        arrived.resolve();
        return new Promise(() => {});
      },
    });
    const rejected = assert.rejects(transport.request({ method: 'GET', path: '/' }), (error) =>
      isTransportError(error, 'timeout'),
    );
    await arrived.promise;
    await clock.advance(5_000);
    await rejected;
  });

  it('closes a connection whose pings are not answered', async (t) => {
    const arrived = Promise.withResolvers<void>();
    const sockets = new Set<TLSSocket>();
    const server = tls.createServer(
      { ...authority.issue({ commonName: 'deaf', addresses: ['127.0.0.1'] }), ALPNProtocols: ['h2'] },
      (socket) => {
        sockets.add(socket);
        socket.on('error', () => {});
        socket.on('data', () => arrived.resolve());
        // An empty SETTINGS frame, and nothing else.
        socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
      },
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const clock = new FakeClock();
    const transport = createHttpsTransport({
      server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
      ca: authority.cert,
      clock,
    });
    t.after(async () => {
      await transport.close();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    const rejected = assert.rejects(
      transport.request({ method: 'POST', path: '/', body: '{}' }),
      (error) => isTransportError(error, 'reset') && error.message.includes('does not answer pings'),
    );
    await arrived.promise;
    await clock.advance(45_000);
    await rejected;
  });
});
