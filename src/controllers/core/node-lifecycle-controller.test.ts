import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Node, Taint } from '#api/types.ts';
import { formatMicroTime, formatTime } from '#machinery/time.ts';
import { leases, nodes, pods } from '#client/refs.ts';
import { podCondition } from '#component-helpers/pod-status.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { nodeLifecycleController } from './node-lifecycle-controller.ts';
import { taintEvictionController } from './taint-eviction-controller.ts';

describe('node-lifecycle-controller and taint-eviction-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([nodeLifecycleController, taintEvictionController]);
    await world.namespace('work');
  });
  after(() => world.stop());

  const node = (name: string): Promise<Node> => world.api.get(nodes, { name });
  const taintsOf = async (name: string): Promise<string[]> =>
    ((await node(name)).spec?.taints ?? [])
      .map(({ key, effect }: Taint) => `${key.replace('node.kubernetes.io/', '')}:${effect}`)
      .sort();
  const report = (name: string, type: string, status: string): Promise<true> =>
    world.until('reported', async () => {
      const current = await node(name);
      const now = formatTime(world.clock.now());
      const conditions = [
        ...(current.status?.conditions ?? []).filter((condition) => condition.type !== type),
        { type, status, lastHeartbeatTime: now, lastTransitionTime: now },
      ];
      await world.api.updateStatus(nodes, { ...current, status: { ...current.status, conditions } });
      return true;
    });
  const renew = async (name: string): Promise<void> => {
    const spec = {
      holderIdentity: name,
      leaseDurationSeconds: 40,
      renewTime: formatMicroTime(world.clock.now()),
    };
    const lease = await world.find(leases, { name, namespace: 'kube-node-lease' });
    await (lease
      ? world.api.update(leases, { ...lease, spec })
      : world.api.create(leases, { metadata: { name, namespace: 'kube-node-lease' }, spec }));
  };
  /** A node as a kubelet registers it, with the taint of admission, which the controller removes. */
  const join = async (name: string): Promise<void> => {
    await world.api.create(nodes, { metadata: { name } });
    await report(name, 'Ready', 'True');
    await world.until('untainted', async () => (await taintsOf(name)).length === 0);
  };
  /** Advances time while these nodes renew their leases. */
  const alive = async (names: readonly string[], ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 10_000) {
      for (const name of names) await renew(name);
      await world.clock.advance(10_000);
      await world.pass(200);
    }
  };
  const pod = async (name: string, nodeName: string, tolerationSeconds?: number): Promise<void> => {
    const tolerations = ['not-ready', 'unreachable'].map((key) => ({
      key: `node.kubernetes.io/${key}`,
      operator: 'Exists',
      effect: 'NoExecute',
      ...(tolerationSeconds === undefined ? {} : { tolerationSeconds }),
    }));
    const created = await world.api.create(pods, {
      metadata: { name, namespace: 'work' },
      spec: { containers: [{ name: 'c', image: 'i' }], terminationGracePeriodSeconds: 0, tolerations },
    });
    await world.bind(created, nodeName);
    await world.setPod(created, {});
  };

  it('taints nodes by their conditions and removes the taints again', async () => {
    await world.api.create(nodes, {
      metadata: { name: 'a' },
      spec: { taints: [{ key: 'mine', effect: 'NoSchedule' }] },
    });
    await report('a', 'Ready', 'False');
    await world.until(
      'not ready',
      async () => (await taintsOf('a')).join() === 'mine:NoSchedule,not-ready:NoSchedule',
    );
    await report('a', 'Ready', 'True');
    await world.until('ready', async () => (await taintsOf('a')).join() === 'mine:NoSchedule');
    await report('a', 'MemoryPressure', 'True');
    await world.until('memory', async () => (await taintsOf('a')).includes('memory-pressure:NoSchedule'));
    await world.api.patch(nodes, { name: 'a' }, { type: 'merge', patch: { spec: { unschedulable: true } } });
    await world.until('cordoned', async () => (await taintsOf('a')).includes('unschedulable:NoSchedule'));
    await world.api.patch(nodes, { name: 'a' }, { type: 'merge', patch: { spec: { unschedulable: false } } });
    await report('a', 'MemoryPressure', 'False');
    await world.until('all off', async () => (await taintsOf('a')).join() === 'mine:NoSchedule');
  });

  it('marks an unreachable node, evicts its pods in time, and recovers it', async () => {
    await join('b');
    await join('c');
    await pod('patient', 'b', 100);
    await pod('stays', 'b');
    await alive(['a', 'b', 'c'], 120_000);
    assert.deepEqual(await taintsOf('b'), []);
    await alive(['a', 'c'], 60_000);
    const silent = await node('b');
    const condition = silent.status!.conditions!.find(({ type }) => type === 'Ready')!;
    assert.deepEqual(
      [condition.status, condition.reason, condition.message],
      ['Unknown', 'NodeStatusUnknown', 'Kubelet stopped posting node status.'],
    );
    assert.deepEqual(await taintsOf('b'), ['unreachable:NoExecute', 'unreachable:NoSchedule']);
    const marked = await world.api.get(pods, { name: 'stays', namespace: 'work' });
    assert.equal(podCondition(marked, 'Ready')!.status, 'False');
    assert.ok(await world.find(pods, { name: 'patient', namespace: 'work' }));
    await alive(['a', 'c'], 110_000);
    await world.until(
      'evicted',
      async () => !(await world.find(pods, { name: 'patient', namespace: 'work' })),
    );
    assert.ok(await world.find(pods, { name: 'stays', namespace: 'work' }));
    await renew('b');
    await report('b', 'Ready', 'True');
    await world.until('believed again', async () => (await taintsOf('b')).length === 0);
  });

  it('evicts at once without a toleration, and not when the taint is removed in time', async () => {
    await join('d');
    await pod('quick', 'd', 30);
    await alive(['a', 'b', 'c', 'd'], 10_000);
    await world.api.patch(
      nodes,
      { name: 'd' },
      {
        type: 'merge',
        patch: {
          spec: {
            taints: [
              { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' },
              { key: 'keep', effect: 'NoSchedule' },
            ],
          },
        },
      },
    );
    // The node is ready: the lifecycle controller removes the taint itself.
    await world.until('off', async () => (await taintsOf('d')).join() === 'keep:NoSchedule');
    await alive(['a', 'b', 'c', 'd'], 40_000);
    assert.ok(await world.find(pods, { name: 'quick', namespace: 'work' }));
    await world.api.patch(
      nodes,
      { name: 'd' },
      { type: 'merge', patch: { spec: { taints: [{ key: 'out', effect: 'NoExecute' }] } } },
    );
    await world.until('evicted', async () => !(await world.find(pods, { name: 'quick', namespace: 'work' })));
  });
});
