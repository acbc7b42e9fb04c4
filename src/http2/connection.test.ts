/** HTTP/2 over plain sockets on loopback: Node's own client for what is right, bytes of ours for what is wrong. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { ResponseSink } from '#stdx/response-sink.ts';
import type { Http2Patience } from './bounds.ts';
import type { Http2Handler, Http2Request, Http2Response } from './exchange.ts';
import {
  ErrorCode,
  Flag,
  FrameType,
  PREFACE,
  resetFrame,
  Setting,
  settingsFrame,
  windowUpdateFrame,
} from './frames.ts';
import {
  END,
  frame,
  GET,
  headers,
  literal,
  POST,
  RawClient,
  START,
  type SeenFrame,
} from './testing/raw-client.ts';
import { startHttp2Server, TEST_LIMITS, type TestHttp2Server } from './testing/server.ts';

/** For tests of who takes too long: set before its client connects. */
let patience: Partial<Http2Patience & { readonly idleMs: number }> = {};
const BODY_LIMIT = 8 * 1024 * 1024;

let handler: Http2Handler;
let server: TestHttp2Server;
let port: number;

before(async () => {
  server = await startHttp2Server(
    (request) => handler(request),
    () => ({ ...patience, patience }),
  );
  ({ port } = server);
});
after(() => server.close());

function echo(request: Http2Request): Promise<Http2Response> {
  return request
    .body(BODY_LIMIT)
    .then((body) => ({ status: 200, headers: { 'x-path': request.path, 'x-query': request.query }, body }));
}

async function withSession(
  use: (session: ClientHttp2Session) => Promise<void>,
  options: object = {},
): Promise<void> {
  const session = connectHttp2(`http://127.0.0.1:${port}`, options);
  session.on('error', () => {});
  try {
    await use(session);
  } finally {
    session.destroy();
  }
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

async function exchange(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body?: Buffer,
): Promise<Answer> {
  const stream = session.request(headers, { endStream: body === undefined });
  if (body) stream.end(body);
  return answerOf(stream);
}

async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: Record<string, string> = {};
  const chunks: Buffer[] = [];
  stream.on('response', (response) => (headers = response as unknown as Record<string, string>));
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'end');
  return { status: Number(headers[':status']), headers, body: Buffer.concat(chunks) };
}

// ----------------------------------------------------------------------------------------------------- what is right

test('cookies of a proxied backend are lines of their own', async () => {
  handler = () =>
    Promise.resolve({
      status: 200,
      headers: {},
      repeated: { 'set-cookie': ['a=1', 'b=2, c'] },
      body: Buffer.from('x'),
    });
  await withSession(async (session) =>
    assert.deepEqual((await exchange(session, { ':path': '/' })).headers['set-cookie'], ['a=1', 'b=2, c']),
  );
});

test('bodies of all sizes come back as they were sent, many at once', async () => {
  handler = echo;
  await withSession(
    async (session) => {
      const sizes = [0, 1, 9, 16_383, 16_384, 16_385, 65_535, 65_536, 300_000, 2_000_000, 5_000_000];
      const bodies = [...sizes, ...sizes].map((size) => randomBytes(size));
      const answers = await Promise.all(
        bodies.map((body, index) => exchange(session, { ':method': 'POST', ':path': `/${index}?a=b` }, body)),
      );
      answers.forEach(({ status, headers, body }, index) => {
        assert.equal(status, 200);
        assert.equal(headers['x-path'], `/${index}`);
        assert.equal(headers['x-query'], 'a=b');
        assert.equal(Number(headers['content-length']), bodies[index]!.length);
        assert.ok(body.equals(bodies[index]!), `body ${index}`);
      });
    },
    { maxSessionMemory: 100 },
  );
});

test('any header fields arrive as they were sent, whatever the client compresses', async () => {
  handler = (request) =>
    Promise.resolve({ status: 200, headers: {}, body: Buffer.from(JSON.stringify(request.headers)) });
  await withSession(async (session) => {
    const name = fc.stringMatching(/^x-[a-z0-9-]{1,30}$/),
      value = fc.stringMatching(/^[!-~]([ -~]{0,200}[!-~])?$/);
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, value, { maxKeys: 20 }), async (fields) => {
        const { body } = await exchange(session, { ':path': '/', ...fields });
        const seen = JSON.parse(body.toString()) as Record<string, string>;
        for (const [field, text] of Object.entries(fields)) assert.equal(seen[field], text, field);
      }),
      { numRuns: 200 },
    );
  });
});

