import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../../testing/server.ts';

interface Item {
  readonly metadata: { readonly name: string };
  readonly conditions: readonly { readonly status: string; readonly message: string }[];
}

test('components are known by their leases, and there is no etcd', async () => {
  const server = await startTestServer();
  try {
    const show = async (): Promise<string[]> =>
      ((await server.request('GET /api/v1/componentstatuses')).body.items as Item[]).map(
        ({ metadata, conditions: [condition] }) =>
          `${metadata.name} ${condition!.status} ${condition!.message}`,
      );
    assert.deepEqual(await show(), [
      'controller-manager False no holder of the lease kube-system/kube-controller-manager',
      'scheduler False no holder of the lease kube-system/kube-scheduler',
    ]);
    const lease = (name: string, renewTime: string): object => ({
      metadata: { name, namespace: 'kube-system' },
      spec: { holderIdentity: 'host-1', leaseDurationSeconds: 15, renewTime },
    });
    const leases = 'POST /apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
    await server.request(leases, {
      body: lease('kube-scheduler', new Date(Date.now() + 60_000).toISOString().replace('Z', '000Z')),
    });
    await server.request(leases, { body: lease('kube-controller-manager', '2020-01-01T00:00:00.000000Z') });
    assert.deepEqual(await show(), [
      'controller-manager False host-1 has not renewed the lease kube-system/kube-controller-manager since 2020-01-01T00:00:00.000000Z',
      'scheduler True ok',
    ]);
    const one = await server.request('GET /api/v1/componentstatuses/scheduler');
    assert.deepEqual(
      [one.status, one.body.metadata.name, one.headers['warning']],
      [200, 'scheduler', '299 - "v1 ComponentStatus is deprecated in v1.19+"'],
    );
    assert.equal((await server.request('GET /api/v1/componentstatuses/none')).status, 404);
    for (const [selector, count] of [
      ['fieldSelector=metadata.name%3Dscheduler', 1],
      ['fieldSelector=metadata.name%3Detcd-0', 0],
      ['fieldSelector=metadata.name!%3Dscheduler', 1],
      ['labelSelector=a', 0],
    ] as const) {
      assert.equal(
        (await server.request(`GET /api/v1/componentstatuses?${selector}`)).body.items.length,
        count,
        selector,
      );
    }
    const table = await server.request('GET /api/v1/componentstatuses', {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    });
    assert.deepEqual(
      table.body.rows.map((row: { cells: string[] }) => row.cells.slice(0, 2).join(' ')),
      ['controller-manager Unhealthy', 'scheduler Healthy'],
    );
  } finally {
    await server.stop();
  }
});
