/** The known attacks on HTTP/2 servers, each against the bound that holds it (bounds.ts); the client is one that reads what it is sent. */
import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import {
  MAX_CONTINUATIONS,
  MAX_HEADER_LIST_FACTOR,
  MAX_RESETS,
  MAX_UNPRODUCTIVE_FRAMES,
  RESETS_PER_SECOND,
  UNPRODUCTIVE_FRAMES_PER_SECOND,
} from './bounds.ts';
import type { Http2Handler } from './exchange.ts';
import {
  ErrorCode,
  Flag,
  FrameType,
  PREFACE,
  resetFrame,
  settingsFrame,
  windowUpdateFrame,
} from './frames.ts';
import {
  continuation,
  data,
  END,
  frame,
  GET,
  headers,
  literal,
  openPost,
  POST,
  priority,
  RawClient,
  remembered,
  START,
} from './testing/raw-client.ts';
import { startHttp2Server, TEST_LIMITS, type TestHttp2Server, type TestLimits } from './testing/server.ts';

const INITIAL_WINDOW_SIZE = 4;
/** What is refilled while a test runs. */
const SLACK_SECONDS = 10;

let server: TestHttp2Server | undefined;
let client: RawClient | undefined;
afterEach(() => {
  client?.socket.destroy();
  server?.close();
});

async function attack(handler: Http2Handler, limits: Partial<TestLimits> = {}): Promise<RawClient> {
  server = await startHttp2Server(handler, () => limits);
  client = new RawClient(server.port);
  return client;
}

async function isSentAway(attacker: RawClient, code: number = ErrorCode.enhanceYourCalm): Promise<void> {
  const goaway = await attacker.frame(({ type }) => type === FrameType.goaway);
  assert.equal(goaway?.payload.readUInt32BE(4), code, goaway?.payload.toString('latin1', 8));
  if (!attacker.closed) await new Promise((resolve) => attacker.socket.once('close', resolve));
}

/** In rounds, each of which the server has handled before the next: what counts is how often, not how fast. */
async function inRounds(
  attacker: RawClient,
  {
    times,
    step,
    bytes,
  }: { readonly times: number; readonly step: number; readonly bytes: (index: number) => Buffer },
): Promise<void> {
  for (let from = 0; from < times && !attacker.closed; from += step) {
    attacker.send(...Array.from({ length: step }, (_, index) => bytes(from + index)));
    if (!(await attacker.ping())) return;
  }
}

const OK: Http2Handler = () => Promise.resolve({ status: 200, headers: {}, body: Buffer.from('ok') });
const streamOf = (index: number): number => 1 + 2 * index;

/** How often the handler was called, how many calls were under way at once. */
function counted(handler: Http2Handler): { readonly handler: Http2Handler; calls: number; most: number } {
  let running = 0;
  const counts = {
    calls: 0,
    most: 0,
    handler: async (request: Parameters<Http2Handler>[0]) => {
      counts.calls++;
      counts.most = Math.max(counts.most, ++running);
      return handler(request).finally(() => running--);
    },
  };
  return counts;
}

/** Ways to have requests given up after they reached the handler: by the client itself, or by the server over a fault of the client. */
const GIVEN_UP: Readonly<Record<string, (streamId: number) => readonly Buffer[]>> = {
  'rapid reset (CVE-2023-44487): RST_STREAM': (id) => [headers(id), resetFrame(id, ErrorCode.cancel)],
  'MadeYouReset (CVE-2025-8671): a window by nothing': (id) => [headers(id), windowUpdateFrame(id, 0)],
  'MadeYouReset: a window beyond the largest': (id) => [headers(id), windowUpdateFrame(id, 2 ** 31 - 1)],
  'MadeYouReset: DATA after the end of the request': (id) => [headers(id), data(id, 'x')],
  'MadeYouReset: HEADERS after the end of the request': (id) => [headers(id), headers(id)],
  'MadeYouReset: trailers that do not end': (id) => [
    openPost(id),
    headers(id, GET.subarray(0, 0), Flag.endHeaders),
  ],
  'MadeYouReset: trailers that are malformed': (id) => [openPost(id), headers(id, GET)],
  'MadeYouReset: more than content-length': (id) => [
    headers(id, Buffer.concat([POST, literal('content-length', '1')]), Flag.endHeaders),
    data(id, 'xx'),
  ],
  'MadeYouReset: a stream that depends on itself': (id) => [
    headers(id),
    frame(FrameType.priority, { streamId: id, payload: priority(id) }),
  ],
};

