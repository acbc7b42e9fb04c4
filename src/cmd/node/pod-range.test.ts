/** Where a node's pod range comes from: a real API server, and the node IPAM controller. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { nodes } from '#client/refs.ts';
import { nodeIPAMController } from '#controllers/core/node-ipam-controller.ts';
import { createControllerManager } from '#runtime/run-controllers.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { nodeIdentity } from '../all-in-one/identities.ts';
import { assignedPodRange, clusterRange, podNetworkMode, withConfirmedRange } from './pod-range.ts';

let test: TestApi;
before(async () => {
  test = await startTestApi();
});
after(() => test.stop());

it('is what the node IPAM controller assigns to the Node, which is registered for that', async () => {
  const assigned = ['one', 'two'].map((nodeName) =>
    assignedPodRange({
      api: test.clientAs(nodeIdentity(nodeName)),
      clock: realClock,
      log: silentLogger,
      nodeName,
      settings: {
        agent: {
          labels: { tier: 'edge' },
          taints: [{ key: 'dedicated', value: 'x', effect: 'NoSchedule' }],
        },
      },
    }),
  );
  const controllers = createControllerManager(
    [nodeIPAMController({ clusterCIDR: '10.99.0.0/16', nodeCIDRMaskSize: 24 })],
    { api: test.api, clock: realClock, log: silentLogger, identity: 'test' },
  );
  await controllers.start();
  try {
    const ranges = await Promise.all(assigned);
    assert.deepEqual(ranges.toSorted(), ['10.99.0.0/24', '10.99.1.0/24']);
    const node = await test.api.get(nodes, { name: 'one' });
    assert.equal(node.metadata?.labels?.['tier'], 'edge', 'it is registered as the agent would');
    assert.deepEqual(node.spec?.taints?.filter(({ key }) => key === 'dedicated').length, 1);
  } finally {
    await controllers.stop();
  }
});

it('decides how the pods of other nodes are reached', () => {
  assert.equal(podNetworkMode({}), 'auto');
  assert.equal(podNetworkMode({ podCidr: '10.244.1.0/24' }), undefined);
  assert.equal(podNetworkMode({ podCidr: '10.244.1.0/24', podNetwork: 'vxlan' }), 'vxlan');
  assert.throws(() => podNetworkMode({ podNetwork: 'wireguard' }), /wireguard is not supported/);
  assert.equal(clusterRange({}), '10.244.0.0/16');
  assert.equal(clusterRange({ podCidr: '10.9.0.0/24' }), '10.9.0.0/24');
});

it('of the last start is confirmed once the API answers: another one fails the node, which is started again', async () => {
  const failures: string[] = [];
  const confirmed = async (nodeName: string, podCIDR: string): Promise<readonly string[]> => {
    const component = withConfirmedRange(
      { name: 'kubelet', start: () => Promise.resolve(), stop: () => Promise.resolve() },
      {
        api: test.api,
        clock: realClock,
        log: silentLogger,
        nodeName,
        settings: {},
        podCIDR,
      },
    );
    component.onFailure?.((error) => failures.push(error.message));
    await component.start();
    await component.stop();
    return failures;
  };
  const spec = { podCIDR: '10.98.7.0/24', podCIDRs: ['10.98.7.0/24'] };
  await test.api.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'again' }, spec });
  assert.deepEqual(await confirmed('again', '10.98.7.0/24'), []);
  assert.deepEqual(await confirmed('again', '10.98.3.0/24'), [
    'the pod range of node again is 10.98.7.0/24 by now, it started with 10.98.3.0/24',
  ]);
});
