import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type {
  PersistentVolumeClaim,
  Pod,
  StatefulSet,
  StatefulSetSpec,
  StatefulSetStatus,
} from '#api/types.ts';
import { controllerRevisions, events, persistentVolumeClaims, pods, statefulSets } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { statefulSetController } from './statefulset-controller.ts';

describe('statefulset-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([statefulSetController]);
    await world.node('n1');
  });
  after(() => world.stop());

  const template = {
    metadata: { labels: { app: 'db' } },
    spec: { containers: [{ name: 'c', image: 'db:1' }], terminationGracePeriodSeconds: 0 },
  };
  const make = async (namespace: string, spec: Partial<StatefulSetSpec> = {}): Promise<StatefulSet> => {
    await world.namespace(namespace);
    return world.api.create(statefulSets, {
      metadata: { name: 'db', namespace },
      spec: {
        selector: { matchLabels: { app: 'db' } },
        serviceName: 'dbs',
        template: structuredClone(template),
        ...spec,
      },
    });
  };
  const podsOf = async (namespace: string): Promise<Pod[]> =>
    (await world.api.list(pods, { namespace })).items;
  const names = async (namespace: string): Promise<string> =>
    (await podsOf(namespace))
      .map(({ metadata, spec }) => `${metadata!.name!.slice(3)}=${spec!.containers[0]!.image}`)
      .sort()
      .join(' ');
  const claims = async (namespace: string): Promise<PersistentVolumeClaim[]> =>
    (await world.api.list(persistentVolumeClaims, { namespace })).items;
  const status = async (namespace: string): Promise<StatefulSetStatus> =>
    (await world.api.get(statefulSets, { name: 'db', namespace })).status!;
  const patch = (namespace: string, spec: object): Promise<StatefulSet> =>
    world.api.patch(statefulSets, { name: 'db', namespace }, { type: 'strategic', patch: { spec } });
  const setImage = (namespace: string, image: string): Promise<StatefulSet> =>
    patch(namespace, { template: { spec: { containers: [{ name: 'c', image }] } } });
  const pod = (namespace: string, ordinal: number): Promise<Pod> =>
    world.until(`pod ${ordinal}`, () => world.find(pods, { name: `db-${ordinal}`, namespace }));
  const eventEmitted = (namespace: string, message: string): Promise<unknown> =>
    world.until(`event ${message}`, async () =>
      (await world.api.list(events, { namespace })).items.some(
        (event) => event.message === message && event.source?.component === 'statefulset-controller',
      ),
    );

  async function runPod(one: Pod): Promise<void> {
    if (!one.spec!.nodeName) await world.bind(one, 'n1');
    await world.setPod(one, {});
  }

  const run = async (namespace: string, ordinal: number): Promise<void> =>
    runPod(await pod(namespace, ordinal));

  /** Plays scheduler and kubelet: every pod runs, and ends when it is deleted. */
  async function runAll(namespace: string): Promise<void> {
    for (const one of await podsOf(namespace)) {
      if (one.metadata!.deletionTimestamp) await world.finishPod(one);
      else if (one.status?.phase === 'Pending') await runPod(one);
    }
  }

  const ready = (namespace: string, count: number): Promise<unknown> =>
    world.until(`${count} ready`, async () => {
      await runAll(namespace);
      const now = await status(namespace);
      return now.availableReplicas === count && now.replicas === count;
    });

  it('creates pods in order, and deletes them in reverse order', async () => {
    await make('ordered', { replicas: 3 });
    const first = await pod('ordered', 0);
    await world.pass(300);
    assert.equal(await names('ordered'), '0=db:1');
    assert.equal(first.spec!.hostname, 'db-0');
    assert.equal(first.spec!.subdomain, 'dbs');
    const labels = first.metadata!.labels!;
    assert.deepEqual(
      [labels['statefulset.kubernetes.io/pod-name'], labels['apps.kubernetes.io/pod-index']],
      ['db-0', '0'],
    );
    await eventEmitted('ordered', 'create Pod db-0 in StatefulSet db successful');
    await run('ordered', 0);
    await pod('ordered', 1);
    await world.pass(300);
    assert.equal(await names('ordered'), '0=db:1 1=db:1');
    await ready('ordered', 3);
    const { currentRevision, updateRevision, collisionCount, ...counts } = await status('ordered');
    assert.equal(currentRevision, labels['controller-revision-hash']);
    assert.equal(updateRevision, currentRevision);
    assert.deepEqual(counts, {
      observedGeneration: 1,
      replicas: 3,
      readyReplicas: 3,
      currentReplicas: 3,
      updatedReplicas: 3,
      availableReplicas: 3,
    });
    assert.equal(collisionCount, 0);
    await world.setPod(await pod('ordered', 0), { ready: false });
    await patch('ordered', { replicas: 1 });
    await world.pass(500);
    assert.equal((await podsOf('ordered')).length, 3);
    await run('ordered', 0);
    await world.until('one left', async () => {
      await runAll('ordered');
      return (await names('ordered')) === '0=db:1';
    });
    await eventEmitted('ordered', 'delete Pod db-2 in StatefulSet db successful');
  });

  it('creates all pods at once with Parallel, from the first ordinal on', async () => {
    await make('parallel', { replicas: 3, podManagementPolicy: 'Parallel', ordinals: { start: 5 } });
    await world.until('three', async () => (await names('parallel')) === '5=db:1 6=db:1 7=db:1');
    await patch('parallel', { replicas: 1 });
    await world.until('one', async () => {
      await runAll('parallel');
      return (await names('parallel')) === '5=db:1';
    });
  });

  it('replaces deleted and failed pods', async () => {
    await make('replace', { replicas: 2 });
    await ready('replace', 2);
    const old = await pod('replace', 0);
    await world.finishPod(old);
    await world.until('another', async () => (await pod('replace', 0)).metadata!.uid !== old.metadata!.uid);
    await ready('replace', 2);
    const failing = await pod('replace', 1);
    await world.setPod(failing, { phase: 'Failed' });
    await eventEmitted('replace', 'StatefulSet replace/db is recreating failed Pod db-1');
    await world.until('another', async () => {
      await runAll('replace');
      return (await pod('replace', 1)).metadata!.uid !== failing.metadata!.uid;
    });
    await ready('replace', 2);
  });

  it('updates from the highest ordinal to the partition, one by one, and rolls back', async () => {
    await make('update', {
      replicas: 3,
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 2 } },
    });
    await ready('update', 3);
    await setImage('update', 'db:2');
    await world.until('highest', async () => {
      await runAll('update');
      return (await names('update')) === '0=db:1 1=db:1 2=db:2';
    });
    await ready('update', 3);
    const { currentReplicas, updatedReplicas, currentRevision, updateRevision } = await status('update');
    assert.deepEqual({ currentReplicas, updatedReplicas }, { currentReplicas: 2, updatedReplicas: 1 });
    assert.notEqual(currentRevision, updateRevision);
    // Below the partition, a new pod still has the old revision.
    const second = await pod('update', 1);
    await world.finishPod(second);
    await world.until('another', async () => (await pod('update', 1)).metadata!.uid !== second.metadata!.uid);
    await run('update', 1);
    await ready('update', 3);
    assert.equal(await names('update'), '0=db:1 1=db:1 2=db:2');
    await patch('update', { updateStrategy: { rollingUpdate: { partition: 0 } } });
    await world.until(
      'next goes',
      async () => (await pod('update', 1)).spec!.containers[0]!.image === 'db:2',
    );
    await world.pass(500);
    assert.equal(await names('update'), '0=db:1 1=db:2 2=db:2');
    await ready('update', 3);
    await world.until('updated', async () => {
      await runAll('update');
      const now = await status('update');
      return now.currentRevision === updateRevision && now.readyReplicas === 3 && now.currentReplicas === 3;
    });
    await setImage('update', 'db:1');
    await world.until('back', async () => {
      await runAll('update');
      const now = await status('update');
      return now.currentRevision === currentRevision && now.updatedReplicas === 3;
    });
    assert.deepEqual(
      (await world.api.list(controllerRevisions, { namespace: 'update' })).items
        .map(({ revision }) => revision)
        .sort(),
      [2, 3],
    );
  });

  it('updates one pod at a time, because maxUnavailable is feature-gated; with OnDelete only deleted pods', async () => {
    await make('several', {
      replicas: 4,
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 2 } },
    });
    await ready('several', 4);
    await setImage('several', 'db:2');
    await world.until('one', async () => (await names('several')) === '0=db:1 1=db:1 2=db:1 3=db:2');
    await world.pass(300);
    assert.equal(await names('several'), '0=db:1 1=db:1 2=db:1 3=db:2');
    await world.until('all', async () => {
      await runAll('several');
      return (await names('several')) === '0=db:2 1=db:2 2=db:2 3=db:2';
    });
    await make('manual', { replicas: 1, updateStrategy: { type: 'OnDelete' } });
    await ready('manual', 1);
    await setImage('manual', 'db:2');
    await world.until('seen', async () => (await status('manual')).observedGeneration === 2);
    await world.pass(300);
    assert.equal(await names('manual'), '0=db:1');
    await world.finishPod(await pod('manual', 0));
    await world.until('new', async () => (await names('manual')) === '0=db:2');
  });

  it('an update that broke pods does not block the next one', async () => {
    await make('broken', { replicas: 3, podManagementPolicy: 'Parallel' });
    await ready('broken', 3);
    await setImage('broken', 'db:bad');
    await world.until('highest', async () => (await names('broken')) === '0=db:1 1=db:1 2=db:bad');
    await world.pass(300);
    assert.equal(await names('broken'), '0=db:1 1=db:1 2=db:bad');
    await setImage('broken', 'db:2');
    await world.until('mended', async () => (await names('broken')) === '0=db:1 1=db:1 2=db:2');
    await world.until('updated', async () => {
      await runAll('broken');
      return (await names('broken')) === '0=db:2 1=db:2 2=db:2';
    });
  });

  it('creates claims for each pod, and keeps them', async () => {
    const volumeClaimTemplates = [
      {
        metadata: { name: 'data' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    ];
    await make('claims', { replicas: 2, volumeClaimTemplates });
    await ready('claims', 2);
    assert.deepEqual(
      (await claims('claims')).map(
        ({ metadata }) => `${metadata!.name} ${metadata!.labels!['app']} ${metadata!.ownerReferences}`,
      ),
      ['data-db-0 db undefined', 'data-db-1 db undefined'],
    );
    assert.equal(
      (await pod('claims', 1)).spec!.volumes!.find(({ name }) => name === 'data')!.persistentVolumeClaim!
        .claimName,
      'data-db-1',
    );
    await eventEmitted('claims', 'create Claim data-db-0 Pod db-0 in StatefulSet db success');
    await patch('claims', {
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Delete' },
    });
    const owners = async (): Promise<string> =>
      (await claims('claims'))
        .map(({ metadata }) => `${metadata!.ownerReferences?.map(({ kind, name }) => `${kind}/${name}`)}`)
        .join(' ');
    await world.until('owned by the set', async () => (await owners()) === 'StatefulSet/db StatefulSet/db');
    await patch('claims', { replicas: 1 });
    await world.until(
      'owned by the pod that goes',
      async () => (await owners()) === 'StatefulSet/db Pod/db-1',
    );
    await world.until('gone', async () => {
      await runAll('claims');
      return (await podsOf('claims')).length === 1;
    });
    // The claim is about to be deleted: no pod may start with it. The test plays the garbage collector.
    await patch('claims', { replicas: 2 });
    await world.pass(500);
    assert.equal((await podsOf('claims')).length, 1);
    const stale = (await claims('claims'))[1]!;
    await world.api.patch(
      persistentVolumeClaims,
      { name: 'data-db-1', namespace: 'claims' },
      { type: 'merge', patch: { metadata: { finalizers: null } } },
    );
    await world.api.delete(persistentVolumeClaims, { name: 'data-db-1', namespace: 'claims' });
    await ready('claims', 2);
    assert.notEqual((await claims('claims'))[1]!.metadata!.uid, stale.metadata!.uid);
    await patch('claims', {
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
    });
    await world.until('owned by none', async () => (await owners()) === 'undefined undefined');
  });

  it('waits for minReadySeconds', async () => {
    await make('patient', { replicas: 2, minReadySeconds: 30 });
    await run('patient', 0);
    await world.pass(5_000);
    assert.equal(await names('patient'), '0=db:1');
    assert.equal((await status('patient')).readyReplicas, 1);
    await world.pass(26_000);
    await pod('patient', 1);
  });
});