describe('requests that are given up', () => {
  for (const [what, bytes] of Object.entries(GIVEN_UP)) {
    test(`${what}: MAX_RESETS`, async () => {
      const counts = counted(async (request) => {
        await request.body(100).catch(() => {});
        // After all that came with the request.
        await new Promise((resolve) => setImmediate(resolve));
        return OK(request);
      });
      const attacker = await attack(counts.handler);
      attacker.send(START);
      await inRounds(attacker, {
        times: 3 * MAX_RESETS,
        step: 25,
        bytes: (i) => Buffer.concat(bytes(streamOf(i))),
      });
      await isSentAway(attacker);
      assert.ok(counts.calls >= MAX_RESETS - 25, `${counts.calls} requests before`);
      assert.ok(
        counts.calls <= MAX_RESETS + 25 + RESETS_PER_SECOND * SLACK_SECONDS,
        `${counts.calls} requests`,
      );
    });

    test(`${what}: its handler counts as long as it runs`, async () => {
      const counts = counted(() => new Promise(() => {}));
      const attacker = await attack(counts.handler);
      attacker.send(START, ...Array.from({ length: 500 }, (_, i) => bytes(streamOf(i))).flat());
      await attacker.ping();
      assert.equal(counts.most, TEST_LIMITS.maxConcurrentStreams);
      assert.equal(counts.calls, TEST_LIMITS.maxConcurrentStreams);
    });
  }

  test('malformed requests never reach the handler, and count too', async () => {
    const counts = counted(OK);
    const attacker = await attack(counts.handler);
    attacker.send(
      START,
      ...Array.from({ length: MAX_RESETS + 500 }, (_, i) => headers(streamOf(i), GET.subarray(1))),
    );
    await isSentAway(attacker);
    assert.equal(counts.calls, 0);
  });
});

describe('header blocks', () => {
  const empty = Buffer.alloc(0);

  test('CONTINUATION flood (CVE-2024-27316): MAX_CONTINUATIONS', async () => {
    const attacker = await attack(OK);
    const parts = (count: number): Buffer[] => Array.from({ length: count }, () => continuation(1, empty));
    attacker.send(
      START,
      headers(1, GET, Flag.endStream),
      ...parts(MAX_CONTINUATIONS - 1),
      continuation(1, empty, Flag.endHeaders),
    );
    assert.ok(await attacker.frame(({ type }) => type === FrameType.headers), 'as many are taken');
    attacker.send(
      headers(3, GET, Flag.endStream),
      ...parts(MAX_CONTINUATIONS + 1).map((part) => Buffer.from(part.fill(3, 8, 9))),
    );
    await isSentAway(attacker);
  });

  test('CONTINUATION flood: the bytes of a block that never ends are not kept beyond maxHeaderBytes', async () => {
    const attacker = await attack(OK);
    attacker.send(
      START,
      headers(1, GET, Flag.endStream),
      continuation(1, Buffer.alloc(TEST_LIMITS.maxHeaderBytes - 3)),
    );
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(!attacker.closed);
    attacker.send(continuation(1, Buffer.alloc(1)));
    await isSentAway(attacker);
  });

  test('HPACK bomb: references to a large entry: 431 above maxHeaderBytes, sent away above MAX_HEADER_LIST_FACTOR times as much', async () => {
    const counts = counted(OK);
    const attacker = await attack(counts.handler);
    const entry = remembered('x-bomb', 'x'.repeat(4000));
    const block = (references: number): Buffer => Buffer.concat([Buffer.alloc(references, 0x80 | 62)]);
    const perEntry = 6 + 4000 + 32;
    const tooMany = Math.ceil(TEST_LIMITS.maxHeaderBytes / perEntry);
    attacker.send(
      START,
      headers(1, Buffer.concat([GET, entry])),
      headers(3, Buffer.concat([GET, block(tooMany)])),
    );
    assert.ok(await attacker.frame(({ type, streamId }) => type === FrameType.headers && streamId === 3));
    assert.equal(attacker.responses().get(3)?.[':status'], '431');
    assert.ok(await attacker.ping(), 'the connection goes on');
    attacker.send(headers(5, Buffer.concat([GET, block(tooMany * MAX_HEADER_LIST_FACTOR + 1)])));
    await isSentAway(attacker);
    assert.equal(counts.calls, 1);
  });

  test('empty fields (CVE-2019-9516) count for what they cost', async () => {
    const attacker = await attack(OK);
    attacker.send(
      START,
      headers(1, Buffer.concat([GET, ...Array.from({ length: 5000 }, () => Buffer.from([0, 0, 0]))])),
    );
    await isSentAway(attacker);
  });

  test('a table that is filled, emptied and filled again by each request stays within its 4,096 bytes', async () => {
    const attacker = await attack(OK);
    const fill = Array.from({ length: 40 }, (_, i) => remembered(`x-${i}`, 'x'.repeat(60)));
    attacker.send(START);
    const before = process.memoryUsage().heapUsed;
    await inRounds(attacker, {
      times: 500,
      step: 25,
      bytes: (i) =>
        headers(streamOf(i), Buffer.concat([Buffer.from([0x20, 0x3f, 0xe1, 0x1f]), GET, ...fill])),
    });
    assert.ok(await attacker.ping());
    assert.ok(process.memoryUsage().heapUsed - before < 64 * 2 ** 20);
    // 4,096 / (4 + 60 + 32): the 43rd newest of them is evicted.
    attacker.send(headers(streamOf(501), Buffer.from([...GET, 0x80 | (62 + 42)])));
    await isSentAway(attacker, ErrorCode.compressionError);
  });
});