test('pieces, streams and empty bodies', async () => {
  handler = ({ path }) =>
    Promise.resolve<Http2Response>(
      path === '/pieces'
        ? { status: 200, headers: {}, body: Array.from({ length: 20_000 }, (_, i) => Buffer.from(`${i},`)) }
        : path === '/stream'
          ? { status: 200, headers: {}, body: (sink) => void writeSlowly(sink) }
          : { status: 200, headers: {}, body: Buffer.alloc(0) },
    );
  async function writeSlowly(sink: ResponseSink): Promise<void> {
    for (let i = 0; i < 200; i++) if (!sink.write(Buffer.alloc(10_000, i))) await sink.drained();
    sink.end();
  }
  await withSession(async (session) => {
    const [pieces, stream, empty] = await Promise.all(
      ['/pieces', '/stream', '/empty'].map((path) => exchange(session, { ':path': path })),
    );
    assert.equal(pieces!.body.toString(), Array.from({ length: 20_000 }, (_, i) => `${i},`).join(''));
    assert.equal(stream!.body.length, 2_000_000);
    assert.equal(stream!.body[1_995_000], 199);
    assert.equal(empty!.body.length, 0);
    const head = await exchange(session, { ':path': '/pieces', ':method': 'HEAD' });
    assert.equal(head.body.length, 0);
    assert.equal(Number(head.headers['content-length']), pieces!.body.length);
  });
});

test('a reader that stops holds up nobody else, and not more than a bound is kept for it', async () => {
  let sink: ResponseSink | undefined;
  handler = ({ path }) =>
    Promise.resolve(
      path === '/watch'
        ? { status: 200, headers: {}, body: (given) => (sink = given) }
        : { status: 200, headers: {}, body: Buffer.alloc(100_000) },
    );
  await withSession(async (session) => {
    const watch = session.request({ ':path': '/watch' });
    watch.pause();
    await once(watch, 'response');
    let written = 0;
    while (sink!.write(Buffer.alloc(10_000)) && written < 1000) written++;
    assert.ok(written < 100, `${written} writes were taken`);
    assert.equal((await exchange(session, { ':path': '/' })).body.length, 100_000);
    const closed = new Promise<void>((resolve) => sink!.onClose(resolve));
    watch.close();
    await closed;
    assert.equal(sink!.write(Buffer.from('x')), false);
  });
});

test('a body that is too large is refused while it is sent; one that breaks off is', async () => {
  const { promise: brokenOff, resolve: breaksOff } = Promise.withResolvers<void>();
  handler = (request) =>
    request.body(100_000).then(
      () => ({ status: 200, headers: {}, body: Buffer.from('ok') }),
      (error: Error) => {
        if (/went away/.test(error.message)) breaksOff();
        return { status: 413, headers: {}, body: Buffer.from('too large') };
      },
    );
  await withSession(async (session) => {
    assert.equal(
      (await exchange(session, { ':method': 'POST', ':path': '/' }, randomBytes(3_000_000))).status,
      413,
    );
    assert.equal(
      (
        await exchange(
          session,
          { ':method': 'POST', ':path': '/', 'content-length': '3000000' },
          randomBytes(3_000_000),
        )
      ).status,
      413,
    );
    assert.equal(
      (await exchange(session, { ':method': 'POST', ':path': '/' }, randomBytes(100_000))).status,
      200,
    );
    const half = session.request({ ':method': 'POST', ':path': '/' });
    half.on('error', () => {});
    half.write('half');
    await new Promise<void>((resolve) => session.ping(() => resolve()));
    half.destroy();
    await brokenOff;
  });
});

test('shutdown lets requests under way end and takes no new ones', async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  handler = async ({ path }) => {
    if (path === '/held') await held;
    return { status: 200, headers: {}, body: Buffer.from(path) };
  };
  await withSession(async (session) => {
    await exchange(session, { ':path': '/first' });
    const under = session.request({ ':path': '/held' });
    const answer = answerOf(under);
    await new Promise<void>((resolve) => session.ping(() => resolve()));
    const goaway = once(session, 'goaway');
    for (const connection of server.connections) connection.shutdown();
    await goaway;
    const gone = once(session, 'close');
    release();
    assert.equal((await answer).body.toString(), '/held');
    await gone;
  });
});

// ----------------------------------------------------------------------------------------------------- what is wrong

