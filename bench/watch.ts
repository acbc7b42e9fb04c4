/**
 * Watchers: how late changes reach them. One process serves (bench/apiserver-server.ts), this one watches and writes: raw HTTP/2 over TLS on few
 * connections with many streams each, so that the client costs little beside the server. Every change carries the time it was sent.
 *
 *   node bench/watch.ts [--watchers=1000] [--changes=500] [--seconds=10]     changes: a second, each delivered to every watcher
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { parseArgs } from 'node:util';
import {
  Flag,
  FrameType,
  PREFACE,
  Setting,
  SETTINGS_ACK,
  settingsFrame,
  windowUpdateFrame,
  writeFrameHeader,
} from '#http2/frames.ts';
import { selfSigned } from './self-signed.ts';
import { forkApiServer } from './shared.ts';

const { values } = parseArgs({
  options: {
    watchers: { type: 'string', default: '1000' },
    changes: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '10' },
  },
});
const watchers = Number(values.watchers),
  changes = Number(values.changes),
  seconds = Number(values.seconds);
const STREAMS_PER_CONNECTION = 100;
const WINDOW = 2 ** 31 - 1;
const PATH = '/api/v1/namespaces/default/configmaps';

const directory = mkdtempSync(join(tmpdir(), 'capstan-bench-'));
const tls = await selfSigned();
const server = forkApiServer({ dir: join(directory, 'api'), ...tls });

function literal(name: string, value: string): Buffer {
  const text = (part: string): Buffer =>
    Buffer.concat([
      Buffer.from(part.length < 127 ? [part.length] : [127, part.length - 127]),
      Buffer.from(part, 'latin1'),
    ]);
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}

const lags: number[] = [];
let delivered = 0;

/** Opens its watches; resolves when every one has answered. */
function watchMany(port: number, streams: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false },
      () => {
        socket.write(
          Buffer.concat([
            PREFACE,
            settingsFrame([[Setting.initialWindowSize, WINDOW]]),
            windowUpdateFrame(0, WINDOW - 65_535),
          ]),
        );
        const block = Buffer.concat([
          Buffer.from([0x82, 0x87]),
          literal(
            ':path',
            `${PATH}?watch=true&resourceVersion=0&sendInitialEvents=false`.replace(
              '&sendInitialEvents=false',
              '',
            ),
          ),
          literal('authorization', 'Bearer root'),
        ]);
        for (let i = 0; i < streams; i++) {
          const frame = Buffer.alloc(9 + block.length);
          writeFrameHeader(frame, 0, {
            length: block.length,
            type: FrameType.headers,
            flags: Flag.endHeaders | Flag.endStream,
            streamId: i * 2 + 1,
          });
          frame.set(block, 9);
          socket.write(frame);
        }
      },
    );
    socket.on('error', reject);
    let rest: Buffer = Buffer.alloc(0),
      answered = 0,
      unacknowledged = 0;
    socket.on('data', (chunk: Buffer) => {
      const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
      const nowMs = performance.timeOrigin + performance.now();
      let at = 0;
      while (bytes.length - at >= 9) {
        const length = bytes.readUIntBE(at, 3);
        if (bytes.length - at - 9 < length) break;
        const type = bytes[at + 3]!,
          flags = bytes[at + 4]!;
        if (type === FrameType.data) {
          unacknowledged += length;
          // One frame may hold several events.
          for (
            let mark = bytes.indexOf('"sent":"', at + 9);
            mark >= 0 && mark < at + 9 + length;
            mark = bytes.indexOf('"sent":"', mark + 8)
          ) {
            delivered++;
            if (delivered % 37 === 0)
              lags.push(nowMs - Number(bytes.toString('latin1', mark + 8, bytes.indexOf('"', mark + 8))));
          }
        } else if (type === FrameType.headers && ++answered === streams) resolve(socket);
        else if (type === FrameType.settings && !(flags & Flag.ack)) socket.write(SETTINGS_ACK);
        at += 9 + length;
      }
      rest = bytes.subarray(at);
      if (unacknowledged > 2 ** 29) {
        socket.write(windowUpdateFrame(0, unacknowledged));
        unacknowledged = 0;
      }
    });
  });
}

try {
  const { port } = await server.answer<{ readonly port: number }>('ready');
  const sockets: TLSSocket[] = [];
  for (let left = watchers; left > 0; left -= STREAMS_PER_CONNECTION)
    sockets.push(await watchMany(port, Math.min(left, STREAMS_PER_CONNECTION)));
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  const request = (method: string, path: string, body: object, type = 'application/json'): Promise<number> =>
    new Promise((resolve, reject) => {
      const stream = session.request({
        ':method': method,
        ':path': path,
        authorization: 'Bearer root',
        'content-type': type,
      });
      let status = 0;
      stream
        .on('response', (headers) => (status = Number(headers[':status'])))
        .on('end', () => resolve(status))
        .on('error', reject)
        .resume();
      stream.end(JSON.stringify(body));
    });
  for (let i = 0; i < 100; i++)
    await request('POST', PATH, {
      kind: 'ConfigMap',
      apiVersion: 'v1',
      metadata: { name: `bench-${i}` },
      data: { value: 'x'.repeat(200) },
    });
  await server.answer('cpu', 'cpu');
  const startMs = performance.now();
  let sent = 0,
    acknowledged = 0;
  while (performance.now() - startMs < seconds * 1000) {
    const due = Math.floor(((performance.now() - startMs) / 1000) * changes);
    for (; sent < due; sent++) {
      void request(
        'PATCH',
        `${PATH}/bench-${sent % 100}`,
        { data: { sent: String(performance.timeOrigin + performance.now()), n: String(sent) } },
        'application/merge-patch+json',
      ).then((status) => {
        if (status === 200) acknowledged++;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const { cpuMicroseconds, longestDelayMs } = await server.answer<{
    readonly cpuMicroseconds: number;
    readonly longestDelayMs: number;
  }>('cpu', 'cpu');
  const elapsed = (performance.now() - startMs) / 1000;
  lags.sort((a, b) => a - b);
  const percentile = (p: number): string => (lags[Math.floor(lags.length * p)] ?? NaN).toFixed(0);
  console.log(
    `${watchers} watchers, ${(sent / elapsed).toFixed(0)} changes/s sent, ${(acknowledged / elapsed).toFixed(0)} acknowledged, ${(delivered / elapsed).toFixed(0)} events/s delivered (${((100 * delivered) / (sent * watchers)).toFixed(0)} %)`,
  );
  console.log(
    `lag ms: p50 ${percentile(0.5)}, p90 ${percentile(0.9)}, p99 ${percentile(0.99)}, max ${percentile(0.99999)}; server: ${(cpuMicroseconds / elapsed / 10_000).toFixed(0)} % of a processor, loop held up ≤ ${longestDelayMs.toFixed(0)} ms`,
  );
  for (const socket of sockets) socket.destroy();
  session.destroy();
} finally {
  server.stop();
  rmSync(directory, { recursive: true, force: true });
}
