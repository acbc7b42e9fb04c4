import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Deployment, DeploymentStatus, Pod, ReplicaSet } from '#api/types.ts';
import { deployments, events, pods, replicaSets } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { deploymentController } from './deployment-controller.ts';
import { replicaSetController } from './replicaset-controller.ts';

const REVISION = 'deployment.kubernetes.io/revision';

function deployment(namespace: string, spec: Partial<NonNullable<Deployment['spec']>> = {}): Deployment {
  const template = {
    metadata: { labels: { app: 'web' } },
    spec: { containers: [{ name: 'c', image: 'web:1' }], terminationGracePeriodSeconds: 0 },
  };
  return {
    metadata: { name: 'web', namespace, annotations: { team: 'blue' } },
    spec: { replicas: 4, selector: { matchLabels: { app: 'web' } }, template, ...spec },
  };
}

describe('deployment-controller', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld([deploymentController, replicaSetController]);
  });
  after(() => world.stop());

  const get = (namespace: string): Promise<Deployment> =>
    world.api.get(deployments, { name: 'web', namespace });
  const podsOf = async (namespace: string): Promise<Pod[]> =>
    (await world.api.list(pods, { namespace })).items;
  const setsOf = async (namespace: string): Promise<ReplicaSet[]> =>
    (await world.api.list(replicaSets, { namespace })).items;
  const patch = (namespace: string, spec: object): Promise<Deployment> =>
    world.api.patch(deployments, { name: 'web', namespace }, { type: 'strategic', patch: { spec } });
  const setImage = (namespace: string, image: string): Promise<Deployment> =>
    patch(namespace, { template: { spec: { containers: [{ name: 'c', image }] } } });
  const condition = (
    status: DeploymentStatus | undefined,
    type: string,
  ): { status: string; reason?: string; message?: string } | undefined =>
    status?.conditions?.find((item) => item.type === type);
  const imageOf = (object: {
    spec?: { template?: { spec?: { containers: { image?: string }[] } } };
  }): string | undefined => object.spec?.template?.spec?.containers[0]?.image;

  /** Makes pods with these images ready. Returns whether there was one. */
  async function readyPods(namespace: string, image: RegExp): Promise<number> {
    let made = 0;
    for (const pod of await podsOf(namespace)) {
      if (pod.status?.phase === 'Running' || !image.test(pod.spec!.containers[0]!.image!)) continue;
      await world.setPod(pod, {});
      made += 1;
    }
    return made;
  }

  async function complete(namespace: string): Promise<Deployment> {
    return world.until('rollout complete', async () => {
      await readyPods(namespace, /./);
      const object = await get(namespace);
      const { status, spec, metadata } = object;
      const done =
        status?.observedGeneration === metadata!.generation &&
        status?.updatedReplicas === spec!.replicas &&
        status?.replicas === spec!.replicas &&
        status?.availableReplicas === spec!.replicas;
      return done && condition(status, 'Progressing')?.reason === 'NewReplicaSetAvailable' && object;
    });
  }

  it('comes up with one replica set, and the conditions that kubectl waits for', async () => {
    await world.namespace('up');
    await world.api.create(deployments, deployment('up'));
    await world.until(
      'progressing',
      async () => condition((await get('up')).status, 'Progressing')?.status === 'True',
    );
    await world.until('pods', async () => (await podsOf('up')).length === 4);
    assert.equal(condition((await get('up')).status, 'Available')?.reason, 'MinimumReplicasUnavailable');
    const done = await complete('up');
    const [set, ...others] = await setsOf('up');
    assert.equal(others.length, 0);
    const hash = set!.metadata!.labels!['pod-template-hash']!;
    assert.equal(set!.metadata!.name, `web-${hash}`);
    assert.equal(set!.spec!.selector.matchLabels!['pod-template-hash'], hash);
    assert.deepEqual(set!.metadata!.annotations, {
      team: 'blue',
      [REVISION]: '1',
      'deployment.kubernetes.io/desired-replicas': '4',
      'deployment.kubernetes.io/max-replicas': '5',
    });
    assert.equal(done.metadata!.annotations![REVISION], '1');
    assert.equal(condition(done.status, 'Available')?.message, 'Deployment has minimum availability.');
    assert.equal(
      condition(done.status, 'Progressing')?.message,
      `ReplicaSet "${set!.metadata!.name}" has successfully progressed.`,
    );
    await world.until('event', async () =>
      (await world.api.list(events, { namespace: 'up' })).items.some(
        ({ reason, message }) =>
          reason === 'ScalingReplicaSet' &&
          message === `Scaled up replica set ${set!.metadata!.name} from 0 to 4`,
      ),
    );
  });

  it('rolls out within maxSurge and maxUnavailable, keeps history, rolls back, and deletes the oldest revisions', async () => {
    await world.namespace('roll');
    await world.api.create(
      deployments,
      deployment('roll', {
        revisionHistoryLimit: 1,
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 1 } },
      }),
    );
    await complete('roll');
    const violations: string[] = [];
    await setImage('roll', 'web:2');
    await world.until('rolled', async () => {
      const active = (await podsOf('roll')).filter(({ metadata }) => !metadata!.deletionTimestamp);
      const available = active.filter(({ status }) => status?.phase === 'Running').length;
      if (active.length > 5 || available < 3)
        violations.push(`${active.length} pods, ${available} available`);
      const next = (await podsOf('roll')).find(({ status }) => status?.phase !== 'Running');
      if (next) await world.setPod(next, {});
      const sets = await setsOf('roll');
      return (
        sets.length === 2 && sets.every((set) => set.spec!.replicas === (imageOf(set) === 'web:2' ? 4 : 0))
      );
    });
    assert.deepEqual(violations, []);
    const done = await complete('roll');
    assert.equal(done.metadata!.annotations![REVISION], '2');
    // As kubectl rollout undo: the old template is restored in the deployment.
    await setImage('roll', 'web:1');
    const back = await complete('roll');
    assert.equal(back.metadata!.annotations![REVISION], '3');
    const sets = await setsOf('roll');
    assert.equal(sets.length, 2);
    const first = sets.find((set) => imageOf(set) === 'web:1')!;
    assert.equal(first.metadata!.annotations!['deployment.kubernetes.io/revision-history'], '1');
    await setImage('roll', 'web:3');
    await complete('roll');
    await world.until('history of one', async () => (await setsOf('roll')).length === 2);
    assert.deepEqual((await setsOf('roll')).map(imageOf).sort(), ['web:1', 'web:3']);
  });

  it('Recreate creates no new pod before the last old one is gone', async () => {
    await world.namespace('recreate');
    await world.api.create(
      deployments,
      deployment('recreate', { replicas: 2, strategy: { type: 'Recreate' } }),
    );
    await complete('recreate');
    await world.node('n1');
    for (const pod of await podsOf('recreate')) {
      await world.api.patch(
        pods,
        { name: pod.metadata!.name!, namespace: 'recreate' },
        { type: 'merge', patch: { metadata: { finalizers: ['test.example/hold'] } } },
      );
    }
    await setImage('recreate', 'web:2');
    await world.until('old ones going', async () =>
      (await podsOf('recreate')).every(({ metadata }) => metadata!.deletionTimestamp),
    );
    await world.pass(500);
    assert.equal((await podsOf('recreate')).length, 2);
    for (const pod of await podsOf('recreate'))
      await world.api.patch(
        pods,
        { name: pod.metadata!.name!, namespace: 'recreate' },
        { type: 'merge', patch: { metadata: { finalizers: null } } },
      );
    await complete('recreate');
    assert.deepEqual(
      (await podsOf('recreate')).map((pod) => pod.spec!.containers[0]!.image),
      ['web:2', 'web:2'],
    );
  });

  it('pauses, scales proportionally while paused, and resumes', async () => {
    await world.namespace('pause');
    await world.api.create(
      deployments,
      deployment('pause', {
        replicas: 10,
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } },
      }),
    );
    await complete('pause');
    await setImage('pause', 'web:bad');
    const shape = async (): Promise<string> =>
      (await setsOf('pause'))
        .map((set) => `${imageOf(set)}=${set.spec!.replicas}`)
        .sort()
        .join(' ');
    await world.until('stuck half-way', async () => (await shape()) === 'web:1=8 web:bad=5');
    await patch('pause', { replicas: 15 });
    await world.until('in proportion', async () => (await shape()) === 'web:1=11 web:bad=7');
    await patch('pause', { paused: true });
    await world.until(
      'paused',
      async () => condition((await get('pause')).status, 'Progressing')?.reason === 'DeploymentPaused',
    );
    await setImage('pause', 'web:3');
    await world.pass(500);
    assert.equal((await setsOf('pause')).length, 2);
    await patch('pause', { paused: false });
    await complete('pause');
    assert.equal((await get('pause')).status!.availableReplicas, 15);
  });

  it('reports an exceeded progress deadline, and recovers when it progresses', async () => {
    await world.namespace('late');
    await world.api.create(deployments, deployment('late', { replicas: 1, progressDeadlineSeconds: 5 }));
    await world.until('pods', async () => (await podsOf('late')).length === 1);
    await world.pass(8_000);
    const late = await world.until('late', async () => {
      const found = condition((await get('late')).status, 'Progressing');
      return found?.status === 'False' && found;
    });
    assert.equal(late.reason, 'ProgressDeadlineExceeded');
    await complete('late');
  });

  it('writes nothing when nothing changes', async () => {
    await world.namespace('quiet');
    await world.api.create(deployments, deployment('quiet'));
    const done = await complete('quiet');
    await world.pass(5_000);
    const { resourceVersion } = (await get('quiet')).metadata!;
    assert.equal(resourceVersion, done.metadata!.resourceVersion);
  });
});