const CONNECTION_FAULTS: readonly [what: string, bytes: Uint8Array[], code: number][] = [
  ['no preface', [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')], ErrorCode.protocolError],
  ['no SETTINGS first', [PREFACE, headers(1)], ErrorCode.protocolError],
  [
    'a frame above 16,384 bytes',
    [START, frame(FrameType.data, { streamId: 1, payload: Buffer.alloc(16_385) })],
    ErrorCode.frameSizeError,
  ],
  ['HEADERS on stream 0', [START, headers(0)], ErrorCode.protocolError],
  ['HEADERS on an even stream', [START, headers(2)], ErrorCode.protocolError],
  ['a stream number that goes back', [START, headers(5), headers(3)], ErrorCode.protocolError],
  [
    'DATA on stream 0',
    [START, frame(FrameType.data, { payload: Buffer.from('x') })],
    ErrorCode.protocolError,
  ],
  [
    'DATA on an idle stream',
    [START, frame(FrameType.data, { streamId: 1, payload: Buffer.from('x') })],
    ErrorCode.protocolError,
  ],
  ['RST_STREAM on an idle stream', [START, resetFrame(1, 0)], ErrorCode.protocolError],
  [
    'RST_STREAM of three bytes',
    [START, headers(1), frame(FrameType.rstStream, { streamId: 1, payload: Buffer.alloc(3) })],
    ErrorCode.frameSizeError,
  ],
  ['WINDOW_UPDATE on an idle stream', [START, windowUpdateFrame(1, 1)], ErrorCode.protocolError],
  ['WINDOW_UPDATE by nothing', [START, windowUpdateFrame(0, 0)], ErrorCode.protocolError],
  [
    'a connection window beyond the largest',
    [START, windowUpdateFrame(0, 2 ** 31 - 1)],
    ErrorCode.flowControlError,
  ],
  [
    'PUSH_PROMISE',
    [START, frame(FrameType.pushPromise, { streamId: 1, payload: Buffer.alloc(4) })],
    ErrorCode.protocolError,
  ],
  ['SETTINGS on a stream', [START, frame(FrameType.settings, { streamId: 1 })], ErrorCode.protocolError],
  [
    'SETTINGS of five bytes',
    [START, frame(FrameType.settings, { payload: Buffer.alloc(5) })],
    ErrorCode.frameSizeError,
  ],
  [
    'SETTINGS acknowledged with content',
    [START, frame(FrameType.settings, { flags: Flag.ack, payload: Buffer.alloc(6) })],
    ErrorCode.frameSizeError,
  ],
  [
    'an initial window beyond the largest',
    [PREFACE, settingsFrame([[Setting.initialWindowSize, 2 ** 31]])],
    ErrorCode.flowControlError,
  ],
  [
    'a largest frame that is too small',
    [PREFACE, settingsFrame([[Setting.maxFrameSize, 100]])],
    ErrorCode.protocolError,
  ],
  ['ENABLE_PUSH of 2', [PREFACE, settingsFrame([[Setting.enablePush, 2]])], ErrorCode.protocolError],
  [
    'PING of seven bytes',
    [START, frame(FrameType.ping, { payload: Buffer.alloc(7) })],
    ErrorCode.frameSizeError,
  ],
  [
    'PING on a stream',
    [START, frame(FrameType.ping, { streamId: 1, payload: Buffer.alloc(8) })],
    ErrorCode.protocolError,
  ],
  [
    'PRIORITY of four bytes',
    [START, frame(FrameType.priority, { streamId: 1, payload: Buffer.alloc(4) })],
    ErrorCode.frameSizeError,
  ],
  [
    'CONTINUATION of nothing',
    [START, frame(FrameType.continuation, { streamId: 1, flags: Flag.endHeaders })],
    ErrorCode.protocolError,
  ],
  [
    'a header block that is interrupted',
    [START, headers(1, GET, Flag.endStream), frame(FrameType.ping, { payload: Buffer.alloc(8) })],
    ErrorCode.protocolError,
  ],
  [
    'a header block that goes on in another stream',
    [
      START,
      headers(1, GET, Flag.endStream),
      frame(FrameType.continuation, { streamId: 3, flags: Flag.endHeaders }),
    ],
    ErrorCode.protocolError,
  ],
  [
    'padding longer than its frame',
    [START, headers(1, Buffer.from([200, ...GET]), END | Flag.padded)],
    ErrorCode.protocolError,
  ],
  ['an index beyond the table', [START, headers(1, Buffer.from([0x80 | 62]))], ErrorCode.compressionError],
  ['index 0', [START, headers(1, Buffer.from([0x80]))], ErrorCode.compressionError],
  [
    'a table larger than allowed',
    [START, headers(1, Buffer.from([0x3f, 0xff, 0xff, 0x7f, ...GET]))],
    ErrorCode.compressionError,
  ],
  [
    'a table size update in the middle',
    [START, headers(1, Buffer.from([...GET, 0x20]))],
    ErrorCode.compressionError,
  ],
  [
    'a string that is cut off',
    [START, headers(1, Buffer.from([0x40, 0x0a, 0x61]))],
    ErrorCode.compressionError,
  ],
  [
    'a number without end',
    [START, headers(1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]))],
    ErrorCode.compressionError,
  ],
  [
    'Huffman code with the end of the string in it',
    [START, headers(1, Buffer.from([0x40, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00]))],
    ErrorCode.compressionError,
  ],
  [
    'Huffman code padded by a whole byte',
    [START, headers(1, Buffer.from([0x40, 0x82, 0x1f, 0xff, 0x00]))],
    ErrorCode.compressionError,
  ],
  [
    'CONTINUATION without end',
    [
      START,
      headers(1, GET, 0),
      ...Array.from({ length: 100 }, () => frame(FrameType.continuation, { streamId: 1 })),
    ],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'a header block of a megabyte',
    [
      START,
      headers(1, GET, 0),
      ...Array.from({ length: 60 }, () =>
        frame(FrameType.continuation, { streamId: 1, payload: Buffer.alloc(16_384) }),
      ),
    ],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'requests given up by the thousand',
    [
      START,
      ...Array.from({ length: 3000 }, (_, i) =>
        Buffer.concat([headers(i * 2 + 1), resetFrame(i * 2 + 1, ErrorCode.cancel)]),
      ),
    ],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'pings by the ten thousand',
    [START, ...Array.from({ length: 30_000 }, () => frame(FrameType.ping, { payload: Buffer.alloc(8) }))],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'windows for nothing by the ten thousand',
    [START, ...Array.from({ length: 30_000 }, () => windowUpdateFrame(0, 1))],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'settings by the ten thousand',
    [START, ...Array.from({ length: 30_000 }, () => settingsFrame([]))],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'one SETTINGS frame that repeats a window size',
    [START, settingsFrame(Array.from({ length: 2730 }, (_, i) => [Setting.initialWindowSize, 65_535 + i]))],
    ErrorCode.protocolError,
  ],
  [
    'one setting twice in a frame',
    [
      START,
      settingsFrame([
        [Setting.initialWindowSize, 1],
        [Setting.initialWindowSize, 2],
      ]),
    ],
    ErrorCode.protocolError,
  ],
  [
    'more than a hundred settings in a frame',
    [START, settingsFrame(Array.from({ length: 101 }, (_, i) => [0x100 + i, 1]))],
    ErrorCode.protocolError,
  ],
  [
    'acknowledgements of settings by the ten thousand',
    [START, ...Array.from({ length: 30_000 }, () => frame(FrameType.settings, { flags: 1, streamId: 0 }))],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'priorities by the ten thousand',
    [
      START,
      ...Array.from({ length: 30_000 }, () =>
        frame(FrameType.priority, { streamId: 1, payload: Buffer.alloc(5) }),
      ),
    ],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'frames of unknown types by the ten thousand',
    [START, ...Array.from({ length: 30_000 }, () => frame(0x77, {}))],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'DATA of padding alone by the ten thousand',
    [
      START,
      headers(1, POST, Flag.endHeaders),
      ...Array.from({ length: 30_000 }, () =>
        frame(FrameType.data, { streamId: 1, flags: Flag.padded, payload: Buffer.from([0]) }),
      ),
    ],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'HEADERS by the ten thousand on a stream that was reset',
    [START, headers(1, Buffer.from([0x86, 0x84])), ...Array.from({ length: 30_000 }, () => headers(1))],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'windows of streams that are closed, by the ten thousand',
    [
      START,
      headers(1, Buffer.from([0x86, 0x84])),
      ...Array.from({ length: 30_000 }, () => windowUpdateFrame(1, 1)),
    ],
    ErrorCode.enhanceYourCalm,
  ],
  [
    'empty DATA by the ten thousand',
    [
      START,
      headers(1, POST, Flag.endHeaders),
      ...Array.from({ length: 30_000 }, () => frame(FrameType.data, { streamId: 1 })),
    ],
    ErrorCode.enhanceYourCalm,
  ],
];

