/**
 * Of failover.ts, in a machine's network: readers and writers, each on connections of its own, one request after another. Each answer that came is printed: 'read 3
 * 1764700000000', kind, loop and time. A loop goes to its next server as soon as a request failed. Words: KUBECONFIG NAME REQUEST_TIMEOUT_MS SERVER...
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from '#client/create.ts';
import type { Client } from '#client/client.ts';
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { configMaps } from '#client/refs.ts';

const LOOPS = 3;
const PAUSE_MS = 40;
const PAUSE_AFTER_FAILURE_MS = 10;
const NAMESPACE = 'default';

const [path = '', name = '', timeout = '', ...servers] = process.argv.slice(2);
const { options } = resolveContext(loadKubeconfig({ path }));
const timeoutMs = Number(timeout);

function clientOf(server: string): Client {
  return createClient(createHttpsTransport({ ...options, server, timeoutMs, connectTimeoutMs: timeoutMs }), {
    userAgent: `failover-${name}`,
    maxRetries: 0,
    timeoutMs,
  });
}

async function loop(kind: 'read' | 'write', number: number): Promise<never> {
  const clients = servers.map(clientOf);
  const object = { name: `failover-${name}-${number}`, namespace: NAMESPACE };
  const first = clients[number % clients.length]!;
  if (kind === 'write') await first.create(configMaps, { metadata: object });
  const data = { filler: 'x'.repeat(500) };
  for (let turn = number, serial = 0; ; serial += 1) {
    const api = clients[turn % clients.length]!;
    try {
      if (kind === 'read') await api.get(configMaps, { name: 'kube-root-ca.crt', namespace: NAMESPACE });
      else
        await api.patch(configMaps, object, {
          type: 'merge',
          patch: { data: { ...data, serial: String(serial) } },
        });
      process.stdout.write(`${kind} ${number} ${Date.now()}\n`);
      await sleep(PAUSE_MS);
    } catch {
      turn += 1;
      await sleep(PAUSE_AFTER_FAILURE_MS);
    }
  }
}

await Promise.all(
  Array.from({ length: LOOPS }, (_, number) => [loop('read', number), loop('write', number)]).flat(),
);
