import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Pod, PodDisruptionBudget, PodDisruptionBudgetStatus, ReplicaSet } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { podDisruptionBudgets, pods, replicaSets } from '#client/refs.ts';
import { controllerReference } from '#component-helpers/owner-references.ts';
import { podCondition } from '#component-helpers/pod-status.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { disruptionController } from './disruption-controller.ts';

describe('disruption-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([disruptionController]);
  });
  after(() => world.stop());

  const budget = (
    namespace: string,
    spec: NonNullable<PodDisruptionBudget['spec']>,
  ): Promise<PodDisruptionBudget> =>
    world.api.create(podDisruptionBudgets, {
      metadata: { name: 'b', namespace },
      spec: { selector: { matchLabels: { app: 'web' } }, ...spec },
    });
  const status = async (namespace: string): Promise<PodDisruptionBudgetStatus | undefined> =>
    (await world.api.get(podDisruptionBudgets, { name: 'b', namespace })).status;
  const allowedIs = (namespace: string, allowed: number): Promise<true> =>
    world.until(`${allowed} allowed`, async () => {
      assert.equal((await status(namespace))?.disruptionsAllowed, allowed);
      return true;
    });
  const owner = (namespace: string, replicas: number): Promise<ReplicaSet> =>
    world.api.create(replicaSets, {
      metadata: { name: 'web', namespace },
      spec: {
        replicas,
        selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
      },
    });
  const pod = async (namespace: string, name: string, of?: ReplicaSet): Promise<Pod> => {
    const created = await world.api.create(pods, {
      metadata: {
        name,
        namespace,
        labels: { app: 'web' },
        ...(of ? { ownerReferences: [controllerReference(of, replicaSets)] } : {}),
      },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    return world.setPod(created, {});
  };

  it('allows disruptions for healthy pods beyond the desired number', async () => {
    await world.namespace('count');
    await budget('count', { minAvailable: 2 });
    const one = await pod('count', 'a');
    await pod('count', 'b');
    await pod('count', 'c');
    await allowedIs('count', 1);
    const { conditions, currentHealthy, desiredHealthy, expectedPods, observedGeneration } =
      (await status('count'))!;
    assert.deepEqual(
      { currentHealthy, desiredHealthy, expectedPods, observedGeneration },
      { currentHealthy: 3, desiredHealthy: 2, expectedPods: 3, observedGeneration: 1 },
    );
    assert.deepEqual(
      conditions!.map(({ type, status: is, reason }) => [type, is, reason]),
      [['DisruptionAllowed', 'True', 'SufficientPods']],
    );
    await world.setPod(one, { ready: false });
    await allowedIs('count', 0);
    assert.equal((await status('count'))!.conditions![0]!.reason, 'InsufficientPods');
  });

  it('reads the expected number of pods from the controller', async () => {
    await world.namespace('scale');
    await budget('scale', { maxUnavailable: '50%' });
    const of = await owner('scale', 4);
    for (const name of ['a', 'b', 'c']) await pod('scale', name, of);
    await allowedIs('scale', 1);
    assert.deepEqual(
      [(await status('scale'))!.expectedPods, (await status('scale'))!.desiredHealthy],
      [4, 2],
    );
    await pod('scale', 'd', of);
    await allowedIs('scale', 2);
  });

  it('allows no disruptions on an error', async () => {
    await world.namespace('blind');
    await budget('blind', { maxUnavailable: 1 });
    const ghost: ReplicaSet = { metadata: { name: 'ghost', namespace: 'blind', uid: 'nobody' } };
    await pod('blind', 'a', ghost);
    const condition = await world.until('failed', async () =>
      (await status('blind'))?.conditions?.find(({ reason }) => reason === 'SyncFailed'),
    );
    assert.equal(condition.message, 'found no controllers for pod "a"');
    assert.equal((await status('blind'))!.disruptionsAllowed, 0);
  });

  it('is enforced by eviction', async () => {
    await world.namespace('evict');
    await world.node('n1');
    await budget('evict', { minAvailable: 1 });
    for (const name of ['a', 'b']) {
      const created = await world.api.create(pods, {
        metadata: { name, namespace: 'evict', labels: { app: 'web' } },
        spec: { containers: [{ name: 'c', image: 'i' }] },
      });
      await world.bind(created, 'n1');
      await world.setPod(created, {});
    }
    await allowedIs('evict', 1);
    const evict = (name: string): Promise<unknown> =>
      world.api.createSubresource(
        pods,
        { name, namespace: 'evict' },
        {
          subresource: 'eviction',
          body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: 'evict' } },
        },
      );
    await evict('a');
    await world.until(
      'not forever',
      async () => Object.keys((await status('evict'))?.disruptedPods ?? {}).length === 0,
    );
    await allowedIs('evict', 0);
    const refused = evict('b').catch((error: unknown) => error);
    let answer: unknown;
    void refused.then((error) => {
      answer = error;
    });
    await world.until('refused', () => answer);
    assert.ok(isStatusError(answer, 'TooManyRequests'));
  });

  it('resets the DisruptionTarget condition of a pod that was not deleted', async () => {
    await world.namespace('stale');
    const one = await pod('stale', 'a');
    const condition = {
      type: 'DisruptionTarget',
      status: 'True',
      lastTransitionTime: new Date(world.clock.now()).toISOString().replace(/\.\d+/, ''),
      reason: 'EvictionByEvictionAPI',
    };
    await world.setPod(one, { extra: { conditions: [condition] } });
    await world.pass(1_000);
    await world.clock.advance(121_000);
    await world.until(
      'taken back',
      async () =>
        podCondition(await world.api.get(pods, { name: 'a', namespace: 'stale' }), 'DisruptionTarget')!
          .status === 'False',
    );
  });
});
