import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, test } from 'node:test';
import { crc32, createDeflate, constants } from 'node:zlib';
import { FrameDecoder, readFrameHeader, SPDY_DICTIONARY } from './spdy-frames.ts';
import { SpdyConnection } from './spdy.ts';
import type { SpdyStream } from './spdy.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function socketPair(): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const far = await accepted;
  near.on('error', () => {});
  far.on('error', () => {});
  cleanups.push(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

async function connections(onStream: (stream: SpdyStream) => void): Promise<{
  readonly client: SpdyConnection;
  readonly server: SpdyConnection;
  readonly near: Socket;
  readonly far: Socket;
}> {
  const { near, far } = await socketPair();
  return {
    near,
    far,
    client: new SpdyConnection(near, { role: 'client' }),
    server: new SpdyConnection(far, { role: 'server', onStream }),
  };
}

async function readAll(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

test('the dictionary is that of the specification', () => {
  assert.equal(SPDY_DICTIONARY.length, 1423);
  assert.equal(adler32(SPDY_DICTIONARY).toString(16), 'e3c6a7c2');
  assert.equal(typeof crc32(SPDY_DICTIONARY), 'number');
});

function adler32(data: Buffer): number {
  let low = 1;
  let high = 0;
  for (const byte of data) {
    low = (low + byte) % 65521;
    high = (high + low) % 65521;
  }
  return (high * 65536 + low) >>> 0;
}

test('reads headers from a real compressor, block after block', async () => {
  const deflate = createDeflate({ dictionary: SPDY_DICTIONARY, level: 9 });
  const compress = (block: Buffer): Promise<Buffer> =>
    new Promise((resolve) => {
      const parts: Buffer[] = [];
      const take = (part: Buffer): void => void parts.push(part);
      deflate.on('data', take);
      deflate.write(block, () =>
        deflate.flush(constants.Z_SYNC_FLUSH, () => {
          deflate.off('data', take);
          resolve(Buffer.concat(parts));
        }),
      );
    });
  const decoder = new FrameDecoder();
  for (const value of ['stdin', 'stdout', 'error']) {
    const name = Buffer.from('streamtype');
    const block = Buffer.concat([
      Buffer.from([0, 0, 0, 1, 0, 0, 0, name.length]),
      name,
      Buffer.from([0, 0, 0, value.length]),
      Buffer.from(value),
    ]);
    const payload = Buffer.concat([Buffer.alloc(10), await compress(block)]);
    const head = Buffer.from([0x80, 3, 0, 1, 0, 0, payload.length >> 8, payload.length & 0xff]);
    const frame = await decoder.decode(readFrameHeader(head), payload);
    assert.deepEqual(frame.type === 'syn-stream' && { ...frame.headers }, { streamtype: value });
  }
  decoder.close();
});

test('streams transfer data both ways, half-close and end', async () => {
  const { client } = await connections((stream) => {
    stream.reply();
    void readAll(stream).then((all) => stream.end(`${stream.headers['streamtype']}:${all.toString()}`));
  });
  const [one, two] = await Promise.all([
    client.createStream({ streamType: 'a' }),
    client.createStream({ streamType: 'b' }),
  ]);
  one.end('hello');
  two.write('wor');
  two.end('ld');
  assert.equal((await readAll(one)).toString(), 'a:hello');
  assert.equal((await readAll(two)).toString(), 'b:world');
  assert.equal(client.streamCount, 0);
  await client.ping();
});

test('a slow reader blocks the connection, uses bounded memory, and loses nothing', async () => {
  const streams: SpdyStream[] = [];
  const { client, near, far } = await connections((stream) => {
    stream.reply();
    streams.push(stream);
  });
  const sender = await client.createStream({});
  const data = randomBytes(24 * 1024 * 1024);
  sender.end(data);
  const receiver = streams[0];
  assert.ok(receiver);
  // The connection stops reading: the socket's own buffers fill, and stay full.
  let last = -1;
  while (far.bytesRead !== last) {
    last = far.bytesRead;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.ok(receiver.readableLength < 1024 * 1024, `${receiver.readableLength} bytes are held`);
  assert.ok(far.bytesRead < data.length / 2 && near.writableLength > 0);
  assert.ok((await readAll(receiver)).equals(data));
});

test('a reset ends the stream after the data before it', async () => {
  const streams: SpdyStream[] = [];
  const { client } = await connections((stream) => {
    stream.reply();
    streams.push(stream);
  });
  const stream = await client.createStream({});
  streams[0]?.write('last words', () => streams[0]?.reset());
  assert.equal((await readAll(stream)).toString(), 'last words');
  assert.equal(stream.wasReset, true);
  stream.write('into the void');
  assert.equal(client.streamCount, 0);
});

test('refuses streams without a handler', async () => {
  const { near, far } = await socketPair();
  const client = new SpdyConnection(near, { role: 'client' });
  const _server = new SpdyConnection(far, { role: 'server' });
  await assert.rejects(client.createStream({}), /refused/);
});

test('a broken connection fails open streams', async () => {
  const { client, far } = await connections((stream) => stream.reply());
  const stream = await client.createStream({});
  const failed = new Promise<Error>((resolve) => stream.on('error', resolve));
  far.destroy();
  assert.match((await failed).message, /closed/);
  await assert.rejects(client.createStream({}), /closed/);
});

test('rejects invalid input', async () => {
  const { near, far } = await socketPair();
  const server = new SpdyConnection(far, { role: 'server', onStream: () => {} });
  near.write(Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0]));
  await assert.rejects(server.closed, /SPDY version 2/);
});
