/**
 * Input that is cheap to send against the parsers beside the API's: SPDY and WebSocket frames, static pod manifests, container logs. Each is bounded in the
 * turn it holds, the processor time it takes or the memory it keeps.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer, Socket, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { duplexPair, type Duplex } from 'node:stream';
import { afterEach, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { constants, deflateSync } from 'node:zlib';
import { WebSocketServer, type WebSocket } from 'ws';
import { decodeStaticPod } from '#cmd/node/decode-static-pod.ts';
import { SPDY_DICTIONARY } from '#machinery/streams/spdy-frames.ts';
import { SpdyConnection, type SpdyStream } from '#machinery/streams/spdy.ts';
import { MAX_MESSAGE_BYTES, WebSocketChannels } from '#machinery/streams/websocket-channels.ts';
import { webSocketTunnel } from '#machinery/streams/websocket-tunnel.ts';
import { writeLogs } from '#node/agent/server/container-logs.ts';
import { LineSplitter, MAX_LINE_BYTES, parseRecord } from '#node/agent/server/log-file.ts';
import { MAX_FILES, MAX_MESSAGE, readManifests } from '#node/agent/static-pods/manifests.ts';
import { measure } from './fuzz/processor-time.ts';

/** Of one turn of the event loop, and of all that the input causes. */
const MAX_TURN_MS = 200,
  MAX_TOTAL_MS = 2000;
/** A manifest is parsed in one turn. Only root writes them; the bound is that of MAX_BYTES of YAML. */
const MAX_MANIFEST_TURN_MS = 2500;
/** Garbage collection and compilation are other work's, too. */
const ATTEMPTS = 4;
const MEBIBYTE = 1 << 20;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** Runs the work until it is within its bounds, at most ATTEMPTS times. */
async function requireBounded(work: () => Promise<void>, maxTurnMs = MAX_TURN_MS): Promise<void> {
  const maxTotalMs = Math.max(MAX_TOTAL_MS, maxTurnMs);
  let best = await measure(work);
  const isWithin = (): boolean => best.longestTurnMs <= maxTurnMs && best.totalMs <= maxTotalMs;
  for (let attempt = 1; attempt < ATTEMPTS && !isWithin(); attempt++) {
    const next = await measure(work);
    if (next.longestTurnMs < best.longestTurnMs) best = next;
  }
  assert.ok(best.longestTurnMs <= maxTurnMs, `one turn took ${best.longestTurnMs.toFixed(0)} ms`);
  assert.ok(best.totalMs <= maxTotalMs, `${best.totalMs.toFixed(0)} ms of processor time`);
}

function temporaryDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'bombs-'));
  cleanups.push(() => rmSync(dir, { recursive: true }));
  return dir;
}