test('whoever breaks the protocol is sent away with its code, and the next client is served', async () => {
  handler = echo;
  for (const [what, bytes, code] of CONNECTION_FAULTS) {
    const client = new RawClient(port);
    client.send(...bytes);
    const goaway = await client.frame(({ type }) => type === FrameType.goaway);
    assert.ok(goaway, `${what}: GOAWAY`);
    assert.equal(goaway.payload.readUInt32BE(4), code, `${what}: ${goaway.payload.subarray(8).toString()}`);
    if (!client.closed) await once(client.socket, 'close');
  }
  await withSession(async (session) => assert.equal((await exchange(session, { ':path': '/' })).status, 200));
});

const REQUEST_FAULTS: readonly [what: string, bytes: Uint8Array[], code: number][] = [
  ['no method', [headers(1, Buffer.from([0x86, 0x84]))], ErrorCode.protocolError],
  ['two paths', [headers(1, Buffer.from([...GET, 0x84]))], ErrorCode.protocolError],
  [
    'an unknown pseudo field',
    [headers(1, Buffer.concat([GET, literal(':protocol', 'websocket')]))],
    ErrorCode.protocolError,
  ],
  ['a status in a request', [headers(1, Buffer.from([...GET, 0x88]))], ErrorCode.protocolError],
  [
    'a pseudo field after others',
    [headers(1, Buffer.concat([Buffer.from([0x82, 0x86]), literal('x-a', 'b'), Buffer.from([0x84])]))],
    ErrorCode.protocolError,
  ],
  [
    'a method with a blank',
    [headers(1, Buffer.concat([literal(':method', 'GET /x'), Buffer.from([0x86, 0x84])]))],
    ErrorCode.protocolError,
  ],
  [
    'a path with a blank',
    [headers(1, Buffer.concat([Buffer.from([0x82, 0x86]), literal(':path', '/x HTTP/1.1')]))],
    ErrorCode.protocolError,
  ],
  [
    'a path with a tab',
    [headers(1, Buffer.concat([Buffer.from([0x82, 0x86]), literal(':path', '/x\ty')]))],
    ErrorCode.protocolError,
  ],
  [
    'a path that is none',
    [headers(1, Buffer.concat([Buffer.from([0x82, 0x86]), literal(':path', 'http://x/')]))],
    ErrorCode.protocolError,
  ],
  [
    'capital letters in a name',
    [headers(1, Buffer.concat([GET, literal('X-Remote-User', 'admin')]))],
    ErrorCode.protocolError,
  ],
  [
    'a line end in a value',
    [headers(1, Buffer.concat([GET, literal('x-a', 'b\r\nimpersonate-user: admin')]))],
    ErrorCode.protocolError,
  ],
  ['a NUL in a value', [headers(1, Buffer.concat([GET, literal('x-a', 'b\0')]))], ErrorCode.protocolError],
  [
    'connection fields',
    [headers(1, Buffer.concat([GET, literal('transfer-encoding', 'chunked')]))],
    ErrorCode.protocolError,
  ],
  [
    'two lengths',
    [
      headers(
        1,
        Buffer.concat([POST, literal('content-length', '1'), literal('content-length', '2')]),
        Flag.endHeaders,
      ),
    ],
    ErrorCode.protocolError,
  ],
  [
    'a length that is no number',
    [headers(1, Buffer.concat([POST, literal('content-length', '-1')]), Flag.endHeaders)],
    ErrorCode.protocolError,
  ],
  [
    'more than declared',
    [
      headers(1, Buffer.concat([POST, literal('content-length', '1')]), Flag.endHeaders),
      frame(FrameType.data, { streamId: 1, payload: Buffer.from('xx') }),
    ],
    ErrorCode.protocolError,
  ],
  [
    'less than declared',
    [
      headers(1, Buffer.concat([POST, literal('content-length', '3')]), Flag.endHeaders),
      frame(FrameType.data, { streamId: 1, flags: Flag.endStream, payload: Buffer.from('xx') }),
    ],
    ErrorCode.protocolError,
  ],
  [
    'no body where one is declared',
    [headers(1, Buffer.concat([POST, literal('content-length', '3')]))],
    ErrorCode.protocolError,
  ],
  [
    'trailers that do not end',
    [headers(1, POST, Flag.endHeaders), headers(1, literal('x-a', 'b'), Flag.endHeaders)],
    ErrorCode.protocolError,
  ],
  [
    'a stream window beyond the largest',
    [headers(1, POST, Flag.endHeaders), windowUpdateFrame(1, 2 ** 31 - 1)],
    ErrorCode.flowControlError,
  ],
  [
    'a stream window by nothing',
    [headers(1, POST, Flag.endHeaders), windowUpdateFrame(1, 0)],
    ErrorCode.protocolError,
  ],
];

