/** The apps part of conformance: workloads and their controllers, over simulated nodes. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { showLifecycle } from './lifecycle.ts';
import { pod, podSpec, replicationController, workload } from './manifests.ts';
import { startWorld, until, type Json, type World } from './world.ts';

/** No container of these ends by itself. */
const LASTING = { 'capstan.dev/simulate-run-seconds': '100000' };
const NOT_STARTING = { 'capstan.dev/simulate-start-seconds': '100000' };

describe('conformance: apps', () => {
  let world: World;
  let namespace: string;
  let apps: string;
  let core: string;
  before(async () => {
    world = await startWorld({ nodes: 3 });
  });
  beforeEach(async () => {
    namespace = await world.namespace();
    apps = `/apis/apps/v1/namespaces/${namespace}`;
    core = `/api/v1/namespaces/${namespace}`;
  });
  after(async () => world?.stop());

  const items = async (path: string): Promise<Json[]> => (await world.get(path)).items;
  const podsOf = (app: string): Promise<Json[]> => items(`${core}/pods?labelSelector=app%3D${app}`);
  const liveOf = async (app: string): Promise<Json[]> =>
    (await podsOf(app)).filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const isReady = ({ status }: Json): boolean =>
    status.conditions?.some(({ type, status: value }: Json) => type === 'Ready' && value === 'True');
  const isControlled = ({ metadata }: Json, uid: string): boolean =>
    metadata.ownerReferences?.some((owner: Json) => owner.controller && owner.uid === uid) ?? false;
  /** Made, and all its replicas ready. */
  const ready = async (plural: string, body: Json): Promise<Json> => {
    const path = plural === 'replicationcontrollers' ? `${core}/${plural}` : `${apps}/${plural}`;
    await world.post(path, body);
    return world.reaches(
      `${path}/${body.metadata.name}`,
      ({ spec, status }) =>
        (status.readyReplicas ?? 0) === spec.replicas && status.observedGeneration !== undefined,
    );
  };
  const rolledOut = (name: string): Promise<Json> =>
    world.reaches(
      `${apps}/deployments/${name}`,
      ({ metadata, spec, status }) =>
        status.observedGeneration === metadata.generation &&
        status.updatedReplicas === spec.replicas &&
        status.replicas === spec.replicas &&
        status.availableReplicas === spec.replicas,
    );
  const setImage = (path: string, image: string): Promise<Json> =>
    world.patch(
      path,
      { spec: { template: { spec: { containers: [{ name: 'main', image }] } } } },
      'strategic',
    );

  /** What 'status sub-resource' behaviours ask of every workload. */
  async function showStatusOf(path: string): Promise<void> {
    const condition = (type: string): Json => ({
      type,
      status: 'True',
      reason: 'E2E',
      message: `Set by ${type}`,
    });
    const read = await world.get(`${path}/status`);
    read.status.conditions = [...(read.status.conditions ?? []), condition('StatusUpdate')];
    await until('an update without conflict', async () => {
      const fresh = await world.get(`${path}/status`);
      fresh.status.conditions = [...(fresh.status.conditions ?? []), condition('StatusUpdate')];
      return (await world.send(`PUT ${path}/status`, { body: fresh })).status === 200;
    });
    assert.ok((await world.get(path)).status.conditions.some(({ type }: Json) => type === 'StatusUpdate'));
    const { spec } = await world.get(path);
    const patched = await world.patch(`${path}/status`, {
      status: { conditions: [condition('StatusPatched')] },
      spec: { minReadySeconds: 99 },
    });
    assert.deepEqual(
      patched.status.conditions.map(({ type }: Json) => type),
      ['StatusPatched'],
    );
    assert.deepEqual((await world.get(path)).spec, spec);
  }

  async function showScaleOf(path: string): Promise<void> {
    const scale = await world.get(`${path}/scale`);
    assert.equal(scale.kind, 'Scale');
    assert.equal(scale.spec.replicas, 1);
    scale.spec.replicas = 2;
    scale.metadata.resourceVersion = '';
    assert.equal((await world.put(`${path}/scale`, scale)).spec.replicas, 2);
    assert.equal((await world.get(path)).spec.replicas, 2);
    await world.reaches(`${path}/scale`, ({ status }) => status.replicas === 2);
    assert.equal((await world.patch(`${path}/scale`, { spec: { replicas: 4 } })).spec.replicas, 4);
    assert.equal((await world.get(path)).spec.replicas, 4);
    await world.reaches(path, ({ status }) => status.readyReplicas === 4);
  }

  async function showCollection(plural: string, bodies: readonly Json[]): Promise<void> {
    const labels = bodies[0].metadata.labels as Readonly<Record<string, string>>;
    const query = `labelSelector=${Object.entries(labels)
      .map(([key, value]) => `${key}%3D${value}`)
      .join(',')}`;
    for (const body of bodies) await world.post(`${apps}/${plural}`, body);
    assert.equal((await items(`/apis/apps/v1/${plural}?${query}`)).length, bodies.length);
    await world.del(`${apps}/${plural}?${query}`, { propagationPolicy: 'Background' });
    await until('none left', async () => (await items(`${apps}/${plural}?${query}`)).length === 0);
  }

  describe('daemon sets', () => {
    const make = async (name: string, spec: Json = {}): Promise<Json> => {
      await world.post(`${apps}/daemonsets`, workload('DaemonSet', name, { spec }));
      return world.reaches(
        `${apps}/daemonsets/${name}`,
        ({ status }) =>
          status.desiredNumberScheduled !== undefined &&
          status.numberReady === status.desiredNumberScheduled &&
          status.observedGeneration !== undefined,
      );
    };
    const updated = (name: string): Promise<Json> =>
      world.reaches(
        `${apps}/daemonsets/${name}`,
        ({ metadata, status }) =>
          status.observedGeneration === metadata.generation &&
          status.updatedNumberScheduled === 3 &&
          status.numberAvailable === 3,
      );

    it('DaemonSet, list and delete a collection of DaemonSets', async () => {
      await showCollection('daemonsets', [
        workload('DaemonSet', 'collected', { labels: { 'daemonset-name': namespace } }),
      ]);
    });

    it('DaemonSet-Creation', async () => {
      const made = await make('simple');
      assert.equal(made.status.numberReady, 3);
      const before = await podsOf('simple');
      assert.deepEqual(before.map(({ spec }) => spec.nodeName).toSorted(), ['node-1', 'node-2', 'node-3']);
      await world.del(`${core}/pods/${before[0].metadata.name}`);
      await until('a replacement', async () => {
        const now = await liveOf('simple');
        return (
          now.length === 3 &&
          now.every(isReady) &&
          !now.some(({ metadata }) => metadata.uid === before[0].metadata.uid)
        );
      });
    });

    it('DaemonSet-NodeSelection', async () => {
      const key = 'daemonset-color';
      const template = {
        metadata: { labels: { app: 'selecting' } },
        spec: { ...podSpec(), nodeSelector: { [key]: 'blue' } },
      };
      await world.post(`${apps}/daemonsets`, workload('DaemonSet', 'selecting', { spec: { template } }));
      await world.reaches(
        `${apps}/daemonsets/selecting`,
        ({ status }) => status.observedGeneration === 1 && status.desiredNumberScheduled === 0,
      );
      await world.patch('/api/v1/nodes/node-2', { metadata: { labels: { [key]: 'blue' } } });
      await until('a pod on that node', async () =>
        (await liveOf('selecting')).some((one) => one.spec.nodeName === 'node-2' && isReady(one)),
      );
      await world.patch('/api/v1/nodes/node-2', { metadata: { labels: { [key]: 'green' } } });
      await until('none', async () => (await podsOf('selecting')).length === 0);
      await world.patch(`${apps}/daemonsets/selecting`, {
        spec: {
          template: { spec: { nodeSelector: { [key]: 'green' } } },
          updateStrategy: { type: 'RollingUpdate' },
        },
      });
      await until('a pod on that node again', async () => (await liveOf('selecting')).length === 1);
      await world.patch('/api/v1/nodes/node-2', { metadata: { labels: { [key]: null } } });
    });

    it('DaemonSet-FailedPodCreation', async () => {
      await make('failing');
      const [victim] = await podsOf('failing');
      await world.patch(`${core}/pods/${victim.metadata.name}/status`, { status: { phase: 'Failed' } });
      await until('a new pod in its place', async () => {
        const now = await liveOf('failing');
        return (
          now.length === 3 &&
          now.every(isReady) &&
          !now.some(({ metadata }) => metadata.uid === victim.metadata.uid)
        );
      });
    });

    it('DaemonSet-RollingUpdate', async () => {
      await make('rolling');
      const history = `${apps}/controllerrevisions?labelSelector=app%3Drolling`;
      await until('its revision', async () => (await items(history)).length === 1);
      await setImage(`${apps}/daemonsets/rolling`, 'agnhost:2');
      await updated('rolling');
      assert.ok((await liveOf('rolling')).every(({ spec }) => spec.containers[0].image === 'agnhost:2'));
      assert.deepEqual((await items(history)).map(({ revision }) => revision as number).toSorted(), [1, 2]);
    });

    it('DaemonSet-Rollback', async () => {
      await make('undone', {
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 1 } },
      });
      const before = new Set((await podsOf('undone')).map(({ metadata }) => metadata.uid as string));
      const patch = (template: Json): Promise<Json> =>
        world.patch(`${apps}/daemonsets/undone`, { spec: { template } }, 'strategic');
      await patch({
        metadata: { annotations: NOT_STARTING },
        spec: { containers: [{ name: 'main', image: 'foo:non-existent' }] },
      });
      await until('one pod of the new kind', async () =>
        (await liveOf('undone')).some(({ spec }) => spec.containers[0].image === 'foo:non-existent'),
      );
      await patch({
        metadata: { annotations: null },
        spec: { containers: [{ name: 'main', image: 'pause:3.10' }] },
      });
      await updated('undone');
      const now = await liveOf('undone');
      assert.ok(now.every(({ spec }) => spec.containers[0].image === 'pause:3.10'));
      assert.equal(
        now.filter(({ metadata }) => before.has(metadata.uid)).length,
        2,
        'pods that never changed are not restarted',
      );
    });

    it('DaemonSet, status sub-resource', async () => {
      await make('status');
      await showStatusOf(`${apps}/daemonsets/status`);
    });

    it('ControllerRevision, resource lifecycle', async () => {
      await make('revised');
      const path = `${apps}/controllerrevisions`;
      const query = `${path}?labelSelector=app%3Drevised`;
      const [first] = await until('its revision', async () => {
        const found = await items(query);
        return found.length === 1 ? found : undefined;
      });
      const patched = await world.patch(`${path}/${first.metadata.name}`, {
        metadata: { labels: { [first.metadata.name]: 'patched' } },
      });
      assert.equal(patched.metadata.labels[first.metadata.name], 'patched');
      const made = await world.post(path, {
        metadata: {
          generateName: 'revised-',
          labels: { app: 'revised' },
          ownerReferences: first.metadata.ownerReferences,
        },
        data: first.data,
        revision: first.revision + 1,
      });
      assert.equal((await items(query)).length, 2);
      await world.del(`${path}/${first.metadata.name}`);
      await until('one of them', async () => (await items(query)).length === 1);
      const read = await world.get(`${path}/${made.metadata.name}`);
      read.metadata.labels['updated'] = 'yes';
      assert.equal((await world.put(`${path}/${made.metadata.name}`, read)).metadata.labels.updated, 'yes');
      await setImage(`${apps}/daemonsets/revised`, 'agnhost:2');
      const two = await until('a second one', async () => {
        const found = await items(query);
        return found.length === 2 ? found : undefined;
      });
      assert.deepEqual(two.map(({ revision }) => revision as number).toSorted(), [2, 3]);
      await updated('revised');
      await world.del(`${path}?labelSelector=updated%3Dyes`);
      const [last, ...others] = await items(query);
      assert.equal(others.length, 0);
      assert.equal(last.revision, 3);
    });
  });

  describe('deployments', () => {
    it('Deployment, completes the scaling of a Deployment subresource', async () => {
      await ready('deployments', workload('Deployment', 'scaled'));
      await showScaleOf(`${apps}/deployments/scaled`);
    });

    it('Deployment Recreate', async () => {
      await ready(
        'deployments',
        workload('Deployment', 'recreated', { replicas: 2, spec: { strategy: { type: 'Recreate' } } }),
      );
      const watch = await world.watch(
        `${core}/pods`,
        `labelSelector=app%3Drecreated&resourceVersion=${(await world.get(`${core}/pods`)).metadata.resourceVersion}`,
      );
      await setImage(`${apps}/deployments/recreated`, 'agnhost:2');
      await rolledOut('recreated');
      const words = watch.events.map(({ type, object }) => `${type} ${object.spec.containers[0].image}`);
      assert.ok(
        words.lastIndexOf('DELETED pause:3.10') < words.indexOf('ADDED agnhost:2'),
        'no new pod before all old ones are gone',
      );
    });

    it('Deployment RollingUpdate', async () => {
      // A replica set that was there before is taken over.
      const set = await ready(
        'replicasets',
        workload('ReplicaSet', 'adopted', { labels: { app: 'rolling' } }),
      );
      await world.patch(`${apps}/replicasets/adopted`, {
        metadata: { annotations: { 'deployment.kubernetes.io/revision': '3546343826724305832' } },
      });
      await world.post(`${apps}/deployments`, workload('Deployment', 'rolling', { image: 'agnhost:2' }));
      const done = await rolledOut('rolling');
      assert.equal(done.metadata.annotations['deployment.kubernetes.io/revision'], '3546343826724305833');
      const sets = await items(`${apps}/replicasets?labelSelector=app%3Drolling`);
      const old = sets.find(({ metadata }) => metadata.uid === set.metadata.uid);
      assert.equal(old.spec.replicas, 0);
      assert.ok(isControlled(old, done.metadata.uid));
    });

    it('Deployment RevisionHistoryLimit', async () => {
      await world.post(
        `${apps}/replicasets`,
        workload('ReplicaSet', 'old', { labels: { app: 'cleaned' }, replicas: 1 }),
      );
      await world.post(
        `${apps}/deployments`,
        workload('Deployment', 'cleaned', { image: 'agnhost:2', spec: { revisionHistoryLimit: 0 } }),
      );
      await rolledOut('cleaned');
      await world.gone(`${apps}/replicasets/old`);
      assert.equal((await items(`${apps}/replicasets?labelSelector=app%3Dcleaned`)).length, 1);
    });

    it('Deployment Rollover', async () => {
      await ready('replicasets', workload('ReplicaSet', 'before', { labels: { app: 'over' } }));
      const template = {
        metadata: { labels: { app: 'over' }, annotations: NOT_STARTING },
        spec: podSpec({ image: 'redis-slave:nonexistent' }),
      };
      await world.post(
        `${apps}/deployments`,
        workload('Deployment', 'over', {
          spec: {
            template,
            minReadySeconds: 1,
            strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
          },
        }),
      );
      await until(
        'the set of the first rollout',
        async () => (await items(`${apps}/replicasets?labelSelector=app%3Dover`)).length === 2,
      );
      await world.patch(
        `${apps}/deployments/over`,
        {
          spec: {
            template: {
              metadata: { annotations: null },
              spec: { containers: [{ name: 'main', image: 'agnhost:2' }] },
            },
          },
        },
        'strategic',
      );
      const done = await rolledOut('over');
      assert.equal(done.metadata.annotations['deployment.kubernetes.io/revision'], '2');
      for (const { spec } of await items(`${apps}/replicasets?labelSelector=app%3Dover`))
        assert.equal(spec.replicas, spec.template.spec.containers[0].image === 'agnhost:2' ? 1 : 0);
    });

    it('Deployment Proportional Scaling', async () => {
      const spec = { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } } };
      await ready('deployments', workload('Deployment', 'proportional', { replicas: 10, spec }));
      await world.patch(
        `${apps}/deployments/proportional`,
        {
          spec: {
            template: {
              metadata: { annotations: NOT_STARTING },
              spec: { containers: [{ name: 'main', image: 'webserver:404' }] },
            },
          },
        },
        'strategic',
      );
      const sizes = async (): Promise<Record<string, number>> =>
        Object.fromEntries(
          (await items(`${apps}/replicasets?labelSelector=app%3Dproportional`)).map(
            ({ spec: { replicas, template } }) => [template.spec.containers[0].image, replicas],
          ),
        );
      await until('the rollout to halt at its bounds', async () => {
        const now = await sizes();
        return now['pause:3.10'] === 8 && now['webserver:404'] === 5;
      });
      await world.reaches(
        `${apps}/deployments/proportional`,
        ({ status }) => status.availableReplicas === 8 && status.updatedReplicas === 5,
      );
      await world.patch(`${apps}/deployments/proportional`, { spec: { replicas: 30 } });
      await until('both sets scaled in proportion', async () => {
        const now = await sizes();
        return now['pause:3.10'] === 20 && now['webserver:404'] === 13;
      });
    });

    it('Deployment, completes the lifecycle of a Deployment', async () => {
      const watch = await world.watch(`${apps}/deployments`, 'labelSelector=app%3Dlife');
      await ready('deployments', workload('Deployment', 'life'));
      const path = `${apps}/deployments/life`;
      const patched = await world.patch(
        path,
        {
          metadata: { labels: { deployment: 'patched' } },
          spec: { replicas: 2, template: { spec: { containers: [{ name: 'main', image: 'agnhost:2' }] } } },
        },
        'strategic',
      );
      assert.equal(patched.metadata.labels.deployment, 'patched');
      assert.equal(patched.spec.replicas, 2);
      await rolledOut('life');
      assert.equal((await items('/apis/apps/v1/deployments?labelSelector=deployment%3Dpatched')).length, 1);
      await until('a status update', async () => {
        const read = await world.get(`${path}/status`);
        read.metadata.annotations.touched = 'yes';
        read.status.readyReplicas = read.status.readyReplicas ?? 0;
        return (await world.send(`PUT ${path}/status`, { body: read })).status === 200;
      });
      const status = await world.patch(
        `${path}/status`,
        { status: { conditions: [{ type: 'StatusPatched', status: 'True', reason: 'E2E', message: 'x' }] } },
        'strategic',
      );
      assert.ok(status.status.conditions.some(({ type }: Json) => type === 'StatusPatched'));
      await world.del(`${apps}/deployments?labelSelector=deployment%3Dpatched`);
      await watch.seen('DELETED');
    });

    it('Deployment, status sub-resource', async () => {
      await ready('deployments', workload('Deployment', 'status'));
      await showStatusOf(`${apps}/deployments/status`);
    });
  });

  describe('disruption budgets', () => {
    let path: string;
    beforeEach(() => {
      path = `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`;
    });
    const budget = (name: string, minAvailable: number | string, more: Json = {}): Json => ({
      metadata: { name, ...more },
      spec: { minAvailable, selector: { matchLabels: { app: 'guarded' } } },
    });
    const evict = (name: string): Promise<{ readonly status: number; readonly body: Json }> =>
      world.send(`POST ${core}/pods/${name}/eviction`, {
        body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } },
      });

    it('PodDisruptionBudget: list and delete collection', async () => {
      const labels = { collected: namespace };
      for (const name of ['one', 'two']) await world.post(path, budget(name, 1, { labels }));
      await world.post(path, budget('three', 1));
      const all = `/apis/policy/v1/poddisruptionbudgets?labelSelector=collected%3D${namespace}`;
      assert.equal((await items(all)).length, 2);
      await world.del(`${path}?labelSelector=collected%3D${namespace}`);
      await until(
        'one left',
        async () => (await items(all)).length === 0 && (await items(path)).length === 1,
      );
    });

    it('PodDisruptionBudget: create, update, patch, and delete object', async () => {
      await world.post(path, budget('pdb', '1%'));
      const read = await world.reaches(`${path}/pdb`, ({ status }) => status?.observedGeneration === 1);
      read.spec.minAvailable = '2%';
      assert.equal((await world.put(`${path}/pdb`, read)).spec.minAvailable, '2%');
      assert.equal(
        (await world.patch(`${path}/pdb`, { spec: { minAvailable: '3%' } }, 'strategic')).spec.minAvailable,
        '3%',
      );
      await world.reaches(
        `${path}/pdb`,
        ({ metadata, status }) =>
          status.observedGeneration === metadata.generation && metadata.generation === 3,
      );
      await world.del(`${path}/pdb`);
      await world.refused(404, `GET ${path}/pdb`);
    });

    it('PodDisruptionBudget: Status updates', async () => {
      await ready('replicasets', workload('ReplicaSet', 'guarded', { replicas: 3 }));
      await world.post(path, budget('pdb', 1));
      const { status } = await world.reaches(
        `${path}/pdb`,
        (object) => object.status?.disruptionsAllowed === 2,
      );
      assert.equal(status.currentHealthy, 3);
      assert.equal(status.desiredHealthy, 1);
      assert.equal(status.expectedPods, 3);
      assert.ok(
        status.conditions.some(
          ({ type, status: value, reason }: Json) =>
            type === 'DisruptionAllowed' && value === 'True' && reason === 'SufficientPods',
        ),
      );
    });

    it('PodDisruptionBudget: update and patch status', async () => {
      await world.post(path, budget('pdb', 1));
      await world.reaches(`${path}/pdb`, ({ status }) => status?.observedGeneration === 1);
      const at = `${path}/pdb/status`;
      const read = await world.get(at);
      read.status.disruptedPods = { 'pod-1': '2026-01-01T00:00:00Z' };
      assert.deepEqual(Object.keys((await world.put(at, read)).status.disruptedPods), ['pod-1']);
      const patched = await until('the patch to stand', async () => {
        const { status, body } = await world.send(`PATCH ${at}`, {
          body: { status: { disruptedPods: { 'pod-2': '2026-01-01T00:00:00Z' } } },
          headers: { 'content-type': 'application/merge-patch+json' },
        });
        return status === 200 ? (body as Json) : undefined;
      });
      assert.ok('pod-2' in patched.status.disruptedPods);
    });

    it('PodDisruptionBudget: block an eviction until the PDB is updated to allow it', async () => {
      await ready('replicasets', workload('ReplicaSet', 'guarded', { replicas: 3 }));
      await world.post(path, budget('pdb', 3));
      await world.reaches(
        `${path}/pdb`,
        ({ status }) => status?.observedGeneration === 1 && status.currentHealthy === 3,
      );
      const [
        {
          metadata: { name },
        },
      ] = await podsOf('guarded');
      const refused = await evict(name);
      assert.equal(refused.status, 429);
      assert.equal(refused.body.message, "Cannot evict pod as it would violate the pod's disruption budget.");
      assert.equal(refused.body.reason, 'TooManyRequests');
      assert.deepEqual(refused.body.details.causes, [
        {
          reason: 'DisruptionBudget',
          message: 'The disruption budget pdb needs 3 healthy pods and has 3 currently',
        },
      ]);
      await world.patch(`${path}/pdb`, { spec: { minAvailable: 2 } });
      await world.reaches(`${path}/pdb`, ({ status }) => status.disruptionsAllowed === 1);
      assert.equal((await evict(name)).status, 201);
      await world.gone(`${core}/pods/${name}`);
    });
  });

  describe('replica sets', () => {
    it('ReplicaSet, is created, Replaced and Patched', async () => {
      await ready('replicasets', workload('ReplicaSet', 'rs'));
      const path = `${apps}/replicasets/rs`;
      await world.patch(`${path}/scale`, { spec: { replicas: 2 } });
      await world.reaches(path, ({ status }) => status.readyReplicas === 2);
      const patched = await world.patch(
        path,
        {
          metadata: { labels: { 'test-rs': 'patched' } },
          spec: { replicas: 3, template: { spec: { containers: [{ name: 'main', image: 'agnhost:2' }] } } },
        },
        'strategic',
      );
      assert.deepEqual(
        [
          patched.metadata.labels['test-rs'],
          patched.spec.replicas,
          patched.spec.template.spec.containers[0].image,
        ],
        ['patched', 3, 'agnhost:2'],
      );
      await world.reaches(path, ({ status }) => status.readyReplicas === 3);
    });

    it('ReplicaSet, completes the scaling of a ReplicaSet subresource', async () => {
      await ready('replicasets', workload('ReplicaSet', 'scaled'));
      await showScaleOf(`${apps}/replicasets/scaled`);
    });

    it('Replica Set, adopt matching pods and release non matching pods', () =>
      showAdoption('replicasets', workload('ReplicaSet', 'adopter')));

    it('ReplicaSet, list and delete a collection of ReplicaSets', async () => {
      await showCollection('replicasets', [
        workload('ReplicaSet', 'collected', { labels: { e2e: namespace }, replicas: 3 }),
      ]);
    });

    it('ReplicaSet, status sub-resource', async () => {
      await ready('replicasets', workload('ReplicaSet', 'status'));
      await showStatusOf(`${apps}/replicasets/status`);
    });
  });

  async function showAdoption(plural: string, body: Json): Promise<void> {
    const { name } = body.metadata;
    await world.post(`${core}/pods`, pod('orphan', { labels: { app: name } }));
    await world.reaches(`${core}/pods/orphan`, isReady);
    const { metadata } = await ready(plural, body);
    const [adopted, ...others] = await podsOf(name);
    assert.equal(adopted.metadata.name, 'orphan');
    assert.equal(others.length, 0);
    assert.ok(isControlled(adopted, metadata.uid));
    await world.patch(`${core}/pods/orphan`, { metadata: { labels: { app: 'something-else' } } });
    await world.reaches(`${core}/pods/orphan`, (released) => released.metadata.ownerReferences === undefined);
    await until('a pod in its place', async () => (await liveOf(name)).length === 1);
  }

  describe('replication controllers', () => {
    it('Replication Controller, adopt matching pods', () =>
      showAdoption('replicationcontrollers', replicationController('adopter')));

    it('Replication Controller, get and update ReplicationController scale', async () => {
      await ready('replicationcontrollers', replicationController('scaled'));
      await showScaleOf(`${core}/replicationcontrollers/scaled`);
    });

    it('Replication Controller, release pods', async () => {
      const { metadata } = await ready('replicationcontrollers', replicationController('releasing'));
      const [
        {
          metadata: { name },
        },
      ] = await podsOf('releasing');
      await world.patch(`${core}/pods/${name}`, { metadata: { labels: { app: 'not-matching' } } });
      await world.reaches(`${core}/pods/${name}`, (released) => !released.metadata.ownerReferences);
      await until('another pod', async () =>
        (await liveOf('releasing')).some((one) => isControlled(one, metadata.uid)),
      );
    });

    it('Replication Controller, check for issues like exceeding allocated quota', async () => {
      await world.post(`${core}/resourcequotas`, { metadata: { name: 'q' }, spec: { hard: { pods: '2' } } });
      await world.reaches(`${core}/resourcequotas/q`, ({ status }) => status.hard?.pods === '2');
      await world.post(`${core}/replicationcontrollers`, replicationController('greedy', { replicas: 3 }));
      const path = `${core}/replicationcontrollers/greedy`;
      const failing = await world.reaches(path, ({ status }) =>
        status.conditions?.some(
          ({ type, status: value }: Json) => type === 'ReplicaFailure' && value === 'True',
        ),
      );
      const [{ reason, message }] = failing.status.conditions;
      assert.equal(reason, 'FailedCreate');
      assert.match(
        message,
        /is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2/,
      );
      await world.patch(path, { spec: { replicas: 2 } });
      await world.reaches(path, ({ status }) => !status.conditions?.length);
    });

    it('Replication Controller, lifecycle', async () => {
      const watch = await world.watch(`${core}/replicationcontrollers`, 'labelSelector=app%3Dlife');
      const path = `${core}/replicationcontrollers/life`;
      await ready('replicationcontrollers', replicationController('life'));
      assert.equal(
        (await world.patch(path, { metadata: { labels: { 'test-rc': 'patched' } } }, 'strategic')).metadata
          .labels['test-rc'],
        'patched',
      );
      const status = await world.patch(`${path}/status`, {
        status: { readyReplicas: 0, availableReplicas: 0 },
      });
      assert.equal(status.status.readyReplicas ?? 0, 0);
      await world.patch(`${path}/scale`, { spec: { replicas: 2 } });
      await world.reaches(path, (object) => object.status.readyReplicas === 2);
      await until(
        'an update',
        async () =>
          (
            await world.send(`PUT ${path}`, {
              body: {
                ...replicationController('life', { replicas: 2 }),
                metadata: { name: 'life', labels: { app: 'life', updated: 'yes' } },
              },
            })
          ).status === 200,
      );
      assert.equal((await items('/api/v1/replicationcontrollers?labelSelector=updated%3Dyes')).length, 1);
      await world.del(`${core}/replicationcontrollers?labelSelector=app%3Dlife`);
      await watch.seen('DELETED');
    });
  });

  describe('stateful sets', () => {
    const path = (name: string): string => `${apps}/statefulsets/${name}`;
    const settled = (name: string): Promise<Json> =>
      world.reaches(
        path(name),
        ({ metadata, spec, status }) =>
          status.observedGeneration === metadata.generation &&
          status.readyReplicas === spec.replicas &&
          status.replicas === spec.replicas &&
          status.currentRevision === status.updateRevision,
      );
    const unready = (name: string, value: boolean): Promise<Json> =>
      world.patch(
        `${core}/pods/${name}/status`,
        { status: { conditions: [{ type: 'conformance/gate', status: value ? 'False' : 'True' }] } },
        'strategic',
      );
    const gated = (more: Json = {}): Json => ({
      template: {
        metadata: { labels: { app: 'ss' } },
        spec: { ...podSpec(), readinessGates: [{ conditionType: 'conformance/gate' }] },
      },
      ...more,
    });
    const namesOf = (watch: { readonly words: readonly string[] }, type: string): string[] =>
      watch.words.filter((word) => word.startsWith(type)).map((word) => word.split(' ')[1] ?? '');

    it('StatefulSet, Burst Scaling', async () => {
      await world.post(
        `${apps}/statefulsets`,
        workload('StatefulSet', 'ss', { spec: gated({ podManagementPolicy: 'Parallel' }) }),
      );
      await until('its pod', async () => (await podsOf('ss')).length === 1);
      await world.patch(path('ss'), { spec: { replicas: 3 } });
      await until('all pods, though none is ready', async () => (await podsOf('ss')).length === 3);
      assert.ok(!(await podsOf('ss')).some(isReady));
      await world.patch(path('ss'), { spec: { replicas: 0 } });
      await until('no pods', async () => (await podsOf('ss')).length === 0);
    });

    it('StatefulSet, Scaling', async () => {
      const watch = await world.watch(`${core}/pods`, 'labelSelector=app%3Dss');
      await world.post(`${apps}/statefulsets`, workload('StatefulSet', 'ss', { spec: gated() }));
      await world.reaches(`${core}/pods/ss-0`, ({ status }) => status.phase === 'Running');
      await world.patch(path('ss'), { spec: { replicas: 3 } });
      await world.reaches(
        path('ss'),
        ({ metadata, status }) => status.observedGeneration === metadata.generation,
      );
      assert.equal((await podsOf('ss')).length, 1, 'waits for the unhealthy pod');
      for (const name of ['ss-0', 'ss-1', 'ss-2']) {
        await world.reaches(`${core}/pods/${name}`, ({ status }) => status.phase === 'Running');
        await unready(name, false);
      }
      await world.reaches(path('ss'), ({ status }) => status.readyReplicas === 3);
      assert.deepEqual(namesOf(watch, 'ADDED'), ['ss-0', 'ss-1', 'ss-2']);
      for (const name of ['ss-0', 'ss-1', 'ss-2']) await unready(name, true);
      await world.reaches(path('ss'), ({ status }) => !status.readyReplicas);
      await world.patch(path('ss'), { spec: { replicas: 0 } });
      await world.reaches(
        path('ss'),
        ({ metadata, status }) => status.observedGeneration === metadata.generation,
      );
      assert.equal((await liveOf('ss')).length, 3, 'waits for the unhealthy pods');
      // The last unhealthy one is let go as it is.
      await unready('ss-2', false);
      await world.gone(`${core}/pods/ss-2`);
      await unready('ss-1', false);
      await until('no pods', async () => (await podsOf('ss')).length === 0);
      assert.deepEqual(namesOf(watch, 'DELETED'), ['ss-2', 'ss-1', 'ss-0']);
    });

    it('StatefulSet, Recreate Failed Pod', async () => {
      await world.post(`${apps}/statefulsets`, workload('StatefulSet', 'ss'));
      await settled('ss');
      const {
        metadata: { uid },
      } = await world.get(`${core}/pods/ss-0`);
      await world.patch(`${core}/pods/ss-0/status`, { status: { phase: 'Failed' } });
      await until('the pod anew', async () => {
        const { status, body } = await world.send(`GET ${core}/pods/ss-0`);
        return status === 200 && body.metadata.uid !== uid && isReady(body);
      });
    });

    it('StatefulSet resource Replica scaling', async () => {
      await world.post(`${apps}/statefulsets`, workload('StatefulSet', 'ss'));
      await settled('ss');
      await showScaleOf(path('ss'));
    });

    it('StatefulSet, list, patch and delete a collection of StatefulSets', async () => {
      const body = workload('StatefulSet', 'ss', { labels: { e2e: namespace } });
      await world.post(`${apps}/statefulsets`, body);
      const patched = await world.patch(
        path('ss'),
        {
          metadata: { labels: { 'test-ss': 'patched' } },
          spec: { replicas: 2, template: { spec: { containers: [{ name: 'main', image: 'agnhost:2' }] } } },
        },
        'strategic',
      );
      assert.deepEqual([patched.metadata.labels['test-ss'], patched.spec.replicas], ['patched', 2]);
      assert.equal((await items(`/apis/apps/v1/statefulsets?labelSelector=e2e%3D${namespace}`)).length, 1);
      await world.del(`${apps}/statefulsets?labelSelector=test-ss%3Dpatched`);
      await until('none', async () => (await items(`${apps}/statefulsets`)).length === 0);
    });

    it('StatefulSet, Rolling Update', async () => {
      await world.post(`${apps}/statefulsets`, workload('StatefulSet', 'ss', { replicas: 3 }));
      const first = await settled('ss');
      const watch = await world.watch(
        `${core}/pods`,
        `labelSelector=app%3Dss&resourceVersion=${(await world.get(`${core}/pods`)).metadata.resourceVersion}`,
      );
      await setImage(path('ss'), 'agnhost:2');
      const moving = await world.reaches(
        path('ss'),
        ({ status }) => status.updateRevision !== first.status.updateRevision,
      );
      assert.equal(moving.status.currentRevision, first.status.currentRevision);
      const second = await settled('ss');
      assert.deepEqual(namesOf(watch, 'DELETED'), ['ss-2', 'ss-1', 'ss-0']);
      assert.ok(
        (await podsOf('ss')).every(
          ({ spec, metadata }) =>
            spec.containers[0].image === 'agnhost:2' &&
            metadata.labels['controller-revision-hash'] === second.status.updateRevision,
        ),
      );
      await setImage(path('ss'), 'pause:3.10');
      await world.reaches(path('ss'), ({ status }) => status.updateRevision === first.status.updateRevision);
      await settled('ss');
      assert.equal(
        (await items(`${apps}/controllerrevisions?labelSelector=app%3Dss`)).length,
        2,
        'a rollback makes no new revision',
      );
    });

    it('StatefulSet, Rolling Update with Partition', async () => {
      const spec = (partition: number): Json => ({
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition } },
      });
      const images = async (): Promise<string[]> =>
        (await podsOf('ss'))
          .toSorted((left, right) => (left.metadata.name < right.metadata.name ? -1 : 1))
          .map((one) => one.spec.containers[0].image as string);
      const imagesAre = (...wanted: string[]): Promise<boolean> =>
        until(`images ${wanted.join(' ')}`, async () => {
          const all = await podsOf('ss');
          return all.length === 3 && all.every(isReady) && (await images()).join() === wanted.join();
        });
      await world.post(`${apps}/statefulsets`, workload('StatefulSet', 'ss', { replicas: 3, spec: spec(3) }));
      await settled('ss');
      await setImage(path('ss'), 'agnhost:2');
      await world.reaches(
        path('ss'),
        ({ metadata, status }) => status.observedGeneration === metadata.generation,
      );
      assert.deepEqual(await images(), ['pause:3.10', 'pause:3.10', 'pause:3.10']);
      await world.patch(path('ss'), { spec: spec(2) });
      await imagesAre('pause:3.10', 'pause:3.10', 'agnhost:2');
      for (const name of ['ss-0', 'ss-2']) {
        const {
          metadata: { uid },
        } = await world.get(`${core}/pods/${name}`);
        await world.del(`${core}/pods/${name}`);
        await until('the pod anew', async () =>
          (await podsOf('ss')).some(({ metadata }) => metadata.name === name && metadata.uid !== uid),
        );
      }
      await imagesAre('pause:3.10', 'pause:3.10', 'agnhost:2');
      await world.patch(path('ss'), { spec: spec(1) });
      await imagesAre('pause:3.10', 'agnhost:2', 'agnhost:2');
      await world.patch(path('ss'), { spec: spec(0) });
      await imagesAre('agnhost:2', 'agnhost:2', 'agnhost:2');
      await settled('ss');
    });

    it('StatefulSet, status sub-resource', async () => {
      await world.post(`${apps}/statefulsets`, workload('StatefulSet', 'ss'));
      await settled('ss');
      await showStatusOf(path('ss'));
    });
  });

  describe('jobs', () => {
    let jobs: string;
    beforeEach(() => {
      jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`;
    });
    const job = (name: string, spec: Json = {}, annotations: Json = LASTING): Json => ({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name },
      spec: {
        parallelism: 2,
        completions: 4,
        backoffLimit: 6,
        ...spec,
        template: {
          metadata: { labels: { app: name }, annotations },
          spec: { ...podSpec(), restartPolicy: 'Never' },
        },
      },
    });
    const ends = (code: number): Json => ({
      'capstan.dev/simulate-run-seconds': '0.05',
      'capstan.dev/simulate-exit-code': String(code),
    });
    const finishes = (name: string, type: string): Promise<Json> =>
      world.reaches(`${jobs}/${name}`, ({ status }) =>
        status.conditions?.some((one: Json) => one.type === type && one.status === 'True'),
      );
    const conditionOf = ({ status }: Json, type: string): Json =>
      status.conditions.find((one: Json) => one.type === type);
    const running = (name: string, count: number): Promise<Json[]> =>
      until(`${count} running pods`, async () => {
        const all = (await liveOf(name)).filter(({ status }) => status.phase === 'Running');
        return all.length === count ? all : undefined;
      });
    const indexOf = ({ metadata }: Json): string =>
      metadata.annotations['batch.kubernetes.io/job-completion-index'];
    /** As if its containers had ended with this code. */
    const end = (one: Json, exitCode: number): Promise<Json> =>
      world.patch(`${core}/pods/${one.metadata.name}/status`, {
        status: {
          phase: exitCode === 0 ? 'Succeeded' : 'Failed',
          containerStatuses: [
            {
              name: 'main',
              image: 'pause:3.10',
              imageID: '',
              ready: false,
              restartCount: 0,
              state: {
                terminated: {
                  exitCode,
                  reason: exitCode === 0 ? 'Completed' : 'Error',
                  startedAt: '2026-01-01T00:00:00Z',
                  finishedAt: '2026-01-01T00:00:01Z',
                },
              },
            },
          ],
        },
      });

    it('Jobs, orphan pods, re-adoption', async () => {
      const {
        metadata: { uid },
      } = await world.post(jobs, job('adopt-release'));
      const [one, two] = await running('adopt-release', 2);
      await world.patch(`${core}/pods/${one.metadata.name}`, { metadata: { ownerReferences: null } });
      await world.reaches(`${core}/pods/${one.metadata.name}`, (object) =>
        object.metadata.ownerReferences?.some((owner: Json) => owner.uid === uid),
      );
      await world.patch(`${core}/pods/${two.metadata.name}`, {
        metadata: {
          labels: {
            app: 'other',
            'batch.kubernetes.io/controller-uid': null,
            'controller-uid': null,
            'job-name': null,
            'batch.kubernetes.io/job-name': null,
          },
        },
      });
      await world.reaches(`${core}/pods/${two.metadata.name}`, (object) => !object.metadata.ownerReferences);
    });

    it('Ensure pod failure policy allows to ignore failure matching on the DisruptionTarget condition', async () => {
      const podFailurePolicy = {
        rules: [{ action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] }],
      };
      await world.post(
        jobs,
        job('ignoring', {
          completionMode: 'Indexed',
          parallelism: 2,
          completions: 2,
          backoffLimit: 0,
          podFailurePolicy,
        }),
      );
      const first = await running('ignoring', 2);
      for (const {
        metadata: { name },
      } of first) {
        await world.post(`${core}/pods/${name}/eviction`, {
          apiVersion: 'policy/v1',
          kind: 'Eviction',
          metadata: { name },
        });
      }
      const second = await until('pods in their place', async () => {
        const all = (await liveOf('ignoring')).filter(
          (one) =>
            one.status.phase === 'Running' &&
            !first.some(({ metadata }) => metadata.uid === one.metadata.uid),
        );
        return all.length === 2 ? all : undefined;
      });
      for (const one of second) await end(one, 0);
      const done = await finishes('ignoring', 'Complete');
      assert.equal(done.status.failed ?? 0, 0);
    });

    it('Verify Pod Failure policy allows to fail job early on exit code.', async () => {
      const podFailurePolicy = {
        rules: [{ action: 'FailJob', onExitCodes: { operator: 'In', values: [1] } }],
      };
      await world.post(jobs, job('early', { parallelism: 1, completions: 1, podFailurePolicy }, ends(1)));
      const { reason, message } = conditionOf(await finishes('early', 'Failed'), 'Failed');
      assert.equal(reason, 'PodFailurePolicy');
      assert.match(
        message,
        /^Container main for pod .*\/early-\w+ failed with exit code 1 matching FailJob rule at index 0$/,
      );
      assert.equal((await podsOf('early')).length, 1);
    });

    it('Jobs, apply changes to status', async () => {
      await world.post(jobs, job('status'));
      await running('status', 2);
      const patched = await world.patch(`${jobs}/status/status`, {
        metadata: { annotations: { patchedstatus: 'true' } },
        status: {
          conditions: [
            { type: 'CustomConditionType', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' },
          ],
        },
      });
      assert.equal(patched.metadata.annotations.patchedstatus, 'true');
      assert.deepEqual(
        patched.status.conditions.map(({ type }: Json) => type),
        ['CustomConditionType'],
      );
      await until('an update', async () => {
        const read = await world.get(`${jobs}/status/status`);
        read.metadata.annotations.updatedstatus = 'true';
        return (await world.send(`PUT ${jobs}/status/status`, { body: read })).status === 200;
      });
      assert.equal((await world.get(`${jobs}/status/status`)).metadata.annotations.updatedstatus, 'true');
    });

    it('Ensure Pods of an Indexed Job get a unique index.', async () => {
      await world.post(jobs, job('indexed', { completionMode: 'Indexed' }, ends(0)));
      const done = await finishes('indexed', 'Complete');
      assert.equal(done.status.completedIndexes, '0-3');
      const pods = await podsOf('indexed');
      assert.deepEqual(pods.map(indexOf).toSorted(), ['0', '1', '2', '3']);
      for (const { spec } of pods)
        assert.equal(
          spec.containers[0].env.find(({ name }: Json) => name === 'JOB_COMPLETION_INDEX').valueFrom.fieldRef
            .fieldPath,
          "metadata.labels['batch.kubernetes.io/job-completion-index']",
        );
    });

    it('Jobs, active pods, graceful termination', async () => {
      await world.post(jobs, job('deleted'));
      await running('deleted', 2);
      await world.reaches(`${jobs}/deleted`, ({ status }) => status.active === 2);
      await world.del(`${jobs}/deleted`, { propagationPolicy: 'Foreground' });
      await world.gone(`${jobs}/deleted`);
      assert.equal((await podsOf('deleted')).length, 0);
    });

    it('Ensure that all indexes are executed for an indexed job with backoffLimitPerIndex despite some failing', async () => {
      await world.post(
        jobs,
        job('per-index', { completionMode: 'Indexed', backoffLimitPerIndex: 0, backoffLimit: null }),
      );
      const seen = new Set<string>();
      while (seen.size < 4) {
        const one = await until('the next pod', async () =>
          (await liveOf('per-index')).find(
            ({ metadata, status }) => status.phase === 'Running' && !seen.has(metadata.uid),
          ),
        );
        seen.add(one.metadata.uid);
        await end(one, Number(indexOf(one)) % 2);
      }
      const done = await finishes('per-index', 'Failed');
      assert.deepEqual(
        [done.status.failedIndexes, done.status.completedIndexes, done.status.failed, done.status.succeeded],
        ['1,3', '0,2', 2, 2],
      );
      assert.equal(conditionOf(done, 'Failed').reason, 'FailedIndexes');
    });

    it('Mark indexes as failed when the FailIndex action is matched in podFailurePolicy', async () => {
      const podFailurePolicy = {
        rules: [{ action: 'FailIndex', onExitCodes: { operator: 'In', values: [42] } }],
      };
      await world.post(
        jobs,
        job('fail-index', {
          completionMode: 'Indexed',
          parallelism: 2,
          completions: 2,
          backoffLimitPerIndex: 1,
          backoffLimit: null,
          podFailurePolicy,
        }),
      );
      for (const one of await running('fail-index', 2)) await end(one, indexOf(one) === '0' ? 42 : 0);
      const done = await finishes('fail-index', 'Failed');
      assert.deepEqual(
        [done.status.failedIndexes, done.status.completedIndexes, done.status.failed],
        ['0', '1', 1],
      );
    });

    it('Terminate job execution when the maxFailedIndexes is exceeded', async () => {
      await world.post(
        jobs,
        job('too-many', {
          completionMode: 'Indexed',
          backoffLimitPerIndex: 0,
          backoffLimit: null,
          maxFailedIndexes: 0,
        }),
      );
      const [one] = await running('too-many', 2);
      await end(one, 1);
      const done = await finishes('too-many', 'Failed');
      assert.equal(conditionOf(done, 'Failed').reason, 'MaxFailedIndexesExceeded');
      assert.equal(done.status.failedIndexes, indexOf(one));
      assert.equal(done.status.succeeded ?? 0, 0);
    });

    const successRule = async (
      name: string,
      { rules, ended }: { readonly rules?: Json; readonly ended: readonly string[] },
    ): Promise<void> => {
      await world.post(
        jobs,
        job(name, {
          completionMode: 'Indexed',
          parallelism: 4,
          completions: 4,
          ...(rules ? { successPolicy: { rules } } : {}),
        }),
      );
      for (const one of await running(name, 4)) if (ended.includes(indexOf(one))) await end(one, 0);
      const done = await finishes(name, 'Complete');
      for (const type of ['SuccessCriteriaMet', 'Complete'])
        assert.equal(conditionOf(done, type).reason, 'SuccessPolicy');
      assert.equal(done.status.completedIndexes, ended.length === 4 ? '0-3' : ended.join());
      await until('the others ended', async () =>
        (await liveOf(name)).every(({ status }) => status.phase === 'Succeeded'),
      );
    };
    it('Ensure that job with successPolicy succeeded when all indexes succeeded', () =>
      successRule('all', { rules: [{ succeededIndexes: '0-3' }], ended: ['0', '1', '2', '3'] }));
    it('Ensure that job with successPolicy succeededIndexes rule succeeded even when some indexes remain pending', () =>
      successRule('some', { rules: [{ succeededIndexes: '0' }], ended: ['0'] }));
    it('Ensure that job with successPolicy succeededCount rule succeeded even when some indexes remain pending', () =>
      successRule('one', { rules: [{ succeededCount: 1 }], ended: ['2'] }));

    it('Jobs, completion after task failure', async () => {
      await world.post(jobs, job('retried', { parallelism: 1, completions: 1 }));
      const [one] = await running('retried', 1);
      await end(one, 1);
      const other = await until(
        'another pod',
        async () =>
          (await liveOf('retried')).find(
            ({ metadata, status }) => status.phase === 'Running' && metadata.uid !== one.metadata.uid,
          ),
        30_000,
      );
      await end(other, 0);
      const done = await finishes('retried', 'Complete');
      assert.deepEqual([done.status.succeeded, done.status.failed], [1, 1]);
    });

    it('Jobs, manage lifecycle', async () => {
      await world.post(jobs, {
        ...job('suspended', { suspend: true }),
        metadata: { name: 'suspended', labels: { e2e: namespace } },
      });
      await finishes('suspended', 'Suspended');
      assert.equal(
        (await world.patch(`${jobs}/suspended`, { metadata: { labels: { patched: 'yes' } } })).metadata.labels
          .patched,
        'yes',
      );
      await until('it replaced', async () => {
        const read = await world.get(`${jobs}/suspended`);
        read.spec.suspend = false;
        read.metadata.annotations = { updated: 'true' };
        return (await world.send(`PUT ${jobs}/suspended`, { body: read })).status === 200;
      });
      assert.equal((await world.get(`${jobs}/suspended`)).metadata.annotations.updated, 'true');
      await running('suspended', 2);
      assert.equal((await items(`/apis/batch/v1/jobs?labelSelector=e2e%3D${namespace}`)).length, 1);
      await world.del(`${jobs}?labelSelector=e2e%3D${namespace}`, { propagationPolicy: 'Background' });
      await until('none', async () => (await items(jobs)).length === 0);
    });
  });

  describe('cron jobs', () => {
    /** Its last time is a minute ago, so that it is due at once. */
    const cron = async (name: string, spec: Json = {}): Promise<void> => {
      await world.post(crons, {
        metadata: { name, creationTimestamp: null },
        spec: {
          schedule: '* * * * *',
          suspend: true,
          ...spec,
          jobTemplate: {
            spec: {
              parallelism: 1,
              completions: 1,
              template: {
                metadata: { annotations: LASTING },
                spec: { ...podSpec(), restartPolicy: 'OnFailure' },
              },
            },
          },
        },
      });
      await due(name);
    };
    let crons: string;
    let jobs: string;
    beforeEach(() => {
      crons = `/apis/batch/v1/namespaces/${namespace}/cronjobs`;
      jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`;
    });
    /** Sets the last time it ran back, and lets it run. */
    const due = async (name: string): Promise<void> => {
      await world.patch(`${crons}/${name}`, { spec: { suspend: true } });
      await world.patch(`${crons}/${name}/status`, {
        status: {
          lastScheduleTime: new Date(Date.now() - (due.minutes += 2) * 60_000)
            .toISOString()
            .replace(/\.\d+Z$/, 'Z'),
        },
      });
    };
    due.minutes = 0;
    const release = (name: string): Promise<Json> =>
      world.patch(`${crons}/${name}`, { spec: { suspend: false } });
    const jobNames = async (): Promise<string[]> =>
      (await items(jobs))
        .filter(({ metadata }) => !metadata.deletionTimestamp)
        .map(({ metadata }) => metadata.name as string);
    /** A job that the cron job started in an earlier minute. */
    const earlier = async (name: string): Promise<string> => {
      const {
        metadata: { uid },
        spec,
      } = await world.get(`${crons}/${name}`);
      const made = await world.post(jobs, {
        metadata: {
          name: `${name}-earlier`,
          annotations: { 'batch.kubernetes.io/cronjob-scheduled-timestamp': '2026-01-01T00:00:00Z' },
          ownerReferences: [
            {
              apiVersion: 'batch/v1',
              kind: 'CronJob',
              name,
              uid,
              controller: true,
              blockOwnerDeletion: true,
            },
          ],
        },
        spec: spec.jobTemplate.spec,
      });
      const { kind, apiVersion, metadata } = made;
      await world.patch(`${crons}/${name}/status`, {
        status: {
          active: [
            {
              kind: kind ?? 'Job',
              apiVersion: apiVersion ?? 'batch/v1',
              name: metadata.name,
              namespace,
              uid: metadata.uid,
            },
          ],
        },
      });
      return metadata.name as string;
    };

    it('CronJob AllowConcurrent', async () => {
      await cron('allow', { concurrencyPolicy: 'Allow' });
      await earlier('allow');
      await release('allow');
      await until('two jobs', async () => (await jobNames()).length >= 2);
      await world.reaches(`${crons}/allow`, ({ status }) => (status.active?.length ?? 0) >= 2);
    });

    it('CronJob ForbidConcurrent', async () => {
      await cron('forbid', { concurrencyPolicy: 'Forbid' });
      const only = await earlier('forbid');
      await release('forbid');
      await until('the event that says so', async () =>
        (await items(`${core}/events`)).some(
          ({ reason, involvedObject }) => reason === 'JobAlreadyActive' && involvedObject.name === 'forbid',
        ),
      );
      assert.deepEqual(await jobNames(), [only]);
      assert.equal((await world.get(`${crons}/forbid`)).status.active.length, 1);
    });

    it('CronJob ReplaceConcurrent', async () => {
      await cron('replace', { concurrencyPolicy: 'Replace' });
      const old = await earlier('replace');
      await release('replace');
      await until('another job in its place', async () => {
        const now = await jobNames();
        return now.length === 1 && now[0] !== old;
      });
    });

    it('CronJob Suspend', async () => {
      await cron('suspended');
      await cron('other');
      await release('other');
      await until('a job of the one that is not suspended', async () =>
        (await jobNames()).some((name) => name.startsWith('other-')),
      );
      assert.ok(!(await jobNames()).some((name) => name.startsWith('suspended-')));
      assert.equal((await world.get(`${crons}/suspended`)).status.active, undefined);
    });

    it('CronJob API Operations', () =>
      showLifecycle(world, {
        group: 'batch',
        plural: 'cronjobs',
        kind: 'CronJob',
        namespace,
        object: () => ({
          spec: {
            schedule: '0 0 1 1 *',
            concurrencyPolicy: 'Allow',
            jobTemplate: { spec: { template: { spec: { ...podSpec(), restartPolicy: 'OnFailure' } } } },
          },
        }),
        status: { patch: { lastScheduleTime: '2026-01-01T00:00:00Z' } },
      }));
  });
});
