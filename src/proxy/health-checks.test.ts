import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { silentLogger } from '#stdx/log.ts';
import { HealthCheckPorts } from './health-checks.ts';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => void server.close(resolve));
  return port;
}

test('a node says how many endpoints of a service it has, for as long as somebody may ask', async (t) => {
  const ports = new HealthCheckPorts(silentLogger);
  t.after(() => ports.close());
  const port = await freePort();
  const ask = async (): Promise<unknown> => {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
    return {
      status: answer.status,
      weight: answer.headers.get('x-load-balancing-endpoint-weight'),
      body: await answer.json(),
    };
  };
  for (const [localEndpoints, status] of [
    [2, 200],
    [0, 503],
  ] as const) {
    ports.sync([{ namespace: 'shop', name: 'web', port, localEndpoints }]);
    assert.deepEqual(await ask(), {
      status,
      weight: String(localEndpoints),
      body: { service: { namespace: 'shop', name: 'web' }, localEndpoints, serviceProxyHealthy: true },
    });
  }
  ports.sync([]);
  await assert.rejects(ask(), /fetch failed/);
});
