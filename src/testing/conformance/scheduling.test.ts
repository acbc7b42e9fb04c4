/** The scheduling part of conformance, over simulated nodes of 32 CPUs. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { pod, workload } from './manifests.ts';
import { startWorld, until, type Json, type World } from './world.ts';

describe('conformance: scheduling', () => {
  let world: World;
  let namespace: string;
  let core: string;
  let pods: string;
  before(async () => {
    world = await startWorld({ nodes: 2 });
  });
  beforeEach(async () => {
    namespace = await world.namespace();
    core = `/api/v1/namespaces/${namespace}`;
    pods = `${core}/pods`;
  });
  after(async () => world?.stop());

  const resources = (requests: Json, limits: Json = requests): Json => ({
    containers: [{ name: 'main', image: 'pause:3.10', resources: { requests, limits } }],
  });
  const scheduled = (name: string): Promise<Json> =>
    world.reaches(`${pods}/${name}`, ({ spec }) => spec.nodeName !== undefined);
  const unschedulable = (name: string): Promise<Json> =>
    world.reaches(`${pods}/${name}`, ({ status }) =>
      status.conditions?.some(
        ({ type, reason }: Json) => type === 'PodScheduled' && reason === 'Unschedulable',
      ),
    );
  const priorityClass = async (value: number): Promise<string> =>
    (
      await world.post('/apis/scheduling.k8s.io/v1/priorityclasses', {
        metadata: { generateName: 'p-' },
        value,
      })
    ).metadata.name;
  const drop = async (): Promise<void> => {
    await world.del(`${pods}?gracePeriodSeconds=0`);
    await until('no pods', async () => (await world.get(pods)).items.length === 0);
  };

  it('LimitRange, resources', async () => {
    const path = `${core}/limitranges`;
    const limit = {
      type: 'Container',
      min: { cpu: '50m', memory: '100Mi' },
      max: { cpu: '500m', memory: '500Mi' },
      defaultRequest: { cpu: '100m', memory: '200Mi' },
      default: { cpu: '500m', memory: '500Mi' },
    };
    const made = await world.post(path, { metadata: { name: 'limits' }, spec: { limits: [limit] } });
    assert.deepEqual(made.spec.limits, [limit]);
    const bare = await world.post(pods, pod('bare'));
    assert.deepEqual(bare.spec.containers[0].resources, {
      requests: limit.defaultRequest,
      limits: limit.default,
    });
    const partial = await world.post(
      pods,
      pod('partial', {
        containers: [
          { name: 'main', image: 'i', resources: { requests: { cpu: '150m' }, limits: { memory: '300Mi' } } },
        ],
      }),
    );
    assert.deepEqual(partial.spec.containers[0].resources, {
      requests: { cpu: '150m', memory: '300Mi' },
      limits: { memory: '300Mi', cpu: '500m' },
    });
    for (const [name, requests, says] of [
      ['min', { cpu: '10m', memory: '50Mi' }, /minimum cpu usage per Container is 50m, but request is 10m/],
      ['max', { cpu: '600m', memory: '600Mi' }, /maximum cpu usage per Container is 500m, but limit is 600m/],
    ] as const) {
      assert.match(
        (await world.refused(403, `POST ${pods}`, { body: pod(name, resources(requests)) })).message,
        says,
      );
    }
    made.spec.limits[0].min = { cpu: '9m', memory: '49Mi' };
    assert.deepEqual((await world.put(`${path}/limits`, made)).spec.limits[0].min, {
      cpu: '9m',
      memory: '49Mi',
    });
    await world.post(pods, pod('min', resources({ cpu: '10m', memory: '50Mi' })));
    await world.refused(403, `POST ${pods}`, {
      body: pod('max', resources({ cpu: '600m', memory: '600Mi' })),
    });
    await world.del(`${path}/limits`);
    await world.refused(404, `GET ${path}/limits`);
    await world.post(pods, pod('max', resources({ cpu: '600m', memory: '600Mi' })));
  });

  it('LimitRange, list, patch and delete a LimitRange by collection', async () => {
    const other = await world.namespace();
    const labels = { 'e2e-limitrange': namespace };
    for (const [at, name] of [
      [namespace, 'one'],
      [other, 'two'],
    ])
      await world.post(`/api/v1/namespaces/${at}/limitranges`, {
        metadata: { name, labels },
        spec: { limits: [{ type: 'Container', min: { cpu: '50m' } }] },
      });
    const all = `/api/v1/limitranges?labelSelector=e2e-limitrange%3D${namespace}`;
    assert.equal((await world.get(all)).items.length, 2);
    const patched = await world.patch(
      `${core}/limitranges/one`,
      {
        metadata: { labels: { one: 'patched' } },
        spec: { limits: [{ type: 'Container', min: { cpu: '40m' } }] },
      },
      'strategic',
    );
    assert.equal(patched.metadata.labels.one, 'patched');
    assert.equal(patched.spec.limits[0].min.cpu, '40m');
    await world.del(`${core}/limitranges?labelSelector=one%3Dpatched`);
    assert.deepEqual(
      (await world.get(all)).items.map(({ metadata }: Json) => metadata.name),
      ['two'],
    );
  });

  it('Scheduler, resource limits', async () => {
    // What is left after these is less than the next one asks for.
    for (const name of ['filler-1', 'filler-2']) await world.post(pods, pod(name, resources({ cpu: '24' })));
    for (const name of ['filler-1', 'filler-2']) await scheduled(name);
    await world.post(pods, pod('additional', resources({ cpu: '16' })));
    const { status } = await unschedulable('additional');
    assert.match(status.conditions[0].message, /0\/2 nodes are available: 2 Insufficient cpu/);
    await drop();
  });

  it('Scheduler, node selector matching', async () => {
    await world.patch('/api/v1/nodes/node-2', { metadata: { labels: { 'kubernetes.io/e2e-label': '42' } } });
    await world.post(pods, pod('with-labels', { nodeSelector: { 'kubernetes.io/e2e-label': '42' } }));
    assert.equal((await scheduled('with-labels')).spec.nodeName, 'node-2');
    await world.patch('/api/v1/nodes/node-2', { metadata: { labels: { 'kubernetes.io/e2e-label': null } } });
  });

  it('Scheduler, node selector not matching', async () => {
    await world.post(pods, pod('restricted', { nodeSelector: { label: 'nonempty' } }));
    const { status, spec } = await unschedulable('restricted');
    assert.equal(spec.nodeName, undefined);
    assert.match(
      status.conditions[0].message,
      /0\/2 nodes are available: 2 node\(s\) didn't match Pod's node affinity\/selector/,
    );
  });

  const withPort = (name: string, port: Json): Json =>
    pod(name, {
      nodeSelector: { 'kubernetes.io/hostname': 'node-1' },
      containers: [{ name: 'main', image: 'agnhost:2', ports: [{ containerPort: 8080, ...port }] }],
    });

  it('Scheduling, HostPort and Protocol match, HostIPs different but one is default HostIP (0.0.0.0)', async () => {
    await world.post(pods, withPort('pod4', { hostPort: 54_322, hostIP: '' }));
    await scheduled('pod4');
    await world.post(pods, withPort('pod5', { hostPort: 54_322, hostIP: '127.0.0.1' }));
    const { status } = await unschedulable('pod5');
    assert.match(
      status.conditions[0].message,
      /1 node\(s\) didn't have free ports for the requested pod ports/,
    );
  });

  it('Scheduler, Verify PriorityClass endpoints', async () => {
    const path = '/apis/scheduling.k8s.io/v1/priorityclasses';
    const name = await priorityClass(100);
    assert.ok((await world.get(path)).items.some(({ metadata }: Json) => metadata.name === name));
    const read = await world.get(`${path}/${name}`);
    assert.equal(
      (await world.put(`${path}/${name}`, { ...read, description: 'updated' })).description,
      'updated',
    );
    assert.equal((await world.patch(`${path}/${name}`, { description: 'patched' })).description, 'patched');
    const {
      metadata: { resourceVersion: _, ...metadata },
    } = read;
    for (const [field, value] of [
      ['value', 200],
      ['preemptionPolicy', 'Never'],
    ] as const) {
      const says = new RegExp(
        `${field}: (Forbidden: may not be changed in an update|Invalid value: .*field is immutable)`,
      );
      assert.match(
        (await world.refused(422, `PUT ${path}/${name}`, { body: { ...read, metadata, [field]: value } }))
          .message,
        says,
      );
      assert.match(
        (
          await world.refused(422, `PATCH ${path}/${name}`, {
            body: { [field]: value },
            headers: { 'content-type': 'application/merge-patch+json' },
          })
        ).message,
        says,
      );
    }
  });

  describe('preemption', () => {
    const dongles = 'example.com/fakecpu';
    const asks = (count: number): Json => resources({ [dongles]: String(count) });
    before(async () => {
      for (const node of ['node-1', 'node-2'])
        await world.patch(`/api/v1/nodes/${node}/status`, {
          status: { capacity: { [dongles]: '1000' }, allocatable: { [dongles]: '1000' } },
        });
    });
    const preemptor = async (body: Json): Promise<void> => {
      const [low, medium] = [await priorityClass(1), await priorityClass(100)];
      await world.post(pods, pod('victim', { ...asks(600), priorityClassName: low, nodeName: undefined }));
      await world.post(pods, pod('stays', { ...asks(600), priorityClassName: medium }));
      for (const name of ['victim', 'stays']) await scheduled(name);
      const victim = await world.get(`${pods}/victim`);
      await world.post(pods, body);
      const winner = await scheduled(body.metadata.name);
      assert.equal(winner.spec.nodeName, victim.spec.nodeName);
      await world.gone(`${pods}/victim`);
      assert.equal((await world.get(`${pods}/stays`)).metadata.deletionTimestamp, undefined);
      await drop();
    };

    it('Scheduler, Basic Preemption', async () =>
      preemptor(pod('preemptor', { ...asks(600), priorityClassName: await priorityClass(1000) })));

    it('Scheduler, Preemption for critical pod', async () =>
      preemptor(pod('critical', { ...asks(600), priorityClassName: 'system-cluster-critical' })));

    it('Verify the DisruptionTarget condition is added to the preempted pod', async () => {
      const [low, high] = [await priorityClass(1), await priorityClass(1000)];
      const nodeSelector = { 'kubernetes.io/hostname': 'node-1' };
      const victim = pod('victim', { ...asks(800), priorityClassName: low, nodeSelector });
      victim.metadata.finalizers = ['example.com/test-finalizer'];
      await world.post(pods, victim);
      await scheduled('victim');
      await world.post(pods, pod('preemptor', { ...asks(800), priorityClassName: high, nodeSelector }));
      const marked = await world.reaches(`${pods}/victim`, ({ status }) =>
        status.conditions?.some(({ type }: Json) => type === 'DisruptionTarget'),
      );
      const { reason, status, message } = marked.status.conditions.find(
        ({ type }: Json) => type === 'DisruptionTarget',
      );
      assert.deepEqual([reason, status], ['PreemptionByScheduler', 'True']);
      assert.match(message, /^default-scheduler: preempting to accommodate a higher priority pod$/);
      await world.patch(`${pods}/victim`, { metadata: { finalizers: null } });
      await world.gone(`${pods}/victim`);
      await scheduled('preemptor');
      await drop();
    });

    it('Pod preemption verification', async () => {
      const sizes = [
        [5, 200],
        [4, 200],
        [2, 400],
        [1, 1000],
      ] as const;
      const classes = await Promise.all([1, 2, 3, 4].map((value) => priorityClass(value * 10)));
      const path = `/apis/apps/v1/namespaces/${namespace}/replicasets`;
      const nodeSelector = { 'kubernetes.io/hostname': 'node-1' };
      const make = async (index: number, [replicas, count]: readonly [number, number]): Promise<void> => {
        const body = workload('ReplicaSet', `rs-${index}`, { replicas });
        Object.assign(body.spec.template.spec, {
          ...asks(count),
          priorityClassName: classes[index - 1],
          nodeSelector,
        });
        await world.post(path, body);
      };
      // The three lower levels are more than the node holds: five of the lowest go first, then they give way.
      await make(1, sizes[0]);
      await world.reaches(`${path}/rs-1`, ({ status }) => status.readyReplicas === 5);
      await make(2, [1, 200]);
      await make(3, [1, 400]);
      await world.reaches(`${path}/rs-2`, ({ status }) => status.readyReplicas === 1);
      await world.reaches(`${path}/rs-3`, ({ status }) => status.readyReplicas === 1);
      await world.reaches(`${path}/rs-1`, ({ status }) => status.readyReplicas === 2);
      await make(4, sizes[3]);
      await world.reaches(`${path}/rs-4`, ({ status }) => status.readyReplicas === 1);
      for (const index of [1, 2, 3])
        await world.reaches(`${path}/rs-${index}`, ({ status }) => (status.readyReplicas ?? 0) === 0);
      await world.del(`${path}?propagationPolicy=Background`);
      await until('no pods', async () => (await world.get(pods)).items.length === 0);
    });
  });
});
