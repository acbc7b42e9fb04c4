/**
 * Measures the port transport between two threads: `node src/client/port.bench.ts [parallel] [seconds]`. The server answers every get
 * with the same prepared 1 kB ConfigMap; it measures the transport, not the server.
 */
import {
  MessageChannel,
  Worker,
  isMainThread,
  parentPort,
  workerData,
  type MessagePort,
} from 'node:worker_threads';
import { createClient } from './create.ts';
import { createPortTransport, servePort } from './port.ts';
import type { Transport } from './transport.ts';

const CONFIG_MAPS = { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true };
const BODY = Buffer.from(
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'a', namespace: 'default', uid: 'u', resourceVersion: '1' },
    data: { value: 'x'.repeat(900) },
  }),
);
const EVENT = Buffer.from(
  `${JSON.stringify({ type: 'MODIFIED', object: JSON.parse(BODY.toString()) as unknown })}\n`,
);
const EVENTS = 200_000;

function serve(port: MessagePort): void {
  servePort(
    port,
    (request) =>
      Promise.resolve(
        request.query.includes('watch')
          ? { status: 200, headers: {}, body: sendEvents }
          : {
              status: 200,
              headers: {
                'content-type': 'application/json',
                'cache-control': 'no-cache, private',
                'audit-id': '00000000-0000-0000-0000-000000000000',
              },
              body: BODY,
            },
      ),
    { name: 'bench', groups: [] },
  );

  async function sendEvents(sink: {
    write(chunk: Buffer): boolean;
    drained(): Promise<void>;
    end(): void;
  }): Promise<void> {
    for (let sent = 0; sent < EVENTS; sent += 1) if (!sink.write(EVENT)) await sink.drained();
    sink.end();
  }
}

async function gets(
  name: string,
  { parallel, seconds, get }: { parallel: number; seconds: number; get: () => Promise<unknown> },
): Promise<void> {
  let done = 0;
  const started = performance.now();
  const end = started + seconds * 1000;
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      while (performance.now() < end) {
        await get();
        done += 1;
      }
    }),
  );
  console.log(
    `${name}, ${parallel} at a time: ${Math.round(done / ((performance.now() - started) / 1000))} gets/s`,
  );
}

async function measure(transport: Transport): Promise<void> {
  const [parallel = 64, seconds = 2] = process.argv.slice(2).map(Number);
  const client = createClient(transport, { userAgent: 'bench' });
  const raw = async (): Promise<unknown> =>
    (
      await transport.request({
        method: 'GET',
        path: '/api/v1/namespaces/default/configmaps/a',
        headers: { accept: 'application/json', 'user-agent': 'bench' },
      })
    ).bytes();
  for (const at of [1, parallel]) {
    await gets('transport', { parallel: at, seconds, get: raw });
    await gets('client', {
      parallel: at,
      seconds,
      get: () => client.get(CONFIG_MAPS, { name: 'a', namespace: 'default' }),
    });
  }
  const started = performance.now();
  let events = 0;
  for await (const _event of client.watch(CONFIG_MAPS, {
    resourceVersion: '1',
    signal: new AbortController().signal,
  }))
    events += 1;
  console.log(`watch: ${Math.round(events / ((performance.now() - started) / 1000))} events/s`);
  await client.close();
}

if (isMainThread) {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL(import.meta.url), { workerData: port2, transferList: [port2] });
  await measure(createPortTransport(port1));
  await worker.terminate();
} else if (parentPort) {
  serve(workerData as MessagePort);
}
