/** The network part of conformance that concerns objects: services, their endpoints and addresses, ingresses. What packets and names do needs containers. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { inDiscovery, showLifecycle } from './lifecycle.ts';
import { pod } from './manifests.ts';
import { startWorld, until, type Json, type World } from './world.ts';

describe('conformance: network', () => {
  let world: World;
  let namespace: string;
  let core: string;
  let services: string;
  let slices: string;
  before(async () => {
    world = await startWorld();
  });
  beforeEach(async () => {
    namespace = await world.namespace();
    core = `/api/v1/namespaces/${namespace}`;
    services = `${core}/services`;
    slices = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;
  });
  after(async () => world?.stop());

  const service = (name: string, spec: Json = {}, labels: Json = {}): Json => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, labels },
    spec: { selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: 8080 }], ...spec },
  });
  const slicesOf = async (name: string): Promise<Json[]> =>
    (await world.get(`${slices}?labelSelector=kubernetes.io%2Fservice-name%3D${name}`)).items;
  const names = async (path: string): Promise<string[]> =>
    (await world.get(path)).items.map(({ metadata }: Json) => metadata.name);
  /** 'pod: port, …' of every ready endpoint, from the slices; and the same from the Endpoints object. */
  const endpointsAre = async (
    name: string,
    wanted: Readonly<Record<string, readonly number[]>>,
  ): Promise<void> => {
    const expected = Object.entries(wanted)
      .flatMap(([target, ports]) => ports.map((port) => `${target}:${port}`))
      .toSorted()
      .join(' ');
    await until(`slices of ${name} to be '${expected}'`, async () => {
      const found = (await slicesOf(name)).flatMap(({ endpoints, ports }) =>
        (endpoints ?? [])
          .filter(({ conditions }: Json) => conditions.ready)
          .flatMap(({ targetRef }: Json) =>
            (ports ?? []).map(({ port }: Json) => `${targetRef.name}:${port}`),
          ),
      );
      return found.toSorted().join(' ') === expected;
    });
    await until(`endpoints of ${name} to be '${expected}'`, async () => {
      const { status, body } = await world.send(`GET ${core}/endpoints/${name}`);
      if (status !== 200) return false;
      const found = (body.subsets ?? []).flatMap(({ addresses, ports }: Json) =>
        (addresses ?? []).flatMap(({ targetRef }: Json) =>
          ports.map(({ port }: Json) => `${targetRef.name}:${port}`),
        ),
      );
      return found.toSorted().join(' ') === expected;
    });
  };
  const backend = (name: string, app: string, ports: Json[] = []): Promise<Json> =>
    world.post(
      `${core}/pods`,
      pod(name, { labels: { app }, containers: [{ name: 'main', image: 'agnhost:2', ports }] }),
    );

  it('kubernetes.default Endpoints and EndpointSlices', async () => {
    const endpoints = await world.get('/api/v1/namespaces/default/endpoints/kubernetes');
    const [slice, ...others] = (
      await world.get(
        '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes',
      )
    ).items;
    assert.equal(others.length, 0);
    const [{ addresses, ports }] = endpoints.subsets;
    assert.deepEqual(
      slice.endpoints.flatMap((endpoint: Json) => endpoint.addresses),
      addresses.map(({ ip }: Json) => ip),
    );
    assert.equal(ports[0].port, Number(new URL(world.url).port));
    assert.equal(slice.ports[0].port, ports[0].port);
    assert.equal(slice.ports[0].name, 'https');
  });

  it('Kubernetes Service', async () => {
    const { spec } = await world.get('/api/v1/namespaces/default/services/kubernetes');
    assert.deepEqual(
      spec.ports.map(({ name, port, protocol }: Json) => ({ name, port, protocol })),
      [{ name: 'https', port: 443, protocol: 'TCP' }],
    );
    assert.equal(spec.clusterIP, '10.96.0.1');
  });

  it('Find Kubernetes Service in default Namespace', async () => {
    assert.ok(
      (await world.get('/api/v1/services')).items.some(
        ({ metadata }: Json) => metadata.name === 'kubernetes' && metadata.namespace === 'default',
      ),
    );
  });

  it('EndpointSlice, creation/deletion', async () => {
    await backend('pod1', 'matched', [{ name: 'example-name', containerPort: 3000 }]);
    await backend('pod2', 'matched', [{ name: 'other-port', containerPort: 3001 }]);
    await world.post(
      services,
      service('matched', {
        ports: [
          { name: 'example', port: 80, targetPort: 3000 },
          { name: 'named', port: 81, targetPort: 'example-name' },
        ],
        publishNotReadyAddresses: true,
      }),
    );
    await until(
      'slices for both',
      async () =>
        new Set(
          (await slicesOf('matched')).flatMap(({ endpoints }) =>
            endpoints.map(({ targetRef }: Json) => targetRef.name),
          ),
        ).size === 2,
    );
    for (const slice of await slicesOf('matched')) {
      assert.equal(slice.addressType, 'IPv4');
      assert.equal(
        slice.metadata.labels['endpointslice.kubernetes.io/managed-by'],
        'endpointslice-controller.k8s.io',
      );
      assert.equal(slice.metadata.ownerReferences[0].kind, 'Service');
    }
    const { subsets } = await world.reaches(
      `${core}/endpoints/matched`,
      (object) => (object.subsets ?? []).length > 0,
    );
    assert.ok(subsets.length > 0);
    await world.del(`${services}/matched`);
    await until('no slices', async () => (await slicesOf('matched')).length === 0);
    await world.gone(`${core}/endpoints/matched`);
  });

  it('EndpointSlice, "empty" Service', async () => {
    await world.post(services, service('empty'));
    const [slice] = await until('a slice without endpoints', async () => {
      const found = await slicesOf('empty');
      return found.length === 1 ? found : undefined;
    });
    assert.deepEqual(slice.endpoints ?? [], []);
    await world.del(`${services}/empty`);
    await until('no slices', async () => (await slicesOf('empty')).length === 0);
  });

  it('Endpoints, creation/deletion', async () => {
    await backend('pod1', 'matched');
    await world.post(services, service('matched'));
    await endpointsAre('matched', { pod1: [8080] });
    await world.del(`${services}/matched`);
    await world.gone(`${core}/endpoints/matched`);
  });

  it('Endpoints, "empty" Service', async () => {
    await world.post(services, service('empty'));
    const endpoints = await until('its endpoints', async () => {
      const { status, body } = await world.send(`GET ${core}/endpoints/empty`);
      return status === 200 ? (body as Json) : undefined;
    });
    assert.deepEqual(endpoints.subsets ?? [], []);
    await world.del(`${services}/empty`);
    await world.gone(`${core}/endpoints/empty`);
  });

  it('EndpointSlice API', () =>
    showLifecycle(world, {
      group: 'discovery.k8s.io',
      plural: 'endpointslices',
      kind: 'EndpointSlice',
      namespace,
      object: () => ({ addressType: 'IPv4', endpoints: [{ addresses: ['1.2.3.4', '5.6.7.8'] }] }),
    }));

  it('EndpointSlice Mirroring', async () => {
    await inDiscovery(world, { group: 'discovery.k8s.io', plural: 'endpointslices' });
    await world.post(services, service('mirrored', { selector: undefined }));
    await world.post(`${core}/endpoints`, {
      metadata: { name: 'mirrored' },
      subsets: [{ addresses: [{ ip: '10.1.2.3' }], ports: [{ name: 'http', port: 80, protocol: 'TCP' }] }],
    });
    const mirrorOf = (check: (slice: Json) => boolean): Promise<Json> =>
      until(`the mirror: ${check.toString()}`, async () => {
        const [slice, ...others] = await slicesOf('mirrored');
        return slice && others.length === 0 && check(slice) ? slice : undefined;
      });
    const made = await mirrorOf(({ endpoints }) => endpoints[0]?.addresses[0] === '10.1.2.3');
    assert.equal(
      made.metadata.labels['endpointslice.kubernetes.io/managed-by'],
      'endpointslicemirroring-controller.k8s.io',
    );
    const read = await world.get(`${core}/endpoints/mirrored`);
    read.subsets[0].addresses = [{ ip: '10.2.3.4' }];
    await world.put(`${core}/endpoints/mirrored`, read);
    await mirrorOf(({ endpoints }) => endpoints[0]?.addresses[0] === '10.2.3.4');
    await world.del(`${core}/endpoints/mirrored`);
    await until('no mirror', async () => (await slicesOf('mirrored')).length === 0);
  });

  it('Endpoint resource lifecycle', async () => {
    const path = `${core}/endpoints`;
    const watch = await world.watch(path, 'labelSelector=test-endpoint-static%3Dtrue');
    const made = await world.post(path, {
      metadata: { name: 'testservice', labels: { 'test-endpoint-static': 'true' } },
      subsets: [{ addresses: [{ ip: '10.0.0.24' }], ports: [{ name: 'http', port: 80, protocol: 'TCP' }] }],
    });
    await watch.seen('ADDED');
    assert.equal(
      (await world.get('/api/v1/endpoints?labelSelector=test-endpoint-static%3Dtrue')).items.length,
      1,
    );
    made.metadata.labels['test-service'] = 'updated';
    await world.put(`${path}/testservice`, made);
    assert.equal((await world.get(`${path}/testservice`)).metadata.labels['test-service'], 'updated');
    await world.patch(
      `${path}/testservice`,
      {
        subsets: [
          { addresses: [{ ip: '10.0.0.25' }], ports: [{ name: 'http-test', port: 8080, protocol: 'TCP' }] },
        ],
      },
      'strategic',
    );
    const {
      subsets: [{ addresses, ports }],
    } = await world.get(`${path}/testservice`);
    assert.deepEqual([addresses[0].ip, ports[0].name, ports[0].port], ['10.0.0.25', 'http-test', 8080]);
    await world.del(`${path}?labelSelector=test-endpoint-static%3Dtrue`);
    await watch.seen('DELETED');
  });

  it('Scheduling, HostPort matching and HostIP and Protocol not-matching', async () => {
    const make = (name: string, port: Json): Promise<Json> =>
      world.post(
        `${core}/pods`,
        pod(name, {
          nodeSelector: { 'kubernetes.io/hostname': 'node-1' },
          containers: [
            { name: 'main', image: 'agnhost:2', ports: [{ containerPort: 8080, hostPort: 54_323, ...port }] },
          ],
        }),
      );
    await make('pod1', { hostIP: '127.0.0.1', protocol: 'TCP' });
    await make('pod2', { hostIP: '172.31.0.1', protocol: 'TCP' });
    await make('pod3', { hostIP: '172.31.0.1', protocol: 'UDP' });
    for (const name of ['pod1', 'pod2', 'pod3'])
      await world.reaches(`${core}/pods/${name}`, ({ spec }) => spec.nodeName === 'node-1');
  });

  const ingressSpec = (host: string): Json => ({
    defaultBackend: { service: { name: 'default-backend', port: { number: 80 } } },
    rules: [
      {
        host,
        http: {
          paths: [
            {
              path: '/',
              pathType: 'Prefix',
              backend: { service: { name: 'test-backend', port: { number: 8080 } } },
            },
          ],
        },
      },
    ],
  });
  it('Ingress API', () =>
    showLifecycle(world, {
      group: 'networking.k8s.io',
      plural: 'ingresses',
      kind: 'Ingress',
      namespace,
      object: () => ({ spec: ingressSpec('hostname.example.com') }),
      status: { patch: { loadBalancer: { ingress: [{ ip: '169.1.1.1' }] } } },
    }));

  it('IngressClass API', () =>
    showLifecycle(world, {
      group: 'networking.k8s.io',
      plural: 'ingressclasses',
      kind: 'IngressClass',
      object: () => ({ spec: { controller: 'example.com/controller' } }),
    }));

  it('IPAddress API', async () => {
    await showLifecycle(world, {
      group: 'networking.k8s.io',
      plural: 'ipaddresses',
      kind: 'IPAddress',
      nameOf: (index) => `192.0.2.${index + 1}`,
      object: () => ({
        spec: { parentRef: { group: '', resource: 'services', namespace, name: 'some-service' } },
      }),
    });
  });

  it('ServiceCIDR API', () =>
    showLifecycle(world, {
      group: 'networking.k8s.io',
      plural: 'servicecidrs',
      kind: 'ServiceCIDR',
      object: (index) => ({ spec: { cidrs: [`10.3${index}.0.0/24`] } }),
      status: {
        resetsMetadata: true,
        patch: {
          conditions: [
            {
              type: 'PatchStatusFailed',
              status: 'False',
              reason: 'Patched',
              message: 'Patched',
              lastTransitionTime: '2026-01-01T00:00:00Z',
            },
          ],
        },
      },
    }));

  it('Service, complete ServiceStatus lifecycle', async () => {
    const watch = await world.watch(services, 'labelSelector=test-service-static%3Dtrue');
    await world.post(
      services,
      service('statuses', { type: 'LoadBalancer' }, { 'test-service-static': 'true' }),
    );
    await watch.seen('ADDED');
    const at = `${services}/statuses/status`;
    assert.deepEqual((await world.get(at)).status.loadBalancer, {});
    const patched = await world.patch(at, {
      metadata: { annotations: { patchedstatus: 'true' } },
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.1' }] } },
    });
    assert.equal(patched.status.loadBalancer.ingress[0].ip, '203.0.113.1');
    patched.status.conditions = [
      {
        type: 'StatusUpdate',
        status: 'True',
        reason: 'E2E',
        message: 'Set from e2e test',
        lastTransitionTime: '2026-01-01T00:00:00Z',
      },
    ];
    assert.equal((await world.put(at, patched)).status.conditions[0].type, 'StatusUpdate');
    await watch.seen('MODIFIED', ({ status }) => status.conditions?.[0]?.type === 'StatusUpdate');
    await world.patch(
      `${services}/statuses`,
      { metadata: { labels: { 'test-service': 'patched' } } },
      'strategic',
    );
    await watch.seen('MODIFIED', ({ metadata }) => metadata.labels['test-service'] === 'patched');
    await world.del(`${services}/statuses`);
    await watch.seen('DELETED');
  });

  it('Service, deletes a collection of services', async () => {
    for (const name of ['e2e-svc-a', 'e2e-svc-b', 'e2e-svc-c'])
      await world.post(services, service(name, {}, { 'e2e-set': name.endsWith('c') ? 'no' : 'yes' }));
    assert.equal((await names(services)).length, 3);
    await world.del(`${services}?labelSelector=e2e-set%3Dyes`);
    assert.deepEqual(await names(services), ['e2e-svc-c']);
  });

  it('Service, endpoints', async () => {
    await world.post(services, service('endpoint-test', { ports: [{ port: 80, targetPort: 80 }] }));
    await endpointsAre('endpoint-test', {});
    await backend('pod1', 'endpoint-test', [{ containerPort: 80 }]);
    await endpointsAre('endpoint-test', { pod1: [80] });
    await backend('pod2', 'endpoint-test', [{ containerPort: 80 }]);
    await endpointsAre('endpoint-test', { pod1: [80], pod2: [80] });
    await world.del(`${core}/pods/pod1`);
    await endpointsAre('endpoint-test', { pod2: [80] });
    await world.del(`${core}/pods/pod2`);
    await endpointsAre('endpoint-test', {});
  });

  it('Service, endpoints with multiple ports', async () => {
    await world.post(
      services,
      service('multi', {
        ports: [
          { name: 'portname1', port: 80, targetPort: 'svc1' },
          { name: 'portname2', port: 81, targetPort: 'svc2' },
        ],
      }),
    );
    await endpointsAre('multi', {});
    await backend('pod1', 'multi', [{ name: 'svc1', containerPort: 100 }]);
    await endpointsAre('multi', { pod1: [100] });
    await backend('pod2', 'multi', [{ name: 'svc2', containerPort: 101 }]);
    await endpointsAre('multi', { pod1: [100], pod2: [101] });
    await world.del(`${core}/pods/pod1`);
    await endpointsAre('multi', { pod2: [101] });
    await world.del(`${core}/pods/pod2`);
    await endpointsAre('multi', {});
  });

  it('Service endpoint latency, thresholds', async () => {
    await backend('pod1', 'latency');
    await world.reaches(`${core}/pods/pod1`, ({ status }) => status.phase === 'Running');
    const watch = await world.watch(`${core}/endpoints`);
    const made = new Map<string, number>();
    const tookMs: number[] = [];
    for (let index = 0; index < 100; index += 1) {
      const name = `latency-${index}`;
      made.set(name, performance.now());
      await world.post(services, service(name, { selector: { app: 'latency' } }));
      if (index % 10 === 9) {
        for (const [each, startMs] of made) {
          await watch.seen('ADDED', ({ metadata }) => metadata.name === each);
          tookMs.push(performance.now() - startMs);
        }
        made.clear();
      }
    }
    tookMs.sort((left, right) => left - right);
    assert.ok(tookMs[49]! < 20_000 && tookMs[89]! < 50_000, `50th ${tookMs[49]} ms, 90th ${tookMs[89]} ms`);
  });
});
