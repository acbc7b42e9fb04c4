import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import {
  connect,
  createServer as createPlainServer,
  type AddressInfo,
  type Server,
  type Socket,
} from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { Http2Client, type StreamReceiver } from './client.ts';
import { ErrorCode, Setting, settingsFrame, windowUpdateFrame, writeFrameHeader } from './frames.ts';
import type { HeaderFields } from './request-header-encoder.ts';

const FIELDS: HeaderFields = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/one'],
  [':authority', 'test'],
  ['x-note', 'always the same'],
];

/** What came of one request. */
class Received implements StreamReceiver {
  readonly fields: Record<string, string> = {};
  readonly chunks: Buffer[] = [];
  readonly #closed = Promise.withResolvers<Error | undefined>();

  field(name: string, value: string): void {
    this.fields[name] = value;
  }
  data(chunk: Buffer): void {
    this.chunks.push(chunk);
  }
  closed(error?: Error): void {
    this.#closed.resolve(error);
  }

  get end(): Promise<Error | undefined> {
    return this.#closed.promise;
  }
  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }
}

async function collect(stream: ServerHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe('an HTTP/2 client connection', () => {
  let server: Http2Server | Server;
  let client: Http2Client;
  let socket: Socket;
  let retired = 0;
  const sessions: ServerHttp2Session[] = [];

  async function connectTo(
    behave: (stream: ServerHttp2Stream, headers: Readonly<Record<string, unknown>>) => void,
    settings: Readonly<Record<string, number>> = {},
  ): Promise<void> {
    const http = createServer({ settings });
    http.on('session', (session) => sessions.push(session)).on('stream', behave);
    await connectClient(http);
  }

  /** A server that is only frames. */
  async function connectToFrames(behave: (peer: Socket) => void): Promise<void> {
    await connectClient(
      createPlainServer((peer) => {
        peer.on('error', () => {});
        peer.write(settingsFrame([]));
        behave(peer);
      }),
    );
  }

  async function connectClient(listening: Http2Server | Server, keepaliveMs = 30_000): Promise<void> {
    server = listening;
    retired = 0;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    await new Promise<void>((resolve) => {
      client = new Http2Client(socket, {
        onReady: resolve,
        onRetired: () => void retired++,
        keepaliveMs,
        keepaliveTimeoutMs: keepaliveMs,
      });
    });
  }

  function post(body: string | Buffer, fields = FIELDS): Received {
    const received = new Received();
    client.request(fields, received, { body: Buffer.from(body) });
    return received;
  }

  afterEach(async () => {
    client.close();
    for (const session of sessions.splice(0)) session.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  it('sends requests whose headers repeat, and takes headers, body and trailers', async () => {
    await connectTo((stream, headers) => {
      void collect(stream).then((body) => {
        stream.respond({ ':status': 200, 'x-path': String(headers[':path']) }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-end': String(headers['x-note']) }));
        stream.end(`got ${body.toString()}`);
      });
    });
    const others = FIELDS.map(([name, value]) => [name, name === ':path' ? '/two' : value] as const);
    for (let round = 0; round < 4; round++)
      for (const fields of [FIELDS, others]) {
        const received = post(`round ${round}`, fields);
        assert.equal(await received.end, undefined);
        assert.equal(received.text, `got round ${round}`);
        assert.equal(received.fields['x-path'], fields === FIELDS ? '/one' : '/two');
        assert.equal(received.fields['x-end'], 'always the same');
      }
  });

  it('sends more fields than the table of the server holds, and none into one that is smaller', async () => {
    const echo = (stream: ServerHttp2Stream, headers: Readonly<Record<string, unknown>>): void =>
      stream.respond({ ':status': 200, 'x-path': String(headers[':path']) }, { endStream: true });
    for (const headerTableSize of [4096, 0]) {
      await connectTo(echo, { headerTableSize });
      for (let at = 0; at < 150; at++) {
        const received = post(
          '',
          FIELDS.map(([name, value]) => [name, name === ':path' ? `/path/${at}` : value]),
        );
        assert.equal(await received.end, undefined);
        assert.equal(received.fields['x-path'], `/path/${at}`);
        assert.equal(await post('').end, undefined);
      }
      client.close();
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it('keeps to the windows of the server, and gives its own back', async () => {
    const body = Buffer.alloc(1_000_000, 'abc');
    await connectTo((stream) => {
      void collect(stream).then((got) => {
        stream.respond({ ':status': 200 });
        // More than both windows of the client together.
        for (let at = 0; at < 24; at++) stream.write(got);
        stream.end();
      });
    });
    const received = [post(body), post(body)];
    for (const one of received) {
      assert.equal(await one.end, undefined);
      assert.equal(Buffer.concat(one.chunks).length, 24 * body.length);
      assert.ok(one.text.startsWith(body.toString()));
    }
  });

  it('lets requests beyond the limit of concurrent streams wait for their turn', async () => {
    let open = 0;
    let most = 0;
    await connectTo(
      (stream) => {
        most = Math.max(most, ++open);
        void collect(stream).then((body) =>
          setImmediate(() => {
            open--;
            stream.respond({ ':status': 200 });
            stream.end(body);
          }),
        );
      },
      { maxConcurrentStreams: 2 },
    );
    const received = Array.from({ length: 9 }, (_, at) => post(String(at)));
    for (const [at, one] of received.entries()) {
      assert.equal(await one.end, undefined);
      assert.equal(one.text, String(at));
    }
    assert.equal(most, 2);
  });

  it('writes to a stream that stays open, and cancels it', async () => {
    const { promise: reset, resolve } = Promise.withResolvers<number>();
    await connectTo((stream) => {
      stream.respond({ ':status': 200 });
      stream.on('data', (chunk: Buffer) => stream.write(`echo ${chunk.toString()};`));
      stream.on('error', () => {}).on('close', () => resolve(stream.rstCode));
    });
    const received = new Received();
    const stream = client.request(FIELDS, received);
    stream.write(Buffer.from('a'));
    while (received.text !== 'echo a;') await new Promise((next) => setImmediate(next));
    const mine = new Error('enough');
    stream.cancel(mine);
    assert.equal(await received.end, mine);
    assert.equal(await reset, ErrorCode.cancel);
  });

  it('fails what the server has reset, refused by GOAWAY or lost', async () => {
    const streams: ServerHttp2Stream[] = [];
    await connectTo((stream) => {
      stream.on('error', () => {});
      streams.push(stream);
    });
    const first = post('');
    while (streams.length < 1) await new Promise((next) => setImmediate(next));
    streams[0]!.close(ErrorCode.refusedStream);
    assert.match(String(await first.end), /reset the stream with code 7/);
    const second = post('');
    while (streams.length < 2) await new Promise((next) => setImmediate(next));
    sessions[0]!.goaway(0, streams[1]!.id!);
    while (retired === 0) await new Promise((next) => setImmediate(next));
    assert.equal(client.accepts, false);
    assert.throws(() => post(''), /takes no more requests/);
    streams[1]!.respond({ ':status': 200 });
    streams[1]!.end('still');
    assert.equal(await second.end, undefined);
    assert.equal(second.text, 'still');
    assert.equal(retired, 1);
  });

  const faults: readonly {
    readonly what: string;
    readonly send: (peer: Socket) => void;
    readonly error: RegExp;
  }[] = [
    {
      what: 'a frame that is too long',
      send: (peer) => void peer.write(Buffer.from('ffffff0000000000 00'.replace(' ', ''), 'hex')),
      error: /a frame of 16777215 bytes/,
    },
    {
      what: 'a window that grows too far',
      send: (peer) => void peer.write(windowUpdateFrame(0, 2 ** 31 - 1)),
      error: /a window that grows/,
    },
    {
      what: 'an initial window that is too large',
      send: (peer) => void peer.write(settingsFrame([[Setting.initialWindowSize, 2 ** 31]])),
      error: /an initial window/,
    },
    { what: 'a header block that never ends', send: endlessHeaders, error: /header block that is too large/ },
    {
      what: 'an interrupted header block',
      send: (peer) => {
        endlessHeaders(peer, 1);
        peer.write(windowUpdateFrame(0, 1));
      },
      error: /interrupted/,
    },
    {
      what: 'PUSH_PROMISE',
      send: (peer) => {
        const frame = Buffer.alloc(9);
        writeFrameHeader(frame, 0, { length: 0, type: 5, flags: 4, streamId: 1 });
        peer.write(frame);
      },
      error: /PUSH_PROMISE/,
    },
  ];
  for (const { what, send, error } of faults)
    it(`ends the connection for ${what}`, async () => {
      await connectToFrames((peer) => peer.once('data', () => send(peer)));
      assert.match(String(await post('').end), error);
      assert.equal(retired, 1);
    });

  it('asks a silent server by PING, and loses the connection where it does not answer', async () => {
    server = createPlainServer((peer) => {
      peer.on('error', () => {});
      peer.write(settingsFrame([]));
      peer.resume();
    });
    await connectClient(server as Server, 20);
    assert.match(String(await post('').end), /does not answer a PING/);
  });
});

/** HEADERS, and CONTINUATION frames without an end. */
function endlessHeaders(peer: Socket, continuations = 10): void {
  const part = Buffer.alloc(9 + 16_000);
  for (let at = 0; at < continuations; at++) {
    writeFrameHeader(part, 0, { length: 16_000, type: at === 0 ? 1 : 9, flags: 0, streamId: 1 });
    peer.write(Buffer.from(part));
  }
}