describe('SPDY frames', () => {
  const control = (type: number, payload: Buffer): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt16BE(0x8003, 0);
    head.writeUInt16BE(type, 2);
    head.writeUIntBE(payload.length, 5, 3);
    return Buffer.concat([head, payload]);
  };
  const uint32 = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 4);
    for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, i * 4);
    return bytes;
  };
  const ping = (id: number): Buffer => control(6, uint32(id));
  const synStream = (id: number, block: Buffer): Buffer =>
    control(1, Buffer.concat([uint32(id, 0), Buffer.alloc(2), block]));
  /** The first header block of a connection. */
  const compress = (block: Buffer): Buffer =>
    deflateSync(block, { dictionary: SPDY_DICTIONARY, finishFlush: constants.Z_SYNC_FLUSH });
  /** A later block, stored: no headers. */
  const EMPTY = Buffer.concat([Buffer.from([0, 4, 0, 0xfb, 0xff]), uint32(0)]);

  interface Peer {
    readonly connection: SpdyConnection;
    /** The other end's bytes. */
    readonly wire: Duplex;
    readonly near: Duplex;
  }
  function peer(onStream: (stream: SpdyStream) => void = () => assert.fail('a stream was accepted')): Peer {
    const [near, wire] = duplexPair({ highWaterMark: 4 * MEBIBYTE });
    wire.on('error', () => {});
    cleanups.push(() => {
      near.destroy();
      wire.destroy();
    });
    return { connection: new SpdyConnection(near, { role: 'server', onStream }), wire, near };
  }

  test('a flood of pings whose answers are not read ends the connection', async () => {
    const { connection, wire, near } = peer();
    const pings = Buffer.concat(Array.from({ length: 10_000 }, (_, i) => ping(2 * i + 1)));
    let isOver = false;
    const ended = assert.rejects(connection.closed, /bytes of answers unread/).finally(() => (isOver = true));
    for (let sent = 0; sent < 200 && !isOver; sent++) {
      wire.write(pings);
      await nextTurn();
      assert.ok(near.writableLength <= 8 * MEBIBYTE, `${near.writableLength} bytes of answers are held`);
    }
    await ended;
  });

  test('a message full of small frames lets others have their turn', () =>
    requireBounded(async () => {
      const { connection, wire } = peer();
      const frame = control(3, uint32(1, 5));
      wire.end(Buffer.alloc(MAX_MESSAGE_BYTES - (MAX_MESSAGE_BYTES % frame.length), frame));
      await connection.closed;
    }));

  test('compressed headers are not expanded beyond their bound', async () => {
    const bomb = compress(Buffer.alloc(50 * MEBIBYTE));
    await requireBounded(async () => {
      const { connection, wire } = peer();
      wire.write(synStream(1, bomb));
      await assert.rejects(connection.closed, /headers of more than 32768 bytes/);
    });
  });

  test('counts and lengths beyond the block are refused', async () => {
    for (const block of [uint32(0xffffffff), uint32(1, 0xffffffff), uint32(1, 1), Buffer.alloc(2)]) {
      const { connection, wire } = peer();
      wire.write(synStream(1, compress(block)));
      await assert.rejects(connection.closed, /header block ends too early/);
    }
  });

  test('streams beyond the maximum are refused', async () => {
    const streams: SpdyStream[] = [];
    const { connection, wire } = peer((stream) => void streams.push(stream));
    for (let i = 0; i < 1500; i++) wire.write(synStream(2 * i + 1, i === 0 ? compress(uint32(0)) : EMPTY));
    wire.end();
    await connection.closed;
    assert.equal(streams.length, 1000);
  });

  test('control frames beyond their maximum are refused by their header', async () => {
    const { connection, wire } = peer();
    wire.write(control(4, Buffer.alloc(65 * 1024)).subarray(0, 8));
    await assert.rejects(connection.closed, /control frame of 66560 bytes/);
  });
});