/** Frames that cost work and serve no request. */
const FLOODS: Readonly<Record<string, { readonly before?: readonly Buffer[]; readonly one: Buffer }>> = {
  'PING (CVE-2019-9512)': { one: frame(FrameType.ping, { payload: Buffer.alloc(8) }) },
  'PING acknowledgements': { one: frame(FrameType.ping, { flags: Flag.ack, payload: Buffer.alloc(8) }) },
  'SETTINGS (CVE-2019-9515)': { one: settingsFrame([[INITIAL_WINDOW_SIZE, 65_535]]) },
  'SETTINGS acknowledgements': { one: frame(FrameType.settings, { flags: Flag.ack }) },
  'PRIORITY (CVE-2019-9513)': { one: frame(FrameType.priority, { streamId: 1, payload: priority(3) }) },
  'empty DATA (CVE-2019-9518)': { before: [openPost(1)], one: data(1, '') },
  'DATA of padding': { before: [openPost(1)], one: data(1, Buffer.from([0]), Flag.padded) },
  'frames of unknown types': { one: frame(0x77) },
  GOAWAY: { one: frame(FrameType.goaway, { payload: Buffer.alloc(8) }) },
  'windows of the connection, of which nothing was used': { one: windowUpdateFrame(0, 1) },
  'windows of a stream that is closed': {
    before: [headers(1, GET.subarray(1))],
    one: windowUpdateFrame(1, 1),
  },
  'DATA on a stream that was reset': { before: [headers(1, GET.subarray(1))], one: data(1, '') },
  'HEADERS on a stream that was reset': { before: [headers(1, GET.subarray(1))], one: headers(1) },
};

