import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import { nodes, pods } from '#client/refs.ts';
import { podCondition } from '#component-helpers/pod-status.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { podGarbageCollectorController } from './pod-garbage-collector-controller.ts';

describe('pod-garbage-collector-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([podGarbageCollectorController]);
    await world.namespace('gc');
  });
  after(() => world.stop());

  const make = async (
    name: string,
    { node, finalizers = [] }: { node?: string; finalizers?: string[] },
  ): Promise<Pod> => {
    const pod = await world.api.create(pods, {
      metadata: { name, namespace: 'gc', finalizers },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    if (node !== undefined) await world.bind(pod, node);
    return pod;
  };
  const find = (name: string): Promise<Pod | undefined> => world.find(pods, { name, namespace: 'gc' });
  const wait = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 1_000) await world.clock.advance(1_000);
    await world.pass(100);
  };

  it('deletes pods of a deleted node, after the quarantine and as Failed', async () => {
    await world.node('gone');
    await world.node('stays');
    await make('on-gone', { node: 'gone', finalizers: ['test/hold'] });
    await make('on-stays', { node: 'stays' });
    await world.api.delete(nodes, { name: 'gone' });
    await wait(30_000);
    assert.equal((await find('on-gone'))!.metadata!.deletionTimestamp, undefined);
    await wait(45_000);
    const pod = (await find('on-gone'))!;
    assert.ok(pod.metadata!.deletionTimestamp);
    assert.equal(pod.status!.phase, 'Failed');
    assert.equal(podCondition(pod, 'DisruptionTarget')!.reason, 'DeletionByPodGC');
    assert.ok(await find('on-stays'));
  });

  it('force-deletes terminating pods on an out-of-service node', async () => {
    await world.node('off', (node) => {
      (node as { status: { conditions: { status: string }[] } }).status.conditions[0]!.status = 'Unknown';
    });
    await make('leaving', { node: 'off' });
    await make('staying', { node: 'off' });
    await world.api.delete(pods, { name: 'leaving', namespace: 'gc' }, { gracePeriodSeconds: 3_000 });
    await wait(25_000);
    assert.ok(await find('leaving'));
    await world.api.patch(
      nodes,
      { name: 'off' },
      {
        type: 'merge',
        patch: { spec: { taints: [{ key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute' }] } },
      },
    );
    await wait(25_000);
    assert.equal(await find('leaving'), undefined);
    assert.ok(await find('staying'));
  });
});