test('a malformed request is reset and never reaches the handler; its connection goes on', async () => {
  const seen: string[] = [];
  handler = async (request) => {
    const { length } = await request.body(BODY_LIMIT).catch(() => Buffer.alloc(0));
    if (length > 0 || request.method === 'GET') seen.push(JSON.stringify(request.headers));
    return { status: 200, headers: {}, body: Buffer.from('ok') };
  };
  for (const [what, bytes, code] of REQUEST_FAULTS) {
    const client = new RawClient(port);
    client.send(START, ...bytes);
    const reset = await client.frame(({ type, streamId }) => type === FrameType.rstStream && streamId === 1);
    assert.ok(reset, `${what}: RST_STREAM`);
    assert.equal(reset.payload.readUInt32BE(0), code, what);
    client.send(headers(3));
    assert.ok(
      await client.frame(({ type, streamId }) => type === FrameType.headers && streamId === 3),
      `${what}: the connection goes on`,
    );
    client.socket.destroy();
  }
  assert.deepEqual(
    seen,
    REQUEST_FAULTS.map(() => '{}'),
  );
});

test('fields beyond the limit are 431, more streams than allowed are refused, flow control is kept', async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  let running = 0,
    most = 0;
  handler = async () => {
    most = Math.max(most, ++running);
    await held;
    running--;
    return { status: 200, headers: {}, body: Buffer.alloc(50_000) };
  };
  const client = new RawClient(port);
  client.send(
    PREFACE,
    settingsFrame([[Setting.initialWindowSize, 0]]),
    headers(1, Buffer.concat([GET, literal('x-a', 'b'.repeat(16_200))]), END),
    headers(
      3,
      Buffer.concat([GET, ...Array.from({ length: 200 }, (_, i) => literal(`x-${i}`, 'b'.repeat(50)))]),
      END,
    ),
  );
  const tooLarge = await client.frame(({ type, streamId }) => type === FrameType.headers && streamId === 3);
  assert.equal(tooLarge?.payload.includes('431'), true);
  client.send(...Array.from({ length: 60 }, (_, i) => headers(5 + i * 2)));
  const refused = await client.frame(({ type, streamId }) => type === FrameType.rstStream && streamId > 3);
  assert.equal(refused?.payload.readUInt32BE(0), ErrorCode.refusedStream);
  assert.ok(most <= TEST_LIMITS.maxConcurrentStreams, `${most} at once`);
  release();
  assert.ok(await client.frame(({ type, streamId }) => type === FrameType.headers && streamId === 5));
  client.send(frame(FrameType.ping, { payload: Buffer.alloc(8) }));
  await client.frame(({ type, flags }) => type === FrameType.ping && flags === Flag.ack);
  const data = (): SeenFrame[] =>
    client.frames.filter(({ type, streamId }) => type === FrameType.data && streamId === 5);
  assert.equal(data().length, 0);
  client.send(windowUpdateFrame(5, 100));
  await client.frame(({ type, streamId }) => type === FrameType.data && streamId === 5);
  assert.equal(data()[0]!.payload.length, 100);
  client.send(windowUpdateFrame(5, 60_000));
  await client.frame(
    ({ type, streamId, flags }) =>
      type === FrameType.data && streamId === 5 && (flags & Flag.endStream) !== 0,
  );
  assert.equal(
    data().reduce((sum, { payload }) => sum + payload.length, 0),
    50_000,
  );
  client.socket.destroy();
});

