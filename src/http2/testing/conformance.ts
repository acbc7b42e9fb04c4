/** Conformance cases: bytes to send, the expected result, and the server they run against. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Flag, FrameType } from '../frames.ts';
import { literal, RawClient, START, type SeenFrame } from './raw-client.ts';
import { startHttp2Server, type TestHttp2Server } from './server.ts';

/** Checks the result. Throws when it is wrong. */
type Expectation = (client: RawClient) => Promise<void>;
export interface Case {
  readonly what: string;
  /** Sent after the preface and an empty SETTINGS; with `bare`, instead of them. */
  readonly send: readonly Uint8Array[];
  readonly bare?: true;
  readonly expect: Expectation;
}

const seen: { path: string; body: string; headers: Readonly<Record<string, string | undefined>> }[] = [];

export const HOLD = Buffer.concat([Buffer.from([0x82, 0x86]), literal(':path', '/hold')]);
export const BIG = Buffer.concat([Buffer.from([0x82, 0x86]), literal(':path', '/big')]);

/** The server echoes the body of the request; /big returns 100,000 bytes, /hold never responds, and its body is not read. */
function startServer(): Promise<TestHttp2Server> {
  return startHttp2Server(async (incoming) => {
    if (incoming.path === '/hold') await new Promise(() => {});
    const body = await incoming.body(1_000_000).catch(() => undefined);
    if (body) seen.push({ path: incoming.path, body: body.toString(), headers: incoming.headers });
    return {
      status: 200,
      headers: { 'x-path': incoming.path },
      body: incoming.path === '/big' ? Buffer.alloc(100_000, 'b') : (body ?? Buffer.alloc(0)),
    };
  });
}

/** One test a case, one suite a section. */
export function runCases(sections: Readonly<Record<string, readonly Case[]>>): void {
  let server: TestHttp2Server;
  before(async () => void (server = await startServer()));
  after(() => server.close());
  for (const [section, cases] of Object.entries(sections))
    describe(section, () => {
      for (const one of cases) test(one.what, () => runCase(one, server.port));
    });
}

async function runCase({ send, bare, expect }: Case, port: number): Promise<void> {
  const client = new RawClient(port);
  try {
    if (!bare) client.send(START);
    if (send.length > 0) client.send(...send);
    await expect(client);
  } finally {
    client.socket.destroy();
  }
}

/** GOAWAY with one of these codes, then the end of the connection. */
export function goaway(...codes: readonly number[]): Expectation {
  return async (client) => {
    const seenGoaway = await client.frame(({ type }) => type === FrameType.goaway);
    assert.ok(seenGoaway, 'GOAWAY');
    const { payload } = seenGoaway;
    assert.ok(
      codes.includes(payload.readUInt32BE(4)),
      `${payload.readUInt32BE(4)} ${payload.toString('latin1', 8)}`,
    );
    if (!client.closed) await new Promise((resolve) => client.socket.once('close', resolve));
  };
}

/** RST_STREAM with one of these codes, and the connection stays open. */
export function reset(streamId: number, ...codes: readonly number[]): Expectation {
  return async (client) => {
    const frameSeen = await client.frame(
      (one) => one.type === FrameType.rstStream && one.streamId === streamId,
    );
    assert.ok(frameSeen, 'RST_STREAM');
    assert.ok(codes.includes(frameSeen.payload.readUInt32BE(0)), String(frameSeen.payload.readUInt32BE(0)));
    await alive(client);
  };
}

/** A response of 200 with this body, and the connection stays open. */
export function answered(streamId: number, body = ''): Expectation {
  return async (client) => {
    assert.ok(await client.frame((one) => one.streamId === streamId && endsStream(one)), 'a response');
    assert.equal(client.responses().get(streamId)?.[':status'], '200');
    assert.equal(client.body(streamId).toString(), body);
    await alive(client);
  };
}

export async function alive(client: RawClient): Promise<void> {
  assert.ok(await client.ping(), 'the connection goes on');
  assert.equal(
    client.frames.find(({ type }) => type === FrameType.goaway),
    undefined,
  );
}

function endsStream({ type, flags }: SeenFrame): boolean {
  return (type === FrameType.data || type === FrameType.headers) && (flags & Flag.endStream) !== 0;
}

export const acknowledged: Expectation = async (client) => {
  const isAck = ({ type, flags }: SeenFrame): boolean => type === FrameType.settings && flags === Flag.ack;
  assert.ok(await client.frame(isAck), 'an acknowledgement');
  await alive(client);
};

/** After these, in order. */
export function first(...steps: readonly Expectation[]): Expectation {
  return async (client) => {
    for (const step of steps) await step(client);
  };
}

export function sending(...bytes: readonly Uint8Array[]): Expectation {
  return (client) => Promise.resolve(client.send(...bytes));
}

/** The lengths of a stream's DATA frames: these, and no more after them. */
export function dataLengths(streamId: number, lengths: readonly number[]): Expectation {
  return async (client) => {
    const ofStream = (one: SeenFrame): boolean => one.type === FrameType.data && one.streamId === streamId;
    const last = lengths.length - 1;
    if (last >= 0) await client.frame((one) => ofStream(one) && client.frames.filter(ofStream)[last] === one);
    await client.ping();
    assert.deepEqual(
      client.frames.filter(ofStream).map(({ payload }) => payload.length),
      lengths,
    );
  };
}

/** The handler's last request. */
export function handed(expected: {
  readonly path?: string;
  readonly body?: string;
  readonly fields?: object;
}): Expectation {
  return () => {
    const last = seen.at(-1);
    if (expected.path !== undefined) assert.equal(last?.path, expected.path);
    if (expected.body !== undefined) assert.equal(last?.body, expected.body);
    for (const [name, value] of Object.entries(expected.fields ?? {}))
      assert.equal(last?.headers[name], value, name);
    return Promise.resolve();
  };
}
