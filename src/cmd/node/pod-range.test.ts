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
import {
  assignedPodRanges,
  clusterRanges,
  nodeAddresses,
  podNetworkMode,
  startRanges,
  withConfirmedRange,
} from './pod-range.ts';

let test: TestApi;
before(async () => {
  test = await startTestApi();
});
after(() => test.stop());

it('is what the node IPAM controller assigns to the Node, which is registered for that', async () => {
  const assigned = ['one', 'two'].map((nodeName) =>
    assignedPodRanges({
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
    [nodeIPAMController({ clusterCIDR: '10.99.0.0/16,fd99::/56' })],
    { api: test.api, clock: realClock, log: silentLogger, identity: 'test' },
  );
  await controllers.start();
  try {
    const ranges = await Promise.all(assigned);
    assert.deepEqual(ranges.map((range) => range.join()).toSorted(), [
      '10.99.0.0/24,fd99::/64',
      '10.99.1.0/24,fd99:0:0:1::/64',
    ]);
    const node = await test.api.get(nodes, { name: 'one' });
    assert.equal(node.metadata?.labels?.['tier'], 'edge', 'it is registered as the agent would');
    assert.deepEqual(node.spec?.taints?.filter(({ key }) => key === 'dedicated').length, 1);
  } finally {
    await controllers.stop();
  }
});

it('at the start is the given one, that of the Node, or that of the last start while the API does not tell', async () => {
  const spec = { podCIDR: '10.98.1.0/24', podCIDRs: ['10.98.1.0/24'] };
  await test.api.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'known' }, spec });
  await test.api.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'unknown' } });
  const kept = ['10.98.2.0/24'];
  const found = (
    nodeName: string,
    more: Partial<Parameters<typeof startRanges>[0]> = {},
  ): ReturnType<typeof startRanges> =>
    startRanges({
      api: test.api,
      clock: realClock,
      log: silentLogger,
      nodeName,
      settings: {},
      given: undefined,
      kept,
      apiAnswers: true,
      ...more,
    });
  assert.deepEqual(await found('known'), { podCIDRs: ['10.98.1.0/24'], isUnconfirmed: false });
  assert.deepEqual(await found('known', { given: ['10.1.0.0/24'] }), {
    podCIDRs: ['10.1.0.0/24'],
    isUnconfirmed: false,
  });
  const later = { podCIDRs: undefined, isUnconfirmed: false };
  assert.deepEqual(await found('unknown'), later);
  assert.deepEqual(await found('deleted'), later);
  assert.deepEqual(await found('known', { apiAnswers: false, kept: undefined }), later);
  assert.deepEqual(await found('known', { apiAnswers: false }), { podCIDRs: kept, isUnconfirmed: true });
});

it('is waited for while the agent registers the Node: nothing else makes one', async () => {
  const stop = new AbortController();
  const asked = Promise.withResolvers<void>();
  const clock = {
    ...realClock,
    sleep(ms: number, signal?: AbortSignal) {
      asked.resolve();
      return realClock.sleep(ms, signal);
    },
  };
  const waiting = assignedPodRanges({
    api: test.api,
    clock,
    log: silentLogger,
    nodeName: 'by-its-agent',
    settings: {},
    stopping: stop.signal,
    agentRuns: true,
  });
  await asked.promise;
  stop.abort(new Error('stopped'));
  await assert.rejects(waiting, /stopped/);
  await assert.rejects(test.api.get(nodes, { name: 'by-its-agent' }), /not found/);
});

it('decides how the pods of other nodes are reached', () => {
  assert.equal(podNetworkMode({}), 'auto');
  assert.equal(podNetworkMode({ podCidr: '10.244.1.0/24' }), undefined);
  assert.equal(podNetworkMode({ podCidr: '10.244.1.0/24', podNetwork: 'vxlan' }), 'vxlan');
  assert.equal(podNetworkMode({ podNetwork: 'wireguard' }), 'wireguard');
  assert.deepEqual(clusterRanges({}), ['10.244.0.0/16']);
  assert.deepEqual(clusterRanges({ podCidr: '10.9.0.0/24,fd00::/64' }), ['10.9.0.0/24', 'fd00::/64']);
  assert.deepEqual(clusterRanges({ clusterCidr: 'fd00::/48' }), ['fd00::/48']);
});

it('has one address, or one of each family, the primary one first', () => {
  assert.equal(nodeAddresses({}), undefined);
  assert.deepEqual(nodeAddresses({ nodeIp: '192.0.2.1' }), ['192.0.2.1']);
  assert.deepEqual(nodeAddresses({ nodeIp: '2001:DB8:0::1, 192.0.2.1' }), ['2001:db8::1', '192.0.2.1']);
  for (const [nodeIp, problem] of [
    ['192.0.2', /must be a valid IP address/],
    ['192.0.2.1,192.0.2.2', /one of each IP family/],
    ['127.0.0.1', /not an address that others can reach/],
    ['fe80::1', /not an address that others can reach/],
  ] as const)
    assert.throws(() => nodeAddresses({ nodeIp }), problem);
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
        podCIDRs: [podCIDR],
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