async function withPatience(shorter: typeof patience, use: () => Promise<void>): Promise<void> {
  patience = shorter;
  try {
    await use();
  } finally {
    patience = {};
  }
}

async function isClosed(client: RawClient): Promise<void> {
  // An error that comes before is no matter.
  if (!client.closed) await new Promise((resolve) => client.socket.once('close', resolve));
}

test('who does not begin, does not finish, or only pings is cut off', () =>
  withPatience({ startMs: 40, frameMs: 40, lingerMs: 40, idleMs: 80 }, async () => {
    handler = echo;
    const half = headers(1, GET, Flag.endStream);
    const LINGERING: readonly [what: string, bytes: Uint8Array[]][] = [
      ['nothing', []],
      ['half a preface', [PREFACE.subarray(0, 10)]],
      ['no settings', [PREFACE]],
      ['half a frame', [START, headers(1).subarray(0, 10)]],
      ['half a header block', [START, half]],
      [
        "half a body's frame",
        [
          START,
          headers(1, POST, Flag.endHeaders),
          frame(FrameType.data, { streamId: 1, payload: Buffer.alloc(100) }).subarray(0, 50),
        ],
      ],
      ['nothing more', [START, headers(1)]],
    ];
    await Promise.all(
      LINGERING.map(async ([what, bytes]) => {
        const client = new RawClient(port);
        if (bytes.length > 0) client.send(...bytes);
        await isClosed(client);
        assert.ok(client.closed, what);
      }),
    );
    const pinging = new RawClient(port);
    pinging.send(START);
    const timer = setInterval(() => pinging.send(frame(FrameType.ping, { payload: Buffer.alloc(8) })), 10);
    await isClosed(pinging);
    clearInterval(timer);
    assert.ok(
      pinging.frames.some(({ type }) => type === FrameType.goaway),
      'told before',
    );
  }));

