/**
 * RFC 9113 rule by rule: what a server must answer to frames that are right, wrong or unusual. The cases are those of h2spec, in our
 * words and after the newer RFC; where the server goes its own way, as Go's does, the case says so. Frames are written by testing/raw-client.ts.
 */
import assert from 'node:assert/strict';
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
  acknowledged,
  alive,
  answered,
  BIG,
  dataLengths,
  first,
  goaway,
  handed,
  HOLD,
  reset,
  runCases,
  sending,
  type Case,
} from './testing/conformance.ts';
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
  remembered,
  request,
  START,
} from './testing/raw-client.ts';
import { TEST_LIMITS } from './testing/server.ts';

const { protocolError, flowControlError, streamClosed, frameSizeError, refusedStream, compressionError } =
  ErrorCode;
const MAX_WINDOW = 2 ** 31 - 1;
const SETTING = { headerTable: 1, push: 2, streams: 3, window: 4, frame: 5, list: 6 } as const;

const ping = (payload: Uint8Array = Buffer.alloc(8), flags = 0, streamId = 0): Buffer =>
  frame(FrameType.ping, { payload, flags, streamId });
const settings = (...values: [id: number, value: number][]): Buffer => settingsFrame(values);
const get = (...fields: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat([GET, request(...fields)]);
const padded = (padding: number, content: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([padding]), content, Buffer.alloc(padding)]);
const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
/** A stream the server has reset, a stream both sides have ended, and one whose request has ended. */
const wasReset = first(sending(headers(1, request([':scheme', 'http']))), reset(1, protocolError));
const wasEnded = first(sending(headers(1)), answered(1));