describe('WebSocket frames', () => {
  const UPGRADE = {
    method: 'GET',
    url: '/',
    headers: {
      upgrade: 'websocket',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      'sec-websocket-version': '13',
    },
  } as unknown as IncomingMessage;

  interface Pair {
    /** The server's end, with the options of the API server: see exec.ts. */
    readonly near: WebSocket;
    /** The client's bytes, after the handshake. */
    readonly raw: Socket;
  }
  async function pair(): Promise<Pair> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const raw = new Socket();
    raw.on('error', () => {});
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    raw.connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [socket] = await accepted;
    const sockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
    });
    const handshake = once(raw, 'data');
    const near = await new Promise<WebSocket>((resolve) => {
      sockets.handleUpgrade(UPGRADE, socket, Buffer.alloc(0), resolve);
    });
    await handshake;
    cleanups.push(() => {
      near.terminate();
      raw.destroy();
      server.close();
    });
    return { near, raw };
  }

  /** A masked frame whose mask is zero. */
  function frame(opcode: number, data: Buffer, { fin = true }: { readonly fin?: boolean } = {}): Buffer {
    const first = (fin ? 0x80 : 0) | opcode;
    const length = data.length < 126 ? [0x80 | data.length] : [0xfe, data.length >> 8, data.length & 0xff];
    return Buffer.concat([Buffer.from([first, ...length]), Buffer.alloc(4), data]);
  }

  const channels = (socket: WebSocket, protocol = 'v5.channel.k8s.io'): WebSocketChannels =>
    new WebSocketChannels({ socket, protocol, readable: [0, 4] });

  /** The error for which the server closes. */
  async function refusal(near: WebSocket): Promise<string | undefined> {
    const [error] = (await once(near, 'error')) as [NodeJS.ErrnoException];
    return error.code;
  }

  test('a message of more fragments than clients send is refused', () =>
    requireBounded(async () => {
      const { near, raw } = await pair();
      channels(near);
      const refused = refusal(near),
        one = frame(0, Buffer.from('x'), { fin: false });
      raw.write(frame(2, Buffer.from([0]), { fin: false }));
      raw.write(Buffer.alloc(one.length * 100_000, one));
      assert.equal(await refused, 'WS_ERR_TOO_MANY_BUFFERED_PARTS');
    }));

  test('a message beyond its maximum is refused by its header', async () => {
    const { near, raw } = await pair();
    channels(near);
    const refused = refusal(near),
      head = Buffer.alloc(14);
    head.writeUInt16BE(0x82ff, 0);
    head.writeBigUInt64BE(BigInt(MAX_MESSAGE_BYTES) + 1n, 2);
    raw.write(head);
    assert.equal(await refused, 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH');
  });

  test('a flood of pings whose answers are not read ends the connection', () =>
    requireBounded(async () => {
      const { near, raw } = await pair();
      const { closed } = channels(near);
      raw.pause();
      const one = frame(9, Buffer.alloc(125));
      for (let sent = 0; sent < 100 && near.readyState === near.OPEN; sent++) {
        raw.write(Buffer.alloc(one.length * 1000, one));
        await nextTurn();
        assert.ok(near.bufferedAmount <= MEBIBYTE, `${near.bufferedAmount} bytes of answers are held`);
      }
      await closed;
    }));

  test('a channel that is not read pauses the connection', async () => {
    const { near, raw } = await pair();
    const reader = channels(near).reader(0)!;
    const message = frame(2, Buffer.alloc(60_000));
    for (let sent = 0; sent < 5000 && !near.isPaused; sent++) {
      raw.write(message);
      await nextTurn();
    }
    assert.ok(near.isPaused);
    assert.ok(reader.readableLength <= MEBIBYTE, `${reader.readableLength} bytes are held`);
  });

  test('empty messages, unknown channels and invalid base64 are passed over', () =>
    requireBounded(async () => {
      const { near, raw } = await pair();
      const { closed } = channels(near, 'v4.base64.channel.k8s.io');
      const texts = ['', '9', '7!!!!', '0!!!!'].map((text) => frame(1, Buffer.from(text)));
      raw.write(Buffer.alloc(Buffer.concat(texts).length * 10_000, Buffer.concat(texts)));
      raw.write(frame(8, Buffer.alloc(0)));
      raw.on('data', () => raw.end());
      await closed;
    }));

  test('a text message ends a byte tunnel', async () => {
    const { near, raw } = await pair();
    const failed = once(webSocketTunnel(near), 'error');
    raw.write(frame(1, Buffer.from('text')));
    assert.match(String((await failed)[0]), /text message/);
  });
});