test('a block that goes on bit by bit is not given more time for each bit', () =>
  withPatience({ frameMs: 60 }, async () => {
    handler = echo;
    const client = new RawClient(port);
    client.send(START, headers(1, GET, Flag.endStream));
    const timer = setInterval(() => client.send(frame(FrameType.continuation, { streamId: 1 })), 15);
    const goaway = await client.frame(({ type }) => type === FrameType.goaway);
    clearInterval(timer);
    assert.equal(goaway?.payload.readUInt32BE(4), ErrorCode.enhanceYourCalm);
    await isClosed(client);
  }));

test('an answer that does not wait for the whole request leaves time to read it', async () => {
  handler = () => Promise.resolve({ status: 403, headers: {}, body: Buffer.from('no') });
  const client = new RawClient(port);
  client.send(START, headers(1, POST, Flag.endHeaders), headers(3, POST, Flag.endHeaders));
  assert.ok(
    await client.frame(
      ({ type, streamId, flags }) =>
        type === FrameType.data && streamId === 3 && (flags & Flag.endStream) !== 0,
    ),
  );
  client.send(
    frame(FrameType.data, { streamId: 1, payload: Buffer.alloc(1000) }),
    frame(FrameType.data, { streamId: 1, flags: Flag.endStream }),
  );
  const reset = await client.frame(({ type }) => type === FrameType.rstStream);
  assert.deepEqual(
    [reset?.streamId, reset?.payload.readUInt32BE(0)],
    [3, ErrorCode.noError],
    'only who goes on and on is stopped',
  );
  client.socket.destroy();
});

test('an answer of which nothing is taken is given up; one that is taken slowly is not', () =>
  withPatience({ stallMs: 100, stallBytes: 100 }, async () => {
    handler = () => Promise.resolve({ status: 200, headers: {}, body: Buffer.alloc(1000) });
    const client = new RawClient(port);
    client.send(PREFACE, settingsFrame([[Setting.initialWindowSize, 0]]), headers(1), headers(3));
    const timer = setInterval(() => client.send(windowUpdateFrame(3, 100)), 25);
    const reset = await client.frame(({ type }) => type === FrameType.rstStream);
    assert.equal(reset?.streamId, 1);
    assert.ok(
      await client.frame(
        ({ type, streamId, flags }) =>
          type === FrameType.data && streamId === 3 && (flags & Flag.endStream) !== 0,
      ),
    );
    clearInterval(timer);
    client.socket.destroy();
  }));

test('who takes a stream piece by piece may go on giving its windows back', async () => {
  const ROUNDS = 7_000;
  let next = Promise.withResolvers<void>();
  handler = () =>
    Promise.resolve({
      status: 200,
      headers: {},
      body: (sink) =>
        void (async () => {
          for (let round = 0; round < ROUNDS; round += 1) {
            const turn = (next = Promise.withResolvers<void>());
            sink.write(Buffer.alloc(4096));
            await turn.promise;
          }
          sink.end();
        })(),
    });
  const client = new RawClient(port);
  client.send(START, headers(1));
  let seen = 0;
  // As Go's client does, once for the stream and once for the connection; nothing else is under way then.
  client.onFrame = ({ type, payload }) => {
    if (type !== FrameType.data || payload.length === 0) return;
    seen += payload.length;
    client.send(windowUpdateFrame(1, payload.length), windowUpdateFrame(0, payload.length));
    next.resolve();
  };
  const last = await client.frame(
    ({ type, flags }) =>
      type === FrameType.goaway || (type === FrameType.data && (flags & Flag.endStream) !== 0),
  );
  assert.equal(last?.type, FrameType.data);
  assert.equal(seen, ROUNDS * 4096);
  client.socket.destroy();
});

test('answers that are not taken count as requests under way', async () => {
  let asked = 0;
  handler = () => {
    asked++;
    return Promise.resolve({ status: 200, headers: {}, body: Buffer.alloc(1000) });
  };
  const client = new RawClient(port);
  client.send(
    PREFACE,
    settingsFrame([[Setting.initialWindowSize, 0]]),
    ...Array.from({ length: 200 }, (_, i) => headers(i * 2 + 1)),
    frame(FrameType.ping, { payload: Buffer.alloc(8) }),
  );
  assert.ok(await client.frame(({ type }) => type === FrameType.ping));
  assert.equal(asked, TEST_LIMITS.maxConcurrentStreams);
  assert.equal(
    client.frames.filter(
      ({ type, payload }) =>
        type === FrameType.rstStream && payload.readUInt32BE(0) === ErrorCode.refusedStream,
    ).length,
    200 - TEST_LIMITS.maxConcurrentStreams,
  );
  client.socket.destroy();
});

