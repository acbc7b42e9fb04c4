/**
 * A program for the upgrade tests: writes and reads ConfigMaps through a balancer until it is asked to end, each request repeated as a careful client does.
 * Words: KUBECONFIG SERVER NAME. At the end it prints one line of JSON: what was written, what failed for good, the longest time that a request took.
 */
import { createClient } from '#client/create.ts';
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { configMaps } from '#client/refs.ts';
import { isTransportError } from '#client/transport-error.ts';
import { isStatusError } from '#machinery/errors.ts';
import { realClock } from '#stdx/clock.ts';

/** Of one request, with all its repetitions. */
const PATIENCE_MS = 30_000;
const EVERY_MS = 100;
const REQUEST_TIMEOUT_MS = 5_000;
const RETRY_MS = 200;

const [path = '', server = '', prefix = ''] = process.argv.slice(2);
const { options } = resolveContext(loadKubeconfig({ path }));
const api = createClient(createHttpsTransport({ ...options, server, timeoutMs: REQUEST_TIMEOUT_MS }), {
  userAgent: 'upgrade-load',
  timeoutMs: REQUEST_TIMEOUT_MS,
});
const found = { written: 0, read: 0, repeated: 0, failed: [] as string[], longestMs: 0 };
let ended = false;
process.on('SIGTERM', () => (ended = true));

async function repeated<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
  const begin = performance.now();
  try {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const passing = isTransportError(error) || (isStatusError(error) && (error.status.code ?? 0) >= 429);
        if (!passing || performance.now() - begin > PATIENCE_MS) {
          found.failed.push(`${what}: ${(error as Error).message}`);
          return undefined;
        }
        found.repeated += 1;
        await realClock.sleep(RETRY_MS);
      }
    }
  } finally {
    found.longestMs = Math.max(found.longestMs, Math.round(performance.now() - begin));
  }
}

for (let index = 0; !ended; index += 1) {
  const name = `${prefix}-${index}`;
  const key = { name, namespace: 'default' };
  // A repeated create whose answer was lost finds its object: apply, as such clients do.
  const patch = { apiVersion: 'v1', kind: 'ConfigMap', metadata: key, data: { index: String(index) } };
  const written = await repeated(`write ${name}`, () =>
    api.patch(configMaps, key, { type: 'apply', fieldManager: 'load', force: true, patch }),
  );
  if (written) found.written += 1;
  const read = await repeated(`read ${name}`, () => api.get(configMaps, key));
  if (read?.data?.['index'] === String(index)) found.read += 1;
  else if (read) found.failed.push(`read ${name}: it is not what was written`);
  await realClock.sleep(EVERY_MS);
}
process.stdout.write(`${JSON.stringify(found)}\n`);
process.exit(0);