describe('floods: MAX_UNPRODUCTIVE_FRAMES', () => {
  for (const [what, { before = [], one }] of Object.entries(FLOODS))
    test(what, async () => {
      const attacker = await attack(async (request) => {
        await request.body(100);
        return OK(request);
      });
      attacker.send(START, ...before);
      const most = MAX_UNPRODUCTIVE_FRAMES / 2;
      attacker.send(...Array.from({ length: most - 100 }, () => one));
      assert.ok(await attacker.ping(), 'half of them pass, even where one counts twice');
      attacker.send(
        ...Array.from({ length: 2 * most + UNPRODUCTIVE_FRAMES_PER_SECOND * SLACK_SECONDS }, () => one),
      );
      await isSentAway(attacker);
    });

  test('refused streams', async () => {
    const counts = counted(() => new Promise(() => {}));
    const attacker = await attack(counts.handler);
    attacker.send(START);
    await inRounds(attacker, {
      times: 2 * MAX_UNPRODUCTIVE_FRAMES,
      step: 500,
      bytes: (i) => headers(streamOf(i)),
    });
    await isSentAway(attacker);
    assert.equal(counts.calls, TEST_LIMITS.maxConcurrentStreams);
  });
});

describe('windows and slow readers', () => {
  const whole: Http2Handler = () =>
    Promise.resolve({ status: 200, headers: {}, body: Buffer.alloc(100_000) });
  const streams = Array.from({ length: TEST_LIMITS.maxConcurrentStreams }, (_, i) => streamOf(i));
  const window = (bytes: number): Buffer => settingsFrame([[INITIAL_WINDOW_SIZE, bytes]]);

  test('windows of one byte (CVE-2019-9511): tiny DATA frames count as unproductive', async () => {
    const attacker = await attack(whole);
    attacker.send(PREFACE, window(1), ...streams.map((id) => headers(id)));
    await inRounds(attacker, {
      times: 3 * MAX_UNPRODUCTIVE_FRAMES,
      step: streams.length,
      bytes: (i) => windowUpdateFrame(streams[i % streams.length]!, 1),
    });
    await isSentAway(attacker);
  });

  test('a window of zero (CVE-2019-9517): responses that nobody takes are given up after stallMs', async () => {
    const attacker = await attack(whole, { patience: { stallMs: 60 } });
    attacker.send(PREFACE, window(0), headers(1));
    const reset = await attacker.frame(({ type }) => type === FrameType.rstStream);
    assert.equal(reset?.payload.readUInt32BE(0), ErrorCode.cancel);
  });

  test("a connection's window of zero: the same", async () => {
    const attacker = await attack(whole, { patience: { stallMs: 60 } });
    attacker.send(PREFACE, window(2 ** 31 - 1), headers(1));
    const reset = await attacker.frame(({ type }) => type === FrameType.rstStream);
    assert.equal(reset?.payload.readUInt32BE(0), ErrorCode.cancel);
    assert.equal(attacker.body(1).length, 65_535);
  });

  test('a response that is taken bit by bit is given up: less than stallBytes in stallMs', async () => {
    const attacker = await attack(whole, { patience: { stallMs: 100, stallBytes: 50_000 } });
    attacker.send(PREFACE, window(10), headers(1));
    const timer = setInterval(() => attacker.send(windowUpdateFrame(1, 10)), 10);
    const reset = await attacker.frame(({ type }) => type === FrameType.rstStream);
    clearInterval(timer);
    assert.equal(reset?.payload.readUInt32BE(0), ErrorCode.cancel);
  });

  test('short lines of a log, each followed by its windows, are no attack', async () => {
    const lines = MAX_UNPRODUCTIVE_FRAMES + 2000;
    let next = Promise.withResolvers<void>();
    const reader = await attack(() =>
      Promise.resolve({
        status: 200,
        headers: {},
        body: (sink) =>
          void (async () => {
            for (let line = 0; line < lines; line++) {
              const turn = (next = Promise.withResolvers<void>());
              sink.write(Buffer.alloc(20));
              await turn.promise;
            }
            sink.end();
          })(),
      }),
    );
    reader.onFrame = ({ type, payload }) => {
      if (type !== FrameType.data || payload.length === 0) return;
      reader.send(windowUpdateFrame(1, payload.length), windowUpdateFrame(0, payload.length));
      next.resolve();
    };
    reader.send(START, headers(1, GET, END));
    const last = await reader.frame(
      ({ type, flags }) =>
        type === FrameType.goaway || (type === FrameType.data && (flags & Flag.endStream) !== 0),
    );
    assert.equal(last?.type, FrameType.data);
    assert.equal(reader.body(1).length, lines * 20);
  });
});
