import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { GrpcConnection, type UnaryCall } from './grpc-connection.ts';

const NO_TLS = { ca: null, key: null, cert: null };
const REQUEST = {
  path: '/p.S/M',
  message: Buffer.from('ping'),
  metadata: { hasleader: 'true' },
  timeoutMs: 5_000,
};

function framed(text: string): Buffer {
  const frame = Buffer.alloc(5 + text.length);
  frame.writeUInt32BE(text.length, 1);
  frame.write(text, 5);
  return frame;
}

/** Answers as a gRPC server does. */
function answer(
  stream: ServerHttp2Stream,
  body: Buffer,
  trailers: Readonly<Record<string, string>> = {},
): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', ...trailers }));
  stream.end(body);
}

describe('gRPC to one member', () => {
  let server: Http2Server;
  let connection: GrpcConnection;
  const sessions: ServerHttp2Session[] = [];

  async function connectTo(
    behave: (stream: ServerHttp2Stream, headers: Readonly<Record<string, unknown>>) => void,
  ): Promise<GrpcConnection> {
    server = createServer();
    server.on('session', (session) => sessions.push(session));
    server.on('stream', behave);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    connection = new GrpcConnection({
      url: new URL(`http://127.0.0.1:${port}`),
      readTls: () => NO_TLS,
      maxReceivedBytes: 1_000,
      keepaliveMs: 30_000,
      keepaliveTimeoutMs: 10_000,
    });
    await becomesReady();
    return connection;
  }

  async function becomesReady(): Promise<void> {
    while (!connection.ready) await new Promise((resolve) => setImmediate(resolve));
  }

  const fails = ({ answer: promise }: UnaryCall, code: status, details: RegExp): Promise<void> =>
    assert.rejects(promise, (error: { code: status; details: string }) => {
      assert.equal(error.code, code);
      assert.match(error.details, details);
      return true;
    });

  afterEach(() => {
    connection.close();
    for (const session of sessions.splice(0)) session.destroy();
    server.close();
  });

  it('sends one message with its metadata and returns the response', async () => {
    let seen: unknown;
    await connectTo((stream, headers) => {
      stream.once('data', (chunk: Buffer) => {
        seen = [
          headers[':path'],
          headers['hasleader'],
          headers['grpc-timeout'],
          chunk.subarray(5).toString(),
        ];
        answer(stream, framed('pong'));
      });
    });
    assert.equal((await connection.call(REQUEST).answer).toString(), 'pong');
    assert.deepEqual(seen, ['/p.S/M', 'true', '5000m', 'ping']);
  });

  it('reports the status of the server, from trailers and from headers alone', async () => {
    await connectTo((stream, headers) =>
      headers[':path'] === '/trailers'
        ? answer(stream, Buffer.alloc(0), { 'grpc-status': '8', 'grpc-message': 'database space%20exceeded' })
        : stream.respond(
            { ':status': 200, 'grpc-status': '14', 'grpc-message': 'etcdserver: no leader' },
            { endStream: true },
          ),
    );
    await fails(
      connection.call({ ...REQUEST, path: '/trailers' }),
      status.RESOURCE_EXHAUSTED,
      /^database space exceeded$/,
    );
    await fails(connection.call(REQUEST), status.UNAVAILABLE, /no leader/);
  });

  it('refuses what is no gRPC, cut short or too long', async () => {
    const bodies: Readonly<Record<string, Buffer>> = {
      '/short': framed('pong').subarray(0, 7),
      '/two': Buffer.concat([framed('a'), framed('b')]),
      '/compressed': Buffer.from([1, 0, 0, 0, 1, 65]),
      '/empty': Buffer.alloc(0),
      '/long': framed('x'.repeat(2_000)),
    };
    await connectTo((stream, headers) => {
      const body = bodies[String(headers[':path'])];
      if (body) answer(stream, body);
      else stream.respond({ ':status': 404 }, { endStream: true });
    });
    for (const path of ['/short', '/two', '/compressed', '/empty'])
      await fails(connection.call({ ...REQUEST, path }), status.INTERNAL, /not one uncompressed message/);
    await fails(
      connection.call({ ...REQUEST, path: '/long' }),
      status.RESOURCE_EXHAUSTED,
      /larger than 1000 bytes/,
    );
    await fails(connection.call(REQUEST), status.UNAVAILABLE, /HTTP status 404/);
  });

  it('fails calls at their deadline, when cancelled and when the connection is lost, and connects again', async () => {
    await connectTo(() => {});
    await fails(connection.call({ ...REQUEST, timeoutMs: 30 }), status.DEADLINE_EXCEEDED, /within 0.03 s/);
    const cancelled = connection.call(REQUEST);
    cancelled.cancel();
    await fails(cancelled, status.CANCELLED, /cancelled/);
    const lost = connection.call(REQUEST);
    await once(server, 'stream');
    sessions[0]!.destroy();
    await fails(lost, status.UNAVAILABLE, /lost before the answer/);
    assert.equal(connection.ready, false);
    await becomesReady();
    assert.equal(sessions.length, 2);
  });

  it('lets calls under way end after GOAWAY and uses a new connection for the next', async () => {
    const streams: ServerHttp2Stream[] = [];
    await connectTo((stream) => void streams.push(stream));
    const before = connection.call(REQUEST);
    await once(server, 'stream');
    sessions[0]!.goaway();
    while (connection.ready) await new Promise((resolve) => setImmediate(resolve));
    answer(streams[0]!, framed('pong'));
    assert.equal((await before.answer).toString(), 'pong');
    await becomesReady();
    assert.equal(sessions.length, 2);
  });
});