test('who makes the server reset its requests is counted as who resets them', async () => {
  handler = echo;
  const client = new RawClient(port);
  client.send(START);
  for (let i = 0; i < 3000 && !client.closed; i += 40) {
    client.send(
      ...Array.from({ length: 40 }, (_, j) =>
        Buffer.concat([
          headers((i + j) * 2 + 1, POST, Flag.endHeaders),
          windowUpdateFrame((i + j) * 2 + 1, 0),
        ]),
      ),
    );
    await client.frame(
      ({ type, streamId }) =>
        type === FrameType.goaway || (type === FrameType.rstStream && streamId === (i + 39) * 2 + 1),
    );
  }
  const goaway = await client.frame(({ type }) => type === FrameType.goaway);
  assert.equal(goaway?.payload.readUInt32BE(4), ErrorCode.enhanceYourCalm);
  await isClosed(client);
});

test('from a client that does not read, no more is read than what was answered for it', async () => {
  handler = () =>
    Promise.resolve({ status: 200, headers: { 'x-long': 'x'.repeat(8000) }, body: Buffer.alloc(0) });
  const client = new RawClient(port);
  client.socket.pause();
  let answered = 0;
  const counting = handler;
  handler = (request) => {
    answered++;
    return counting(request);
  };
  client.send(START);
  for (let i = 0; i < 10_000; i += 40) {
    client.send(...Array.from({ length: 40 }, (_, j) => headers((i + j) * 2 + 1)));
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(answered < 5000, `${answered} answers are kept for it`);
  client.socket.resume();
  assert.ok(await client.frame(({ streamId }) => streamId === 19_999), 'and goes on when it does');
  client.socket.destroy();
});

test('a body of one byte a frame is kept as what it is', async () => {
  const bytes = 60_000;
  let before = 0;
  handler = async (request) => {
    const body = await request.body(BODY_LIMIT);
    return {
      status: 200,
      headers: { 'x-bytes': String(body.length), 'x-sum': String(body.reduce((sum, byte) => sum + byte, 0)) },
      body: Buffer.alloc(0),
    };
  };
  const client = new RawClient(port);
  client.send(START, headers(1, POST, Flag.endHeaders));
  before = process.memoryUsage().arrayBuffers;
  client.send(
    ...Array.from({ length: bytes }, (_, i) =>
      frame(FrameType.data, { streamId: 1, payload: Buffer.from([i % 7]) }),
    ),
  );
  client.send(frame(FrameType.data, { streamId: 1, flags: Flag.endStream }));
  const answer = await client.frame(({ type, streamId }) => type === FrameType.headers && streamId === 1);
  const sum = Array.from({ length: bytes }, (_, i) => i % 7).reduce((left, right) => left + right, 0);
  assert.ok(answer?.payload.includes(String(bytes)) && answer.payload.includes(String(sum)));
  assert.ok(process.memoryUsage().arrayBuffers - before < 64 * 2 ** 20);
  client.socket.destroy();
});

test('a client that waits for 100 (Continue) gets it when its body is wanted, and only then', async () => {
  const wanted: string[] = [];
  handler = async (request) => {
    if (request.path === '/refused') return { status: 403, headers: {}, body: Buffer.from('no') };
    wanted.push(request.path);
    return { status: 200, headers: {}, body: await request.body(BODY_LIMIT) };
  };
  await withSession(async (session) => {
    const stream = session.request({ ':method': 'POST', ':path': '/', expect: '100-continue' });
    const answer = answerOf(stream);
    await once(stream, 'continue');
    stream.end('body');
    assert.equal((await answer).body.toString(), 'body');
    const refused = session.request({ ':method': 'POST', ':path': '/refused', expect: '100-continue' });
    refused.on('continue', () => assert.fail('told to go on'));
    assert.equal((await answerOf(refused)).status, 403);
  });
  assert.deepEqual(wanted, ['/']);
});

test('a stream that is asked for by HEAD is let go at once', async () => {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  handler = () => Promise.resolve({ status: 200, headers: {}, body: (sink) => sink.onClose(end) });
  await withSession(async (session) => {
    assert.equal((await exchange(session, { ':path': '/', ':method': 'HEAD' })).status, 200);
    await ended;
  });
});

test('random bytes after the preface harm nobody', async () => {
  handler = echo;
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          type: fc.nat(12),
          flags: fc.nat(255),
          streamId: fc.nat(9),
          payload: fc.uint8Array({ maxLength: 60 }),
        }),
        { maxLength: 20 },
      ),
      async (frames) => {
        const client = new RawClient(port);
        client.send(
          START,
          ...frames.map(({ type, ...rest }) => frame(type, rest)),
          frame(FrameType.ping, { payload: Buffer.alloc(8, 7) }),
        );
        client.socket.end();
        if (!client.closed) await once(client.socket, 'close');
      },
    ),
    { numRuns: 300 },
  );
  await withSession(async (session) => assert.equal((await exchange(session, { ':path': '/' })).status, 200));
});
