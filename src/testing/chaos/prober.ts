/**
 * A program of the chaos tests, run outside: a client without a local balancer that reads through one API server until that fails, then through the next.
 * What it saw is printed as load.ts does. Words: KUBECONFIG SERVER...
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from '#client/create.ts';
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { configMaps } from '#client/refs.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Line } from './history.ts';

const PAUSE_MS = 100;
const REQUEST_TIMEOUT_MS = 1_000;
const [path = '', ...servers] = process.argv.slice(2);
const { options } = resolveContext(loadKubeconfig({ path }));
const bounds = { timeoutMs: REQUEST_TIMEOUT_MS, connectTimeoutMs: REQUEST_TIMEOUT_MS };
const clients = servers.map((server) =>
  createClient(createHttpsTransport({ ...options, server, ...bounds }), {
    userAgent: 'chaos-prober',
    maxRetries: 0,
    timeoutMs: REQUEST_TIMEOUT_MS,
  }),
);
const say = (line: Line): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

for (let turn = 0; ;) {
  const start = Date.now();
  try {
    const list = await clients[turn % clients.length]!.list(configMaps, { namespace: 'kube-public' });
    const revision = Number(list.metadata?.resourceVersion);
    say({ kind: 'get', by: 'prober', revision, start, end: Date.now(), ok: true });
  } catch (error) {
    turn += 1;
    say({ kind: 'get', by: 'prober', start, end: Date.now(), ok: false, error: errorMessage(error) });
  }
  await sleep(PAUSE_MS);
}