describe('static pod manifests', () => {
  const options = { nodeName: 'n1', decode: decodeStaticPod };
  const problemsOf = async (dir: string): Promise<readonly string[]> =>
    (await readManifests(dir, options)).problems.map(({ message }) => message);

  test('endless files and pipes are not read', () =>
    requireBounded(async () => {
      const dir = temporaryDirectory();
      symlinkSync('/dev/zero', join(dir, 'endless.yaml'));
      execFileSync('mkfifo', [join(dir, '.pipe')]);
      symlinkSync(join(dir, '.pipe'), join(dir, 'pipe.yaml'));
      assert.deepEqual(await problemsOf(dir), ['not a regular file', 'not a regular file']);
    }));

  const aliases = [...'bcdefghij']
    .map((key) => [key, String.fromCodePoint(key.codePointAt(0)! - 1)])
    .map(([key, before]) => `${key}: &${key} [${Array.from({ length: 9 }, () => `*${before}`).join()}]\n`);
  for (const [name, text] of [
    ['aliases of aliases', `a: &a [x,x,x,x,x,x,x,x,x]\n${aliases.join('')}`],
    ['nesting', '['.repeat(500_000)],
    ['keys', Array.from({ length: 60_000 }, (_, i) => `k${i}: 1`).join('\n')],
    ['documents', '---\n'.repeat(200_000)],
    ['escapes', `a: "${'\\u0041'.repeat(150_000)}"`],
    [
      'invalid containers',
      `apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n${'  - {name: c, image: i}\n'.repeat(40_000)}`,
    ],
  ] as const)
    test(`a manifest of ${name} is refused with a short reason`, () =>
      requireBounded(async () => {
        const dir = temporaryDirectory();
        writeFileSync(join(dir, 'bomb.yaml'), text);
        const [problem = '', ...more] = await problemsOf(dir);
        assert.ok(problem !== '' && problem.length <= MAX_MESSAGE && more.length === 0, problem);
      }, MAX_MANIFEST_TURN_MS));

  test('files beyond the maximum are one problem', async () => {
    const dir = temporaryDirectory();
    for (let i = 0; i < MAX_FILES + 300; i++) writeFileSync(join(dir, `${i}.yaml`), '');
    const beyond = (await problemsOf(dir)).filter((message) => message.startsWith('more than'));
    assert.deepEqual(beyond, [`more than ${MAX_FILES} manifests: 300 are not read`]);
  });
});

describe('container logs', () => {
  const ALL = {
    follow: false,
    timestamps: false,
    tailLines: undefined,
    sinceMs: undefined,
    limitBytes: undefined,
    stream: undefined,
  };
  function makeLog(text: string | Buffer): string {
    const path = join(temporaryDirectory(), '0.log');
    writeFileSync(path, text);
    return path;
  }
  /** How much of a log is written to its reader. */
  async function lengthOf(path: string): Promise<number> {
    let bytes = 0;
    const write = (chunk: Buffer): Promise<void> => {
      bytes += chunk.length;
      return Promise.resolve();
    };
    const source = { path, isRunning: () => Promise.resolve(false) };
    await writeLogs(source, { signal: new AbortController().signal, write }, ALL);
    return bytes;
  }

  test('a record without an end is cut at the maximum, and the next one is read', async () => {
    const head = '2026-01-01T00:00:00Z stdout F ';
    const path = makeLog(
      Buffer.concat([Buffer.from(head), Buffer.alloc(64 * MEBIBYTE, 'x'), Buffer.from(`\n${head}next\n`)]),
    );
    const expected = MAX_LINE_BYTES - head.length + '\nnext\n'.length;
    await requireBounded(async () => assert.equal(await lengthOf(path), expected));
  });

  test('an incomplete line is held once, however its bytes arrive', () => {
    const splitter = new LineSplitter(),
      before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 2 * MAX_LINE_BYTES; i += 16) splitter.push(Buffer.alloc(16, 'x'));
    assert.ok(process.memoryUsage().arrayBuffers - before < 64 * MEBIBYTE);
    assert.equal(splitter.push(Buffer.from('\n'))[0]?.length, MAX_LINE_BYTES);
    assert.deepEqual(splitter.push(Buffer.from('next\n')), [Buffer.from('next')]);
  });

  test('tags and lines without number or form are passed over', async () => {
    const tags = `2026-01-01T00:00:00Z stdout ${'P:'.repeat(400_000)} x`;
    assert.equal(parseRecord(Buffer.from(tags))?.partial, true);
    const path = makeLog(`${tags}\n${'malformed\n'.repeat(20_000)}${'\n'.repeat(200_000)}`);
    await requireBounded(async () => assert.equal(await lengthOf(path), 1));
  });
});
