/** API servers on one real etcd: the kubernetes Service leads to those that live. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { until } from '#testing/cluster.ts';
import type { TestServer } from '../testing/server.ts';
import { someEtcd, startSharedEtcd, type SharedEtcd } from '../testing/shared-etcd.ts';

const ENDPOINTS = '/api/v1/namespaces/default/endpoints/kubernetes';
const SLICE = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes';

const program = someEtcd();

describe('the endpoints of several API servers', { skip: program ? false : 'no etcd here' }, () => {
  let shared: SharedEtcd;
  let one: TestServer;
  before(async () => {
    shared = await startSharedEtcd(program!);
    one = await shared.start(at('192.0.2.1'));
  });
  after(async () => {
    await one.stop();
    await shared.close();
  });

  const at = (ip: string): { advertiseAddress: { ip: string; port: number } } => ({
    advertiseAddress: { ip, port: 6443 },
  });
  const addresses = async (): Promise<string[][]> => {
    const { subsets } = (await one.request(`GET ${ENDPOINTS}`)).body as {
      subsets: { addresses: { ip: string }[]; ports: object[] }[];
    };
    const { endpoints } = (await one.request(`GET ${SLICE}`)).body as {
      endpoints: { addresses: string[] }[];
    };
    assert.equal(subsets.length, 1);
    assert.deepEqual(subsets[0]!.ports, [{ name: 'https', port: 6443, protocol: 'TCP' }]);
    return [subsets[0]!.addresses.map(({ ip }) => ip), endpoints.flatMap((endpoint) => endpoint.addresses)];
  };
  const are = (...ips: string[]): Promise<unknown> =>
    until(
      `the endpoints are ${ips.join(', ')}`,
      async () => (await addresses()).every((list) => list.join() === ips.join()),
      20_000,
    );

  test('servers that come are endpoints when they are ready; one that leaves is none at once', async () => {
    await are('192.0.2.1');
    const two = await shared.start(at('192.0.2.2'));
    assert.deepEqual(await addresses(), [
      ['192.0.2.1', '192.0.2.2'],
      ['192.0.2.1', '192.0.2.2'],
    ]);
    two.server.leave();
    await are('192.0.2.1');
    assert.equal((await two.request(`GET ${ENDPOINTS}`)).status, 200, 'it goes on serving');
    await two.stop();
    await are('192.0.2.1');
  });

  test('one that was killed is gone when its lease ends, within 15 s', async () => {
    // Its clock stands still: it never renews its lease.
    const killed = await shared.start({ ...at('192.0.2.3'), clock: new FakeClock() });
    assert.ok((await addresses())[0]!.includes('192.0.2.3'));
    const begunMs = performance.now();
    await are('192.0.2.1');
    assert.ok(performance.now() - begunMs < 15_000);
    await killed.stop();
  });

  test('with --endpoint-reconciler-type none a server is no endpoint and writes none', async () => {
    const two = await shared.start({ ...at('192.0.2.4'), endpointReconciler: 'none' });
    assert.deepEqual((await addresses())[0], ['192.0.2.1']);
    await two.stop();
    await are('192.0.2.1');
  });

  test('endpoints that somebody deletes or changes are put right', async () => {
    await one.request(`DELETE ${SLICE}`);
    await until('it is back', async () => (await one.request(`GET ${SLICE}`)).status === 200);
    await one.request(`PATCH ${ENDPOINTS}`, {
      body: { subsets: [{ addresses: [{ ip: '192.0.2.9' }], ports: [{ port: 1 }] }] },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    await are('192.0.2.1');
  });
});
