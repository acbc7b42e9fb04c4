import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Pod, ReplicaSet } from '#api/types.ts';
import { events, pods, replicaSets, replicationControllers } from '#client/refs.ts';
import { replicationControllerController } from '../core/replicationcontroller-controller.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { replicaSetController } from './replicaset-controller.ts';

const template = {
  metadata: { labels: { app: 'web' } },
  spec: { containers: [{ name: 'c', image: 'web:1' }], terminationGracePeriodSeconds: 0 },
};

function replicaSet(namespace: string, replicas: number): ReplicaSet {
  return {
    metadata: { name: 'web', namespace },
    spec: { replicas, selector: { matchLabels: { app: 'web' } }, template },
  };
}

describe('replicaset-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([replicaSetController, replicationControllerController]);
  });
  after(() => world.stop());

  const podsOf = async (namespace: string): Promise<Pod[]> =>
    (await world.api.list(pods, { namespace })).items;
  const scale = (namespace: string, replicas: number): Promise<ReplicaSet> =>
    world.api.patch(
      replicaSets,
      { name: 'web', namespace },
      { type: 'merge', patch: { spec: { replicas } } },
    );
  const statusOf = async (namespace: string): Promise<NonNullable<ReplicaSet['status']>> =>
    (await world.api.get(replicaSets, { name: 'web', namespace })).status!;

  it('creates exactly the requested number of pods, and reports the status', async () => {
    await world.namespace('count');
    await world.api.create(replicaSets, replicaSet('count', 10));
    await world.until('pods', async () => (await podsOf('count')).length === 10);
    const [first] = await podsOf('count');
    assert.equal(first!.metadata!.ownerReferences![0]!.name, 'web');
    assert.match(first!.metadata!.name!, /^web-[a-z0-9]{5}$/);
    await world.setPod(first!, { phase: 'Running' });
    await world.until('status', async () => (await statusOf('count')).availableReplicas === 1);
    const { replicas, fullyLabeledReplicas, readyReplicas, observedGeneration } = await statusOf('count');
    assert.deepEqual(
      { replicas, fullyLabeledReplicas, readyReplicas, observedGeneration },
      { replicas: 10, fullyLabeledReplicas: 10, readyReplicas: 1, observedGeneration: 1 },
    );
    await world.pass(1_000);
    assert.equal((await podsOf('count')).length, 10);
    await world.until('events', async () =>
      (await world.api.list(events, { namespace: 'count' })).items.some(
        ({ reason, message, source }) =>
          reason === 'SuccessfulCreate' &&
          message?.startsWith('Created pod: web-') &&
          source?.component === 'replicaset-controller',
      ),
    );
  });

  it('replaces deleted and failed pods, and deletes by rank', async () => {
    await world.namespace('less');
    await world.api.create(replicaSets, replicaSet('less', 3));
    const all = await world.until('pods', async () => {
      const list = await podsOf('less');
      return list.length === 3 && list;
    });
    await world.node('n1');
    for (const pod of all) await world.bind(pod, 'n1');
    await world.setPod(all[0]!, { ready: true });
    await world.setPod(all[1]!, { ready: false });
    await world.setPod(all[2]!, { ready: true });
    await world.until('ready', async () => (await statusOf('less')).readyReplicas === 2);
    await scale('less', 2);
    await world.until('one less', async () => (await podsOf('less')).length === 2);
    assert.equal(
      (await podsOf('less')).some(({ metadata }) => metadata!.name === all[1]!.metadata!.name),
      false,
    );
    await world.finishPod(all[0]!);
    await world.until('replaced', async () => {
      const list = await podsOf('less');
      return list.length === 2 && !list.some(({ metadata }) => metadata!.name === all[0]!.metadata!.name);
    });
    await world.setPod(all[2]!, { phase: 'Failed' });
    await world.until(
      'failed one replaced',
      async () => (await podsOf('less')).filter(({ status }) => status?.phase !== 'Failed').length === 2,
    );
  });

  it('adopts pods that match and releases pods that do not match any more', async () => {
    await world.namespace('adopt');
    const orphan = await world.api.create(pods, {
      metadata: { name: 'orphan', namespace: 'adopt', labels: { app: 'web' } },
      spec: template.spec,
    });
    const owner = await world.api.create(replicaSets, replicaSet('adopt', 1));
    await world.until(
      'adopted',
      async () =>
        (await world.api.get(pods, { name: 'orphan', namespace: 'adopt' })).metadata.ownerReferences?.[0]
          ?.uid === owner.metadata.uid,
    );
    assert.equal((await podsOf('adopt')).length, 1);
    await world.api.patch(
      pods,
      { name: orphan.metadata.name, namespace: 'adopt' },
      { type: 'merge', patch: { metadata: { labels: { app: 'other' } } } },
    );
    await world.until(
      'released',
      async () =>
        (await world.api.get(pods, { name: 'orphan', namespace: 'adopt' })).metadata.ownerReferences ===
        undefined,
    );
    await world.until('replaced', async () => (await podsOf('adopt')).length === 2);
  });

  it('sets ReplicaFailure while pods cannot be created', async () => {
    await world.namespace('refused');
    const broken = {
      ...replicaSet('refused', 2),
      spec: {
        ...replicaSet('refused', 2).spec!,
        template: {
          ...template,
          spec: { ...template.spec, serviceAccountName: 'nobody', priorityClassName: 'missing' },
        },
      },
    };
    await world.api.create(replicaSets, broken);
    const condition = await world.until('condition', async () => (await statusOf('refused')).conditions?.[0]);
    assert.equal(condition.type, 'ReplicaFailure');
    assert.equal(condition.reason, 'FailedCreate');
    await scale('refused', 0);
    await world.until('gone', async () => (await statusOf('refused')).conditions === undefined);
  });

  it('counts a pod available only after minReadySeconds', async () => {
    await world.namespace('patient');
    const owner = replicaSet('patient', 1);
    await world.api.create(replicaSets, { ...owner, spec: { ...owner.spec!, minReadySeconds: 30 } });
    const [pod] = await world.until('pod', async () => {
      const list = await podsOf('patient');
      return list.length === 1 && list;
    });
    await world.setPod(pod!, {});
    await world.until('ready', async () => (await statusOf('patient')).readyReplicas === 1);
    assert.equal((await statusOf('patient')).availableReplicas, undefined);
    await world.pass(31_000);
    await world.until('available', async () => (await statusOf('patient')).availableReplicas === 1);
  });

  it('handles replication controllers alike', async () => {
    await world.namespace('rc');
    await world.api.create(replicationControllers, {
      metadata: { name: 'old', namespace: 'rc' },
      spec: { replicas: 2, template },
    });
    await world.until('pods', async () => (await podsOf('rc')).length === 2);
    await world.until(
      'status',
      async () =>
        (await world.api.get(replicationControllers, { name: 'old', namespace: 'rc' })).status?.replicas ===
        2,
    );
  });
});
