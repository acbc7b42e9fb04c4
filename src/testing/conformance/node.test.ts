/** The node part of conformance that concerns objects, over simulated nodes: pods' lives and generations, resizes, evictions, leases, classes. What happens inside containers needs containers. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { showLifecycle } from './lifecycle.ts';
import { pod, podSpec } from './manifests.ts';
import { startWorld, until, type Json, type World } from './world.ts';

describe('conformance: node', () => {
  let world: World;
  let namespace: string;
  let core: string;
  let pods: string;
  before(async () => {
    world = await startWorld();
  });
  beforeEach(async () => {
    namespace = await world.namespace();
    core = `/api/v1/namespaces/${namespace}`;
    pods = `${core}/pods`;
  });
  after(async () => world?.stop());

  const running = (name: string): Promise<Json> =>
    world.reaches(`${pods}/${name}`, ({ status }) => status.phase === 'Running');
  const items = async (path: string): Promise<Json[]> => (await world.get(path)).items;

  async function showPlain(
    plural: string,
    { data, patch }: { readonly data: Json; readonly patch: Json },
  ): Promise<void> {
    const path = `${core}/${plural}`;
    const query = `labelSelector=e2e%3D${namespace}`;
    await world.post(path, { metadata: { name: 'lived', labels: { e2e: namespace } }, ...data });
    await world.patch(`${path}/lived`, { metadata: { labels: { patched: 'true' } }, ...patch }, 'strategic');
    const read = await world.get(`${path}/lived`);
    assert.equal(read.metadata.labels.patched, 'true');
    assert.partialDeepStrictEqual(read, patch);
    const [found, ...others] = await items(`/api/v1/${plural}?${query}`);
    assert.equal(others.length, 0);
    assert.equal(found.metadata.labels.patched, 'true');
    assert.partialDeepStrictEqual(found, patch);
    await world.del(`${path}?${query}`);
    assert.equal((await items(`/api/v1/${plural}?${query}`)).length, 0);
  }

  it('ConfigMap lifecycle', () =>
    showPlain('configmaps', {
      data: { data: { valueName: 'value' } },
      patch: { data: { valueName: 'value1' } },
    }));
  it('Secret patching', () =>
    showPlain('secrets', {
      data: { data: { key: 'dmFsdWU=' }, type: 'Opaque' },
      patch: { data: { key: 'dmFsdWUx' } },
    }));
  it('PodTemplate lifecycle', () =>
    showPlain('podtemplates', {
      data: { template: { spec: podSpec() } },
      patch: { template: { metadata: { labels: { podtemplate: 'patched' } } } },
    }));

  it('ConfigMap Update', async () => {
    const made = await world.post(`${core}/configmaps`, { metadata: { name: 'updated' } });
    await world.put(`${core}/configmaps/updated`, { ...made, data: { data: 'value' } });
    assert.deepEqual((await world.get(`${core}/configmaps/updated`)).data, { data: 'value' });
  });

  async function refusesEmptyKey(plural: string, data: Json): Promise<void> {
    const { message } = await world.refused(422, `POST ${core}/${plural}`, {
      body: { metadata: { name: 'empty' }, data },
    });
    assert.match(
      message,
      /data\[\]: Invalid value: "": a valid config key must consist of alphanumeric characters/,
    );
  }
  it('ConfigMap, with empty-key', () => refusesEmptyKey('configmaps', { '': 'value-1' }));
  it('Secrets, with empty-key', () => refusesEmptyKey('secrets', { '': 'dmFsdWUtMQ==' }));

  it('PodTemplate, delete a collection', async () => {
    for (const index of [1, 2, 3])
      await world.post(`${core}/podtemplates`, {
        metadata: { name: `t-${index}`, labels: { set: 'true' } },
        template: { spec: podSpec() },
      });
    assert.equal((await items(`${core}/podtemplates?labelSelector=set%3Dtrue`)).length, 3);
    await world.del(`${core}/podtemplates?labelSelector=set%3Dtrue`);
    assert.equal((await items(`${core}/podtemplates?labelSelector=set%3Dtrue`)).length, 0);
  });

  it('PodTemplate, replace', async () => {
    const made = await world.post(`${core}/podtemplates`, {
      metadata: { name: 'replaced' },
      template: { spec: podSpec() },
    });
    made.metadata.annotations = { updated: 'true' };
    assert.equal(
      (await world.put(`${core}/podtemplates/replaced`, made)).metadata.annotations.updated,
      'true',
    );
  });

  it('lease API should be available', async () => {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
    const spec = (holderIdentity: string): Json => ({
      holderIdentity,
      leaseDurationSeconds: 30,
      acquireTime: '2026-01-01T00:00:00.000005Z',
      renewTime: '2026-01-01T00:00:05.000006Z',
      leaseTransitions: 0,
    });
    await world.post(path, { metadata: { name: 'lease' }, spec: spec('holder') });
    const read = await world.get(`${path}/lease`);
    assert.deepEqual(read.spec, spec('holder'));
    await world.put(`${path}/lease`, { ...read, spec: { ...spec('holder2'), leaseTransitions: 1 } });
    assert.deepEqual((await world.get(`${path}/lease`)).spec, { ...spec('holder2'), leaseTransitions: 1 });
    await world.patch(`${path}/lease`, { spec: { holderIdentity: 'holder3' } }, 'strategic');
    assert.deepEqual((await world.get(`${path}/lease`)).spec, { ...spec('holder3'), leaseTransitions: 1 });
    await world.post(path, {
      metadata: { name: 'lease2', labels: { deletecollection: 'true' } },
      spec: spec('holder'),
    });
    assert.equal((await items(path)).length, 2);
    await world.del(`${path}?labelSelector=deletecollection%3Dtrue`);
    assert.deepEqual(
      (await items(path)).map(({ metadata }) => metadata.name),
      ['lease'],
    );
    await world.del(`${path}/lease`);
    await world.refused(404, `GET ${path}/lease`);
  });

  it('Node, resource lifecycle', async () => {
    const path = '/api/v1/nodes';
    await world.post(path, { metadata: { name: 'e2e-fake-node' } });
    assert.equal((await world.get(`${path}/e2e-fake-node`)).metadata.name, 'e2e-fake-node');
    assert.equal(
      (
        await world.patch(
          `${path}/e2e-fake-node`,
          { metadata: { labels: { 'e2e-fake-node': 'patched' } } },
          'strategic',
        )
      ).metadata.labels['e2e-fake-node'],
      'patched',
    );
    assert.equal((await items(`${path}?labelSelector=e2e-fake-node%3Dpatched`)).length, 1);
    await until('an update', async () => {
      const read = await world.get(`${path}/e2e-fake-node`);
      read.metadata.labels['e2e-fake-node'] = 'updated';
      return (await world.send(`PUT ${path}/e2e-fake-node`, { body: read })).status === 200;
    });
    assert.equal((await items(`${path}?labelSelector=e2e-fake-node%3Dupdated`)).length, 1);
    await world.del(`${path}?labelSelector=e2e-fake-node%3Dupdated`);
    await world.gone(`${path}/e2e-fake-node`);
  });

  describe('pods', () => {
    it('Pods, lifecycle', async () => {
      const watch = await world.watch(pods, 'labelSelector=time%3Dnow');
      await world.post(pods, pod('lived', { labels: { time: 'now' } }));
      assert.equal((await items(`${pods}?labelSelector=time%3Dnow`)).length, 1);
      await watch.seen('ADDED');
      await running('lived');
      await world.del(`${pods}/lived`, { gracePeriodSeconds: 30 });
      await watch.seen('MODIFIED', ({ metadata }) => metadata.deletionTimestamp !== undefined);
      const { object } = await watch.seen('DELETED');
      assert.ok(object.metadata.deletionTimestamp);
      assert.equal((await items(`${pods}?labelSelector=time%3Dnow`)).length, 0);
    });

    it('Pods, update', async () => {
      await world.post(pods, pod('updated', { labels: { time: 'now' } }));
      await running('updated');
      await until('an update', async () => {
        const read = await world.get(`${pods}/updated`);
        read.metadata.labels.time = 'then';
        return (await world.send(`PUT ${pods}/updated`, { body: read })).status === 200;
      });
      assert.equal((await items(`${pods}?labelSelector=time%3Dthen`)).length, 1);
    });

    it('Pods, assigned hostip', async () => {
      await world.post(pods, pod('hosted'));
      const { status } = await running('hosted');
      assert.match(status.hostIP, /^\d+\.\d+\.\d+\.\d+$/);
      assert.deepEqual(status.hostIPs, [{ ip: status.hostIP }]);
    });

    it('Pods, QOS', async () => {
      const both = { cpu: '100m', memory: '100Mi' };
      const made = await world.post(
        pods,
        pod('guaranteed', {
          containers: [{ name: 'main', image: 'i', resources: { requests: both, limits: both } }],
        }),
      );
      assert.equal(made.status.qosClass, 'Guaranteed');
    });

    it('Pods, ActiveDeadlineSeconds', async () => {
      await world.post(pods, pod('limited'));
      await running('limited');
      await world.patch(`${pods}/limited`, { spec: { activeDeadlineSeconds: 1 } });
      const { status } = await world.reaches(`${pods}/limited`, (object) => object.status.phase === 'Failed');
      assert.equal(status.reason, 'DeadlineExceeded');
    });

    it('Pods, delete a collection', async () => {
      for (const index of [1, 2, 3])
        await world.post(pods, pod(`test-pod-${index}`, { labels: { type: 'Testing' } }));
      assert.equal((await items(`${pods}?labelSelector=type%3DTesting`)).length, 3);
      await world.del(`${pods}?labelSelector=type%3DTesting`);
      await until('none', async () => (await items(`${pods}?labelSelector=type%3DTesting`)).length === 0);
    });

    it('Pods, patching status', async () => {
      await world.post(pods, pod('patched'));
      await running('patched');
      const { status } = await world.patch(`${pods}/patched/status`, {
        status: { message: 'Patched by e2e test', reason: 'E2E' },
      });
      assert.deepEqual(
        [status.message, status.reason, status.phase],
        ['Patched by e2e test', 'E2E', 'Running'],
      );
    });

    it('Pods, completes the lifecycle of a Pod and the PodStatus', async () => {
      const watch = await world.watch(pods, 'labelSelector=test-pod-static%3Dtrue');
      await world.post(pods, pod('lived', { labels: { 'test-pod-static': 'true' } }));
      await running('lived');
      const patched = await world.patch(
        `${pods}/lived`,
        {
          metadata: { labels: { 'test-pod': 'patched' } },
          spec: {
            terminationGracePeriodSeconds: undefined,
            containers: [{ name: 'main', image: 'agnhost:2' }],
          },
        },
        'strategic',
      );
      assert.deepEqual(
        [patched.metadata.labels['test-pod'], patched.spec.containers[0].image],
        ['patched', 'agnhost:2'],
      );
      await until('its status replaced', async () => {
        const read = await world.get(`${pods}/lived/status`);
        read.status.conditions = read.status.conditions.map((one: Json) =>
          one.type === 'Ready' ? { ...one, status: 'False' } : one,
        );
        const { status, body } = await world.send(`PUT ${pods}/lived/status`, { body: read });
        return (
          status === 200 &&
          body.status.conditions.find(({ type }: Json) => type === 'Ready').status === 'False'
        );
      });
      await world.del(`${pods}?labelSelector=test-pod-static%3Dtrue`);
      await watch.seen('DELETED');
    });

    it('Pods Generation, updates', async () => {
      const made = await world.post(pods, pod('generations'));
      assert.equal(made.metadata.generation, 1);
      await world.reaches(`${pods}/generations`, ({ status }) => status.observedGeneration === 1);
      const patch = async (body: Json, expected: number): Promise<void> => {
        assert.equal(
          (await world.patch(`${pods}/generations`, body, 'strategic')).metadata.generation,
          expected,
        );
        await world.reaches(`${pods}/generations`, ({ status }) => status.observedGeneration === expected);
      };
      await patch({ metadata: { annotations: { key: 'value' } } }, 1);
      await patch({ spec: { containers: [{ name: 'main', image: 'agnhost:2' }] } }, 2);
      await patch({ spec: { activeDeadlineSeconds: 50_000 } }, 3);
      await patch(
        {
          spec: {
            tolerations: [
              ...(await world.get(`${pods}/generations`)).spec.tolerations,
              { key: 'foo', operator: 'Exists' },
            ],
          },
        },
        4,
      );
    });

    it('Pods Generation, 500 updates', async () => {
      await world.post(pods, pod('many'));
      for (let index = 2; index <= 500; index += 1)
        await world.patch(`${pods}/many`, { spec: { activeDeadlineSeconds: 60_000 - index } });
      const { metadata } = await world.reaches(
        `${pods}/many`,
        ({ status }) => status.observedGeneration === 500,
      );
      assert.equal(metadata.generation, 500);
    });

    it('Pods Generation, graceful delete', async () => {
      await world.post(pods, pod('deleted'));
      await running('deleted');
      const watch = await world.watch(pods, 'fieldSelector=metadata.name%3Ddeleted');
      await world.del(`${pods}/deleted`, { gracePeriodSeconds: 30 });
      await watch.seen(
        'MODIFIED',
        ({ metadata }) => metadata.deletionTimestamp !== undefined && metadata.generation === 2,
      );
      await watch.seen('DELETED');
    });

    it('Kubelet, failed pod, delete', async () => {
      await world.post(
        pods,
        pod('failing', {
          restartPolicy: 'Never',
          annotations: { 'capstan.dev/simulate-run-seconds': '0', 'capstan.dev/simulate-exit-code': '1' },
        }),
      );
      await world.reaches(`${pods}/failing`, ({ status }) => status.phase === 'Failed');
      await world.del(`${pods}/failing`);
      await world.gone(`${pods}/failing`);
    });

    it('Ephemeral Container Creation', async () => {
      await world.post(pods, pod('debugged'));
      await running('debugged');
      await world.patch(
        `${pods}/debugged/ephemeralcontainers`,
        {
          spec: {
            ephemeralContainers: [
              { name: 'debugger', image: 'busybox:1', targetContainerName: 'main', stdin: true, tty: true },
            ],
          },
        },
        'strategic',
      );
      await world.reaches(
        `${pods}/debugged`,
        ({ status }) => status.ephemeralContainerStatuses?.[0]?.state.running !== undefined,
      );
    });

    it('Ephemeral Container, update ephemeral containers', async () => {
      await world.post(pods, pod('debugged'));
      await running('debugged');
      const add = (name: string): Promise<boolean> =>
        until(`${name} added`, async () => {
          const read = await world.get(`${pods}/debugged/ephemeralcontainers`);
          read.spec.ephemeralContainers = [
            ...(read.spec.ephemeralContainers ?? []),
            { name, image: 'busybox:1' },
          ];
          return (
            (await world.send(`PUT ${pods}/debugged/ephemeralcontainers`, { body: read })).status === 200
          );
        });
      for (const [index, name] of ['one', 'two'].entries()) {
        await add(name);
        const { spec } = await world.reaches(`${pods}/debugged`, ({ status }) =>
          status.ephemeralContainerStatuses?.some((one: Json) => one.name === 'one' && one.state.running),
        );
        assert.equal(spec.ephemeralContainers.length, index + 1);
      }
      await world.reaches(`${pods}/debugged`, ({ status }) => status.ephemeralContainerStatuses.length === 2);
    });
  });

  describe('taints', () => {
    const TAINT = { key: 'kubernetes.io/e2e-evict-taint-key', value: 'evictTaintVal', effect: 'NoExecute' };
    const tolerating = (name: string, seconds: number, node: string): Json =>
      pod(name, {
        nodeSelector: { 'kubernetes.io/hostname': node },
        tolerations: [{ ...TAINT, operator: 'Equal', tolerationSeconds: seconds }],
      });
    const taint = (node: string, taints: readonly Json[] | null): Promise<Json> =>
      world.patch(`/api/v1/nodes/${node}`, { spec: { taints } });

    it('Pod Eviction, Toleration limits', async () => {
      await world.post(pods, tolerating('soon', 1, 'node-1'));
      await world.post(pods, tolerating('later', 4, 'node-1'));
      await Promise.all(['soon', 'later'].map(running));
      try {
        await taint('node-1', [TAINT]);
        await world.gone(`${pods}/soon`);
        assert.equal((await world.get(`${pods}/later`)).metadata.deletionTimestamp, undefined);
        await world.gone(`${pods}/later`);
      } finally {
        await taint('node-1', null);
      }
    });

    it('Taint, Pod Eviction on taint removal', async () => {
      await world.post(pods, tolerating('stays', 3, 'node-2'));
      await world.post(pods, tolerating('witness', 3, 'node-1'));
      await Promise.all(['stays', 'witness'].map(running));
      try {
        await taint('node-2', [TAINT]);
        await taint('node-2', null);
        // One that is tainted after it, for as long, is evicted; then the time of the first is over too.
        await taint('node-1', [TAINT]);
        await world.gone(`${pods}/witness`);
        assert.equal((await world.get(`${pods}/stays`)).metadata.deletionTimestamp, undefined);
      } finally {
        for (const node of ['node-1', 'node-2']) await taint(node, null);
      }
    });
  });

  describe('runtime classes', () => {
    const path = '/apis/node.k8s.io/v1/runtimeclasses';
    it('RuntimeClass API', () =>
      showLifecycle(world, {
        group: 'node.k8s.io',
        plural: 'runtimeclasses',
        kind: 'RuntimeClass',
        object: () => ({ handler: 'conf-handler' }),
      }));

    const refusedFor = async (runtimeClassName: string): Promise<void> => {
      assert.match(
        (await world.refused(403, `POST ${pods}`, { body: pod('classed', { runtimeClassName }) })).message,
        new RegExp(`pod rejected: RuntimeClass "${runtimeClassName}" not found`),
      );
    };
    it('Pod with the non-existing RuntimeClass is rejected.', () => refusedFor('nonexistent'));
    it('Pod with the deleted RuntimeClass is rejected.', async () => {
      await world.post(path, { metadata: { name: 'deleted' }, handler: 'h' });
      await world.del(`${path}/deleted`);
      await refusedFor('deleted');
    });
    it('Can schedule a pod requesting existing RuntimeClass.', async () => {
      await world.post(path, { metadata: { name: 'existing' }, handler: 'h' });
      await world.post(pods, pod('classed', { runtimeClassName: 'existing' }));
      await world.reaches(`${pods}/classed`, ({ spec }) => spec.nodeName !== undefined);
    });
    it('RuntimeClass Overhead field must be respected.', async () => {
      const podFixed = { cpu: '10m', memory: '1Mi' };
      await world.post(path, { metadata: { name: 'overhead' }, handler: 'h', overhead: { podFixed } });
      const made = await world.post(pods, pod('classed', { runtimeClassName: 'overhead' }));
      assert.deepEqual(made.spec.overhead, podFixed);
      await world.reaches(`${pods}/classed`, ({ spec }) => spec.nodeName !== undefined);
    });
  });

  it('Sysctls, reject invalid sysctls', async () => {
    const sysctls = ['foo-', 'kernel.shmmax', 'safe-and-unsafe', 'bar..'].map((name) => ({
      name,
      value: '100000000',
    }));
    const { message } = await world.refused(422, `POST ${pods}`, {
      body: pod('sysctls', { securityContext: { sysctls } }),
    });
    assert.match(message, /spec\.securityContext\.sysctls\[0\]\.name: Invalid value: "foo-"/);
    assert.match(message, /spec\.securityContext\.sysctls\[3\]\.name: Invalid value: "bar\.\."/);
    assert.doesNotMatch(message, /sysctls\[1\]|sysctls\[2\]/);
  });

  describe('devices', () => {
    const group = 'resource.k8s.io';
    const requests = {
      devices: { requests: [{ name: 'req', exactly: { deviceClassName: 'example.com' } }] },
    };
    it('CRUD operations for deviceclasses', () =>
      showLifecycle(world, {
        group,
        plural: 'deviceclasses',
        kind: 'DeviceClass',
        object: () => ({ spec: {} }),
      }));
    it('CRUD operations for resourceclaims', () =>
      showLifecycle(world, {
        group,
        plural: 'resourceclaims',
        kind: 'ResourceClaim',
        namespace,
        object: () => ({ spec: requests }),
        status: {
          patch: {
            allocation: {
              devices: {
                results: [{ request: 'req', driver: 'driver.example.com', pool: 'pool', device: 'device-1' }],
              },
            },
          },
          resetsMetadata: true,
        },
      }));
    it('CRUD operations for resourceclaimtemplates', () =>
      showLifecycle(world, {
        group,
        plural: 'resourceclaimtemplates',
        kind: 'ResourceClaimTemplate',
        namespace,
        object: () => ({ spec: { spec: requests } }),
      }));
    it('CRUD operations for resoureslices', () =>
      showLifecycle(world, {
        group,
        plural: 'resourceslices',
        kind: 'ResourceSlice',
        object: (index) => ({
          spec: {
            nodeName: `node-${index}`,
            driver: 'driver.example.com',
            pool: { name: `node-${index}`, resourceSliceCount: 1, generation: 1 },
          },
        }),
      }));
  });
});