const SECTIONS: Readonly<Record<string, readonly Case[]>> = {
  'RFC 9113 3.4: connection preface': [
    {
      what: "the server's first frame is SETTINGS, before the client has sent anything",
      bare: true,
      send: [],
      expect: async (client) => {
        await client.frame(() => true);
        assert.equal(client.frames[0]?.type, FrameType.settings);
        assert.equal(client.frames[0]?.flags, 0);
      },
    },
    {
      what: 'a preface that is none',
      bare: true,
      send: [Buffer.from('INVALID CONNECTION PREFACE\r\n\r\n')],
      expect: goaway(protocolError),
    },
    {
      what: 'a request of HTTP/1.1',
      bare: true,
      send: [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
      expect: goaway(protocolError),
    },
    {
      what: 'a first frame that is not SETTINGS',
      bare: true,
      send: [PREFACE, headers(1)],
      expect: goaway(protocolError),
    },
    {
      what: 'a first SETTINGS frame that is an acknowledgement only',
      bare: true,
      send: [PREFACE, frame(FrameType.settings, { flags: Flag.ack }), headers(1)],
      expect: goaway(protocolError),
    },
    {
      what: 'requests right behind the preface, before the settings of the server',
      send: [headers(1)],
      expect: answered(1),
    },
    {
      what: 'a preface and frames byte by byte',
      bare: true,
      send: [],
      expect: async (client) => {
        for (const byte of Buffer.concat([START, headers(1)])) {
          client.send(Buffer.from([byte]));
          await new Promise((resolve) => setImmediate(resolve));
        }
        await answered(1)(client);
      },
    },
  ],
  'RFC 9113 4.1: frame format': [
    {
      what: 'an unknown frame type is ignored',
      send: [frame(0x16, { payload: Buffer.alloc(8), flags: 0xff }), headers(1)],
      expect: answered(1),
    },
    {
      what: 'flags without a meaning are ignored',
      send: [ping(Buffer.from('flagless'), 0x16)],
      expect: async (client) =>
        assert.ok(
          await client.frame(
            ({ type, payload }) => type === FrameType.ping && payload.toString() === 'flagless',
          ),
        ),
    },
    {
      what: 'the reserved bit of a stream number is ignored',
      send: [frame(FrameType.headers, { flags: END, streamId: 0x8000_0001, payload: GET })],
      expect: answered(1),
    },
    {
      what: 'the reserved bit of PING is ignored',
      send: [frame(FrameType.ping, { streamId: 0x8000_0000, payload: Buffer.alloc(8) }), headers(1)],
      expect: answered(1),
    },
  ],
  'RFC 9113 4.2: frame size': [
    {
      what: 'DATA of 16,384 bytes',
      send: [openPost(1), data(1, Buffer.alloc(16_384, 'x'), Flag.endStream)],
      expect: answered(1, 'x'.repeat(16_384)),
    },
    {
      what: 'DATA of 16,385 bytes',
      send: [openPost(1), data(1, Buffer.alloc(16_385))],
      expect: goaway(frameSizeError),
    },
    {
      what: 'HEADERS of 16,385 bytes',
      send: [headers(1, Buffer.alloc(16_385))],
      expect: goaway(frameSizeError),
    },
    {
      what: 'an unknown frame of 16,385 bytes',
      send: [frame(0x16, { payload: Buffer.alloc(16_385) })],
      expect: goaway(frameSizeError),
    },
    {
      what: 'a frame of 16 MiB is refused by its header',
      send: [frame(FrameType.data, { streamId: 1, length: 2 ** 24 - 1 })],
      expect: goaway(frameSizeError),
    },
  ],
  'RFC 9113 4.3: field section compression': [
    {
      what: 'a header block that cannot be decoded',
      send: [headers(1, Buffer.from([0x40]))],
      expect: goaway(compressionError),
    },
    {
      what: 'PRIORITY inside a header block',
      send: [
        headers(1, GET, Flag.endStream),
        frame(FrameType.priority, { streamId: 1, payload: priority(3) }),
      ],
      expect: goaway(protocolError),
    },
    {
      what: 'HEADERS of another stream inside a header block',
      send: [headers(1, GET, Flag.endStream), headers(3)],
      expect: goaway(protocolError),
    },
    {
      what: 'an unknown frame inside a header block',
      send: [headers(1, GET, Flag.endStream), frame(0x16)],
      expect: goaway(protocolError),
    },
    {
      what: 'blocks of refused and malformed requests keep the table in step',
      send: [
        headers(1, Buffer.concat([GET, remembered('x-a', 'one'), literal('X-Bad', '')])),
        headers(3, Buffer.from([...GET, 0x80 | 62])),
      ],
      expect: first(reset(1, protocolError), answered(3), handed({ fields: { 'x-a': 'one' } })),
    },
    {
      what: 'trailers keep the table in step',
      send: [
        openPost(1),
        headers(1, remembered('x-trailer', 'two')),
        headers(3, Buffer.from([...GET, 0x80 | 62])),
      ],
      expect: first(answered(1), answered(3), handed({ fields: { 'x-trailer': 'two' } })),
    },
  ],
  'RFC 9113 5.1: stream states, idle': [
    { what: 'DATA', send: [data(1, 'x', Flag.endStream)], expect: goaway(protocolError) },
    { what: 'RST_STREAM', send: [resetFrame(1, ErrorCode.cancel)], expect: goaway(protocolError) },
    { what: 'WINDOW_UPDATE', send: [windowUpdateFrame(1, 100)], expect: goaway(protocolError) },
    { what: 'CONTINUATION', send: [continuation(1, GET, Flag.endHeaders)], expect: goaway(protocolError) },
    {
      what: 'PRIORITY is allowed',
      send: [frame(FrameType.priority, { streamId: 1, payload: priority(0) }), headers(1)],
      expect: answered(1),
    },
  ],
  'RFC 9113 5.1: stream states, half-closed (remote)': [
    { what: 'DATA', send: [headers(1, HOLD), data(1, 'x', Flag.endStream)], expect: reset(1, streamClosed) },
    { what: 'HEADERS', send: [headers(1, HOLD), headers(1)], expect: reset(1, streamClosed) },
    {
      what: 'CONTINUATION',
      send: [headers(1, HOLD), continuation(1, GET, Flag.endHeaders)],
      expect: goaway(streamClosed, protocolError),
    },
    { what: 'WINDOW_UPDATE is allowed', send: [headers(1, HOLD), windowUpdateFrame(1, 1)], expect: alive },
    {
      what: 'PRIORITY is allowed',
      send: [headers(1, HOLD), frame(FrameType.priority, { streamId: 1, payload: priority(0) })],
      expect: alive,
    },
    {
      what: 'RST_STREAM is allowed',
      send: [headers(1, HOLD), resetFrame(1, ErrorCode.cancel)],
      expect: alive,
    },
  ],
  'RFC 9113 5.1: stream states, closed': [
    {
      what: 'DATA after RST_STREAM of the client',
      send: [headers(1, HOLD), resetFrame(1, ErrorCode.cancel), data(1, 'x')],
      expect: reset(1, streamClosed),
    },
    {
      what: 'HEADERS after RST_STREAM of the client',
      send: [headers(1, HOLD), resetFrame(1, ErrorCode.cancel), headers(1)],
      expect: goaway(streamClosed),
    },
    {
      what: 'CONTINUATION after RST_STREAM of the client',
      send: [headers(1, HOLD), resetFrame(1, ErrorCode.cancel), continuation(1, GET, Flag.endHeaders)],
      expect: goaway(protocolError, streamClosed),
    },
    {
      what: 'DATA after both sides have ended',
      send: [],
      expect: first(wasEnded, sending(data(1, 'x')), reset(1, streamClosed)),
    },
    {
      what: 'HEADERS after both sides have ended',
      send: [],
      expect: first(wasEnded, sending(headers(1)), goaway(streamClosed)),
    },
    {
      what: 'CONTINUATION after both sides have ended',
      send: [],
      expect: first(
        wasEnded,
        sending(continuation(1, GET, Flag.endHeaders)),
        goaway(protocolError, streamClosed),
      ),
    },
    {
      what: 'WINDOW_UPDATE after both sides have ended is ignored',
      send: [],
      expect: first(wasEnded, sending(windowUpdateFrame(1, 1)), alive),
    },
    {
      what: 'RST_STREAM after both sides have ended is ignored',
      send: [],
      expect: first(wasEnded, sending(resetFrame(1, ErrorCode.cancel)), alive),
    },
    {
      what: 'PRIORITY after both sides have ended is ignored',
      send: [],
      expect: first(
        wasEnded,
        sending(frame(FrameType.priority, { streamId: 1, payload: priority(0) })),
        alive,
      ),
    },
    {
      what: 'frames that were under way when the server reset the stream are ignored',
      send: [],
      expect: first(
        wasReset,
        sending(data(1, 'x'), headers(1), windowUpdateFrame(1, 1), resetFrame(1, 0)),
        alive,
      ),
    },
  ],
  'RFC 9113 5.1.1: stream identifiers': [
    { what: 'an even number', send: [headers(2)], expect: goaway(protocolError) },
    {
      what: 'a number below one that was used',
      send: [headers(5), headers(3)],
      expect: goaway(protocolError),
    },
    {
      what: 'numbers may be skipped',
      send: [headers(1), headers(2 ** 31 - 1)],
      expect: first(answered(1), answered(2 ** 31 - 1)),
    },
  ],
  'RFC 9113 5.1.2: stream concurrency': [
    {
      what: 'more streams than announced',
      send: Array.from({ length: TEST_LIMITS.maxConcurrentStreams + 1 }, (_, i) => headers(1 + 2 * i, HOLD)),
      expect: reset(1 + 2 * TEST_LIMITS.maxConcurrentStreams, refusedStream, protocolError),
    },
    {
      what: 'the announced number is what is taken',
      send: Array.from({ length: TEST_LIMITS.maxConcurrentStreams }, (_, i) => headers(1 + 2 * i, HOLD)),
      expect: async (client) => {
        await alive(client);
        const [announced] = client.frames;
        assert.deepEqual(
          announced?.payload.subarray(0, 6),
          Buffer.from([0, 3, 0, 0, 0, TEST_LIMITS.maxConcurrentStreams]),
        );
        assert.ok(client.frames.every(({ type }) => type !== FrameType.rstStream));
      },
    },
  ],
  'RFC 9113 5.3: priorities (RFC 7540 5.3.1 on dependencies)': [
    {
      what: 'HEADERS that depend on their own stream',
      send: [headers(1, Buffer.concat([priority(1), GET]), END | Flag.priority)],
      expect: reset(1, protocolError),
    },
    {
      what: 'the same, told by a block in parts',
      send: [
        headers(1, Buffer.concat([priority(1), GET]), Flag.endStream | Flag.priority),
        continuation(1, Buffer.alloc(0), Flag.endHeaders),
      ],
      expect: reset(1, protocolError),
    },
    {
      what: 'PRIORITY of an open stream on itself',
      send: [headers(1, HOLD), frame(FrameType.priority, { streamId: 1, payload: priority(1) })],
      expect: reset(1, protocolError),
    },
    {
      what: 'PRIORITY of an idle stream on itself is ignored: no reset may be sent there',
      send: [frame(FrameType.priority, { streamId: 1, payload: priority(1) }), headers(1)],
      expect: answered(1),
    },
    {
      what: 'HEADERS with a priority, exclusive',
      send: [headers(1, Buffer.concat([priority(0x8000_0000, 255), GET]), END | Flag.priority)],
      expect: answered(1),
    },
    {
      what: 'HEADERS too short for their priority',
      send: [headers(1, Buffer.alloc(4), END | Flag.priority)],
      expect: goaway(frameSizeError, protocolError),
    },
  ],
  'RFC 9113 5.4: error handling': [
    {
      what: 'after a connection error the connection is closed',
      send: [ping(Buffer.alloc(6))],
      expect: goaway(frameSizeError),
    },
    {
      what: 'GOAWAY tells the last stream that was handled',
      send: [headers(1), headers(3), ping(Buffer.alloc(6))],
      expect: async (client) => {
        const last = await client.frame(({ type }) => type === FrameType.goaway);
        assert.equal(last?.payload.readUInt32BE(0), 3);
      },
    },
    {
      what: 'no answer to a stream error after the client has reset',
      send: [headers(1, HOLD), resetFrame(1, protocolError)],
      expect: first(alive, async (client) =>
        assert.ok(client.frames.every(({ type }) => type !== FrameType.rstStream)),
      ),
    },
  ],
  'RFC 9113 5.5: extending HTTP/2': [
    {
      what: 'an unknown frame on an open stream',
      send: [
        openPost(1),
        frame(0x16, { streamId: 1, payload: Buffer.alloc(8) }),
        data(1, 'x', Flag.endStream),
      ],
      expect: answered(1, 'x'),
    },
    {
      what: 'an unknown frame in the middle of a header block',
      send: [
        headers(1, GET, Flag.endStream),
        frame(0x16, { streamId: 1 }),
        continuation(1, Buffer.alloc(0), Flag.endHeaders),
      ],
      expect: goaway(protocolError),
    },
  ],
  'RFC 9113 6.1: DATA': [
    { what: 'one frame', send: [openPost(1), data(1, 'test', Flag.endStream)], expect: answered(1, 'test') },
    {
      what: 'several frames',
      send: [openPost(1), data(1, 'te'), data(1, 'st'), data(1, '', Flag.endStream)],
      expect: answered(1, 'test'),
    },
    {
      what: 'padded',
      send: [openPost(1), data(1, padded(6, Buffer.from('test')), Flag.endStream | Flag.padded)],
      expect: answered(1, 'test'),
    },
    {
      what: 'nothing but padding',
      send: [openPost(1), data(1, padded(255, Buffer.alloc(0)), Flag.endStream | Flag.padded)],
      expect: answered(1),
    },
    { what: 'on stream 0', send: [data(0, 'x')], expect: goaway(protocolError) },
    {
      what: 'on a stream that is not open',
      send: [headers(1, HOLD), data(1, 'x')],
      expect: reset(1, streamClosed),
    },
    {
      what: 'padding as long as the frame',
      send: [openPost(1), data(1, Buffer.from([5, 1, 2, 3, 4]), Flag.padded)],
      expect: goaway(protocolError),
    },
    {
      what: 'padded, but empty',
      send: [openPost(1), data(1, '', Flag.padded)],
      expect: goaway(protocolError, frameSizeError),
    },
  ],
  'RFC 9113 6.2: HEADERS': [
    { what: 'one frame', send: [headers(1)], expect: answered(1) },
    { what: 'padded', send: [headers(1, padded(6, GET), END | Flag.padded)], expect: answered(1) },
    {
      what: 'padded and with priority',
      send: [headers(1, padded(6, Buffer.concat([priority(0), GET])), END | Flag.padded | Flag.priority)],
      expect: answered(1),
    },
    { what: 'on stream 0', send: [headers(0)], expect: goaway(protocolError) },
    {
      what: 'padding longer than the frame',
      send: [headers(1, Buffer.from([200, ...GET]), END | Flag.padded)],
      expect: goaway(protocolError),
    },
    {
      what: 'without END_HEADERS, followed by PRIORITY',
      send: [
        headers(1, GET, Flag.endStream),
        frame(FrameType.priority, { streamId: 1, payload: priority(0) }),
      ],
      expect: goaway(protocolError),
    },
    {
      what: 'without END_HEADERS, followed by HEADERS',
      send: [headers(1, GET, Flag.endStream), headers(3)],
      expect: goaway(protocolError),
    },
  ],
  'RFC 9113 6.3: PRIORITY': [
    {
      what: 'on an open stream',
      send: [
        openPost(1),
        frame(FrameType.priority, { streamId: 1, payload: priority(0, 0) }),
        data(1, 'x', Flag.endStream),
      ],
      expect: answered(1, 'x'),
    },
    {
      what: 'on a stream of an even number, depending on one that never was',
      send: [frame(FrameType.priority, { streamId: 8, payload: priority(99) })],
      expect: alive,
    },
    {
      what: 'on stream 0',
      send: [frame(FrameType.priority, { payload: priority(1) })],
      expect: goaway(protocolError),
    },
    {
      what: 'of four bytes (a connection error, as 5.4.1 permits)',
      send: [headers(1, HOLD), frame(FrameType.priority, { streamId: 1, payload: Buffer.alloc(4) })],
      expect: goaway(frameSizeError),
    },
  ],
  'RFC 9113 6.4: RST_STREAM': [
    {
      what: 'on an open stream',
      send: [openPost(1), resetFrame(1, ErrorCode.cancel), headers(3)],
      expect: answered(3),
    },
    { what: 'on stream 0', send: [resetFrame(0, ErrorCode.cancel)], expect: goaway(protocolError) },
    { what: 'on an idle stream', send: [resetFrame(1, ErrorCode.cancel)], expect: goaway(protocolError) },
    {
      what: 'of three bytes',
      send: [headers(1, HOLD), frame(FrameType.rstStream, { streamId: 1, payload: Buffer.alloc(3) })],
      expect: goaway(frameSizeError),
    },
    {
      what: 'with an unknown code',
      send: [headers(1, HOLD), resetFrame(1, 0xff), headers(3)],
      expect: answered(3),
    },
  ],
  'RFC 9113 6.5: SETTINGS': [
    { what: 'are acknowledged', send: [], expect: acknowledged },
    {
      what: 'an acknowledgement is not',
      bare: true,
      send: [START, frame(FrameType.settings, { flags: Flag.ack })],
      expect: first(alive, async (client) =>
        assert.equal(
          client.frames.filter(({ type, flags }) => type === FrameType.settings && flags === Flag.ack).length,
          1,
        ),
      ),
    },
    {
      what: 'an acknowledgement with content',
      send: [frame(FrameType.settings, { flags: Flag.ack, payload: Buffer.alloc(1) })],
      expect: goaway(frameSizeError),
    },
    {
      what: 'on a stream',
      send: [frame(FrameType.settings, { streamId: 1 })],
      expect: goaway(protocolError),
    },
    {
      what: 'of three bytes',
      send: [frame(FrameType.settings, { payload: Buffer.alloc(3) })],
      expect: goaway(frameSizeError),
    },
  ],
  'RFC 9113 6.5.2: defined settings': [
    { what: 'ENABLE_PUSH of 2', send: [settings([SETTING.push, 2])], expect: goaway(protocolError) },
    {
      what: 'ENABLE_PUSH of 0 and of 1',
      send: [settings([SETTING.push, 0]), settings([SETTING.push, 1])],
      expect: acknowledged,
    },
    {
      what: 'INITIAL_WINDOW_SIZE of 2^31',
      send: [settings([SETTING.window, 2 ** 31])],
      expect: goaway(flowControlError),
    },
    {
      what: 'MAX_FRAME_SIZE of 16,383',
      send: [settings([SETTING.frame, 16_383])],
      expect: goaway(protocolError),
    },
    {
      what: 'MAX_FRAME_SIZE of 2^24',
      send: [settings([SETTING.frame, 2 ** 24])],
      expect: goaway(protocolError),
    },
    {
      what: 'the largest of each',
      send: [
        settings(
          [SETTING.window, MAX_WINDOW],
          [SETTING.frame, 2 ** 24 - 1],
          [SETTING.streams, 2 ** 32 - 1],
          [SETTING.list, 2 ** 32 - 1],
          [SETTING.headerTable, 2 ** 32 - 1],
        ),
        headers(1),
      ],
      expect: answered(1),
    },
    { what: 'an unknown setting is ignored', send: [settings([0xff, 1]), headers(1)], expect: answered(1) },
    {
      what: 'a larger MAX_FRAME_SIZE need not be used',
      send: [
        settings([SETTING.frame, 2 ** 24 - 1], [SETTING.window, MAX_WINDOW]),
        windowUpdateFrame(0, 1_000_000),
        headers(1, BIG),
      ],
      expect: first(answered(1, 'b'.repeat(100_000)), async (client) =>
        assert.ok(client.frames.every(({ payload }) => payload.length <= 16_384)),
      ),
    },
  ],
  'RFC 9113 6.5.3: settings synchronization': [
    {
      what: 'each frame is acknowledged',
      send: [settings([SETTING.window, 100]), settings([SETTING.window, 200])],
      expect: first(alive, async (client) =>
        assert.equal(
          client.frames.filter(({ type, flags }) => type === FrameType.settings && flags === Flag.ack).length,
          3,
        ),
      ),
    },
    {
      what: 'the last of several frames holds',
      send: [settings([SETTING.window, 100]), settings([SETTING.window, 1]), headers(1, BIG)],
      expect: first(alive, dataLengths(1, [1])),
    },
    {
      what: 'a setting twice in a frame is refused, as by Go',
      send: [settings([SETTING.window, 100], [SETTING.window, 1])],
      expect: goaway(protocolError),
    },
  ],
  'RFC 9113 6.6 and 8.4: PUSH_PROMISE': [
    {
      what: 'from a client',
      send: [
        frame(FrameType.pushPromise, {
          streamId: 1,
          flags: Flag.endHeaders,
          payload: Buffer.concat([word(2), GET]),
        }),
      ],
      expect: goaway(protocolError),
    },
  ],
  'RFC 9113 6.7: PING': [
    {
      what: 'is answered with its own bytes',
      send: [],
      expect: async (client) => assert.ok(await client.ping('12345678')),
    },
    {
      what: 'an answer is not answered',
      send: [ping(Buffer.from('answered'), Flag.ack)],
      expect: first(alive, async (client) =>
        assert.ok(client.frames.every(({ payload }) => payload.toString() !== 'answered')),
      ),
    },
    { what: 'on a stream', send: [ping(Buffer.alloc(8), 0, 1)], expect: goaway(protocolError) },
    { what: 'of six bytes', send: [ping(Buffer.alloc(6))], expect: goaway(frameSizeError) },
    { what: 'of nine bytes', send: [ping(Buffer.alloc(9))], expect: goaway(frameSizeError) },
  ],
  'RFC 9113 6.8: GOAWAY': [
    {
      what: 'on a stream',
      send: [frame(FrameType.goaway, { streamId: 1, payload: Buffer.alloc(8) })],
      expect: goaway(protocolError),
    },
    {
      what: 'too short',
      send: [frame(FrameType.goaway, { payload: Buffer.alloc(7) })],
      expect: goaway(frameSizeError),
    },
    {
      what: 'from the client, whose requests go on',
      send: [
        openPost(1),
        frame(FrameType.goaway, { payload: Buffer.alloc(8) }),
        data(1, 'x', Flag.endStream),
      ],
      expect: answered(1, 'x'),
    },
  ],
  'RFC 9113 6.9: WINDOW_UPDATE': [
    { what: 'by nothing, of the connection', send: [windowUpdateFrame(0, 0)], expect: goaway(protocolError) },
    {
      what: 'by nothing, of a stream',
      send: [headers(1, HOLD), windowUpdateFrame(1, 0)],
      expect: reset(1, protocolError),
    },
    {
      what: 'of three bytes',
      send: [frame(FrameType.windowUpdate, { payload: Buffer.alloc(3) })],
      expect: goaway(frameSizeError),
    },
    {
      what: 'its reserved bit is ignored',
      send: [frame(FrameType.windowUpdate, { payload: word(0x8000_0001) })],
      expect: alive,
    },
  ],
  'RFC 9113 6.9.1: the flow-control window': [
    {
      what: 'no more is sent than the window has',
      send: [settings([SETTING.window, 1]), headers(1, BIG)],
      expect: first(alive, dataLengths(1, [1]), sending(windowUpdateFrame(1, 2)), dataLengths(1, [1, 2])),
    },
    {
      what: "no more is sent than the connection's window has",
      send: [settings([SETTING.window, MAX_WINDOW]), headers(1, BIG)],
      expect: dataLengths(1, [16_384, 16_384, 16_384, 16_383]),
    },
    {
      what: "a connection's window above 2^31-1",
      send: [windowUpdateFrame(0, MAX_WINDOW), windowUpdateFrame(0, MAX_WINDOW)],
      expect: goaway(flowControlError),
    },
    {
      what: "a stream's window above 2^31-1",
      send: [headers(1, HOLD), windowUpdateFrame(1, MAX_WINDOW), windowUpdateFrame(1, MAX_WINDOW)],
      expect: reset(1, flowControlError),
    },
    {
      what: "more DATA than the stream's window",
      send: [
        headers(1, HOLD, Flag.endHeaders),
        ...Array.from({ length: 65 }, () => data(1, Buffer.alloc(16_384))),
      ],
      expect: reset(1, flowControlError),
    },
  ],
  'RFC 9113 6.9.2: the initial window': [
    {
      what: 'a change applies to open streams',
      send: [settings([SETTING.window, 0]), headers(1, BIG)],
      expect: first(alive, dataLengths(1, []), sending(settings([SETTING.window, 1])), dataLengths(1, [1])),
    },
    {
      what: 'a window may become negative',
      send: [settings([SETTING.window, 3]), headers(1, BIG)],
      expect: first(
        alive,
        dataLengths(1, [3]),
        sending(settings([SETTING.window, 2]), windowUpdateFrame(1, 1)),
        dataLengths(1, [3]),
        sending(windowUpdateFrame(1, 1)),
        dataLengths(1, [3, 1]),
      ),
    },
    {
      what: 'above 2^31-1 by a change',
      send: [headers(1, HOLD), windowUpdateFrame(1, MAX_WINDOW - 65_535), settings([SETTING.window, 65_536])],
      expect: goaway(flowControlError),
    },
  ],
  'RFC 9113 6.10: CONTINUATION': [
    {
      what: 'one',
      send: [
        headers(1, GET.subarray(0, 1), Flag.endStream),
        continuation(1, GET.subarray(1), Flag.endHeaders),
      ],
      expect: answered(1),
    },
    {
      what: 'several, a field cut in two',
      send: [
        headers(1, GET, Flag.endStream),
        continuation(1, literal('x-cut', 'in two').subarray(0, 5)),
        continuation(1, literal('x-cut', 'in two').subarray(5), Flag.endHeaders),
      ],
      expect: first(answered(1), handed({ fields: { 'x-cut': 'in two' } })),
    },
    {
      what: 'followed by DATA',
      send: [headers(1, GET, 0), continuation(1, Buffer.alloc(0)), data(1, 'x')],
      expect: goaway(protocolError),
    },
    {
      what: 'on stream 0',
      send: [headers(1, GET, Flag.endStream), continuation(0, Buffer.alloc(0), Flag.endHeaders)],
      expect: goaway(protocolError),
    },
    {
      what: 'on another stream',
      send: [headers(1, GET, Flag.endStream), continuation(3, Buffer.alloc(0), Flag.endHeaders)],
      expect: goaway(protocolError),
    },
    {
      what: 'after HEADERS with END_HEADERS',
      send: [headers(1, HOLD), continuation(1, Buffer.alloc(0), Flag.endHeaders)],
      expect: goaway(protocolError),
    },
    {
      what: 'after CONTINUATION with END_HEADERS',
      send: [
        headers(1, HOLD, Flag.endStream),
        continuation(1, Buffer.alloc(0), Flag.endHeaders),
        continuation(1, Buffer.alloc(0), Flag.endHeaders),
      ],
      expect: goaway(protocolError),
    },
    {
      what: 'after DATA',
      send: [openPost(1), data(1, 'x'), continuation(1, Buffer.alloc(0), Flag.endHeaders)],
      expect: goaway(protocolError),
    },
  ],
  'RFC 9113 7: error codes': [
    {
      what: 'GOAWAY with an unknown code',
      send: [frame(FrameType.goaway, { payload: Buffer.concat([word(0), word(0xff)]) }), ping()],
      expect: alive,
    },
    { what: 'RST_STREAM with an unknown code', send: [headers(1, HOLD), resetFrame(1, 0xff)], expect: alive },
  ],
  'RFC 9113 8.1: message framing': [
    { what: 'GET', send: [headers(1)], expect: answered(1) },
    {
      what: 'HEAD has no DATA',
      send: [headers(1, request([':method', 'HEAD'], [':scheme', 'http'], [':path', '/big']))],
      expect: first(answered(1), async (client) =>
        assert.equal(client.responses().get(1)?.['content-length'], '100000'),
      ),
    },
    { what: 'POST', send: [openPost(1), data(1, 'body', Flag.endStream)], expect: answered(1, 'body') },
    {
      what: 'POST with trailers',
      send: [openPost(1), data(1, 'body'), headers(1, literal('x-trailer', 'x'))],
      expect: answered(1, 'body'),
    },
    {
      what: 'POST with trailers in parts',
      send: [
        openPost(1),
        data(1, 'body'),
        headers(1, literal('x-trailer', 'x'), Flag.endStream),
        continuation(1, literal('x-more', 'y'), Flag.endHeaders),
      ],
      expect: answered(1, 'body'),
    },
    {
      what: 'a second HEADERS frame without END_STREAM',
      send: [openPost(1), headers(1, literal('x-trailer', 'x'), Flag.endHeaders)],
      expect: reset(1, protocolError),
    },
  ],
  'RFC 9113 8.2: fields': [
    {
      what: 'a name with capital letters',
      send: [headers(1, get(['X-TEST', 'x']))],
      expect: reset(1, protocolError),
    },
    { what: 'an empty name', send: [headers(1, get(['', 'x']))], expect: reset(1, protocolError) },
    ...[' ', '\0', '\n', '\r', ':', '(', '\x7f', '\xff'].map((character): Case => ({
      what: `a name with ${JSON.stringify(character)}`,
      send: [headers(1, get([`x${character}y`, 'x']))],
      expect: reset(1, protocolError),
    })),
    ...['a\0b', 'a\nb', 'a\rb', ' a', 'a ', '\ta', 'a\t'].map((value): Case => ({
      what: `a value of ${JSON.stringify(value)}`,
      send: [headers(1, get(['x-a', value]))],
      expect: reset(1, protocolError),
    })),
    {
      what: 'a value of any other bytes',
      send: [headers(1, get(['x-a', 'a\tb\x7f\xff']))],
      expect: first(answered(1), handed({ fields: { 'x-a': 'a\tb\x7f\xff' } })),
    },
    {
      what: 'cookies in several fields are one',
      send: [headers(1, get(['cookie', 'a=1'], ['cookie', 'b=2']))],
      expect: first(answered(1), handed({ fields: { cookie: 'a=1; b=2' } })),
    },
  ],
  'RFC 9113 8.2.2: connection-specific fields': [
    ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'].map((name): Case => ({
      what: name,
      send: [headers(1, get([name, 'x']))],
      expect: reset(1, protocolError),
    })),
    {
      what: 'TE of anything but trailers',
      send: [headers(1, get(['te', 'trailers, deflate']))],
      expect: reset(1, protocolError),
    },
    { what: 'TE of trailers', send: [headers(1, get(['te', 'trailers']))], expect: answered(1) },
    {
      what: 'in trailers',
      send: [openPost(1), headers(1, literal('connection', 'close'))],
      expect: reset(1, protocolError),
    },
  ],
  'RFC 9113 8.3: pseudo fields': [
    {
      what: 'one that is not known',
      send: [headers(1, get([':test', 'x']))],
      expect: reset(1, protocolError),
    },
    {
      what: 'one of responses',
      send: [headers(1, get([':status', '200']))],
      expect: reset(1, protocolError),
    },
    {
      what: 'in trailers',
      send: [openPost(1), headers(1, literal(':method', 'GET'))],
      expect: reset(1, protocolError),
    },
    {
      what: 'after another field',
      send: [headers(1, request([':method', 'GET'], [':scheme', 'http'], ['x-a', 'x'], [':path', '/']))],
      expect: reset(1, protocolError),
    },
  ],
  'RFC 9113 8.3.1: request pseudo fields': [
    {
      what: 'an empty :path',
      send: [headers(1, request([':method', 'GET'], [':scheme', 'http'], [':path', '']))],
      expect: reset(1, protocolError),
    },
    {
      what: 'no :method',
      send: [headers(1, request([':scheme', 'http'], [':path', '/']))],
      expect: reset(1, protocolError),
    },
    {
      what: 'no :scheme',
      send: [headers(1, request([':method', 'GET'], [':path', '/']))],
      expect: reset(1, protocolError),
    },
    {
      what: 'no :path',
      send: [headers(1, request([':method', 'GET'], [':scheme', 'http']))],
      expect: reset(1, protocolError),
    },
    { what: 'two :method', send: [headers(1, get([':method', 'GET']))], expect: reset(1, protocolError) },
    { what: 'two :scheme', send: [headers(1, get([':scheme', 'http']))], expect: reset(1, protocolError) },
    { what: 'two :path', send: [headers(1, get([':path', '/']))], expect: reset(1, protocolError) },
    {
      what: 'two :authority',
      send: [headers(1, get([':authority', 'a'], [':authority', 'a']))],
      expect: reset(1, protocolError),
    },
    {
      what: ':authority is the host',
      send: [headers(1, get([':authority', 'one.example']))],
      expect: first(answered(1), handed({ fields: { host: 'one.example' } })),
    },
    {
      what: ':authority, not Host, names the target',
      send: [headers(1, get([':authority', 'one.example'], ['host', 'two.example']))],
      expect: first(answered(1), handed({ fields: { host: 'one.example' } })),
    },
    {
      what: 'OPTIONS of *',
      send: [headers(1, request([':method', 'OPTIONS'], [':scheme', 'http'], [':path', '*']))],
      expect: answered(1),
    },
    {
      what: '* of another method',
      send: [headers(1, request([':method', 'GET'], [':scheme', 'http'], [':path', '*']))],
      expect: reset(1, protocolError),
    },
    {
      what: 'CONNECT, which this server does not do',
      send: [headers(1, request([':method', 'CONNECT'], [':authority', 'x:443']))],
      expect: reset(1, protocolError),
    },
  ],
  'RFC 9113 8.1.1: malformed messages, content-length': [
    {
      what: 'not that of one DATA frame',
      send: [
        headers(1, Buffer.concat([POST, literal('content-length', '1')]), Flag.endHeaders),
        data(1, 'test', Flag.endStream),
      ],
      expect: reset(1, protocolError),
    },
    {
      what: 'not that of several DATA frames',
      send: [
        headers(1, Buffer.concat([POST, literal('content-length', '5')]), Flag.endHeaders),
        data(1, 'te'),
        data(1, 'st', Flag.endStream),
      ],
      expect: reset(1, protocolError),
    },
    {
      what: 'without DATA',
      send: [headers(1, Buffer.concat([POST, literal('content-length', '1')]))],
      expect: reset(1, protocolError),
    },
    {
      what: 'not that before trailers',
      send: [
        headers(1, Buffer.concat([POST, literal('content-length', '1')]), Flag.endHeaders),
        headers(1, literal('x-trailer', 'x')),
      ],
      expect: reset(1, protocolError),
    },
    {
      what: 'two that differ',
      send: [
        headers(
          1,
          Buffer.concat([POST, literal('content-length', '1'), literal('content-length', '2')]),
          Flag.endHeaders,
        ),
      ],
      expect: reset(1, protocolError),
    },
    ...['+1', '-1', '1 ', '0x1', '1,1', '', '9'.repeat(30)].map((value): Case => ({
      what: JSON.stringify(value),
      send: [headers(1, Buffer.concat([POST, literal('content-length', value)]), Flag.endHeaders)],
      expect: reset(1, protocolError),
    })),
    {
      what: 'padding is not counted',
      send: [
        headers(1, Buffer.concat([POST, literal('content-length', '4')]), Flag.endHeaders),
        data(1, padded(9, Buffer.from('test')), Flag.endStream | Flag.padded),
      ],
      expect: answered(1, 'test'),
    },
  ],
};

runCases(SECTIONS);
