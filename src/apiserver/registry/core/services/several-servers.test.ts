/** Two API servers on one real etcd give no address and no node port twice, whatever dies in between. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { StoreError, type Store } from '#storage/store.ts';
import { until } from '#testing/cluster.ts';
import type { TestResponse, TestServer } from '../../../testing/server.ts';
import { someEtcd, startSharedEtcd, type SharedEtcd } from '../../../testing/shared-etcd.ts';

const SERVICES = '/api/v1/namespaces/default/services';
const ADDRESSES = '/apis/networking.k8s.io/v1/ipaddresses';
const MAP = '/registry/ranges/servicenodeports';
const OPTIONS = { serviceCidr: '10.96.0.0/24', serviceNodePorts: { from: 30_000, to: 30_059 } };
const PORTS = [{ port: 80 }];

interface ServiceBody {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly clusterIP: string;
    readonly healthCheckNodePort?: number;
    readonly ports: readonly { readonly nodePort: number }[];
  };
}

const program = someEtcd();

describe('two API servers allocate from one etcd', { skip: program ? false : 'no etcd here' }, () => {
  let shared: SharedEtcd;
  let one: TestServer;
  let two: TestServer;
  before(async () => {
    shared = await startSharedEtcd(program!);
    [one, two] = await Promise.all([shared.start(OPTIONS), shared.start(OPTIONS)]);
  });
  after(async () => {
    await Promise.all([one.stop(), two.stop()]);
    await shared.close();
  });

  const create = (server: TestServer, name: string, spec: object = {}): Promise<TestResponse> =>
    server.request(`POST ${SERVICES}`, { body: { metadata: { name }, spec: { ports: PORTS, ...spec } } });
  const removeAll = async (): Promise<void> => {
    const { items } = (await one.request(`GET ${SERVICES}`)).body as { items: ServiceBody[] };
    for (const { metadata } of items.filter((item) => item.metadata.name !== 'kubernetes'))
      assert.equal((await two.request(`DELETE ${SERVICES}/${metadata.name}`)).status, 200);
  };
  const portsInMap = async (): Promise<number[]> => {
    const store = await shared.openStore();
    const { range, data } = JSON.parse((await store.get(MAP))!.value.toString()) as {
      range: string;
      data: string;
    };
    await store.close();
    assert.equal(range, '30000-30059');
    let bits = BigInt(`0x${Buffer.from(data, 'base64').toString('hex') || '0'}`);
    const ports = [];
    for (let port = 30_000; bits > 0n; port++, bits >>= 1n) if (bits & 1n) ports.push(port);
    return ports;
  };

  test('both fill one range of addresses: none is given twice, and all are given', async () => {
    const answers = await Promise.all(
      Array.from({ length: 270 }, (_, i) => create(i % 2 ? one : two, `flood-${i}`)),
    );
    const made = answers.filter(({ status }) => status === 201).map(({ body }) => body as ServiceBody);
    const ips = made.map(({ spec }) => spec.clusterIP);
    assert.equal(new Set(ips).size, ips.length);
    // 254 addresses, one of them the kubernetes Service's.
    assert.equal(ips.length, 253);
    const refused = answers.filter(({ status }) => status !== 201);
    for (const { text } of refused) assert.match(text, /range is full/);
    const { items } = (await two.request(`GET ${ADDRESSES}`)).body as {
      items: { metadata: { name: string } }[];
    };
    assert.deepEqual(new Set(items.map(({ metadata }) => metadata.name)), new Set(['10.96.0.1', ...ips]));
    await removeAll();
    const left = (await one.request(`GET ${ADDRESSES}`)).body as { items: unknown[] };
    assert.equal(left.items.length, 1);
  });

  test('an address that is asked for is had by one of two who ask at once, and by the next once it is free', async () => {
    for (let i = 0; i < 10; i++) {
      const clusterIP = `10.96.0.${20 + i}`;
      const answers = await Promise.all([
        create(one, `first-${i}`, { clusterIP }),
        create(two, `second-${i}`, { clusterIP }),
      ]);
      assert.deepEqual(answers.map(({ status }) => status).toSorted(), [201, 422]);
      assert.match(answers.find(({ status }) => status === 422)!.text, /provided IP is already allocated/);
      const winner = answers.find(({ status }) => status === 201)!.body as ServiceBody;
      assert.equal((await two.request(`DELETE ${SERVICES}/${winner.metadata.name}`)).status, 200);
      assert.equal((await create(one, `third-${i}`, { clusterIP })).status, 201);
    }
    await removeAll();
  });

  test('both fill one range of node ports, with ports of health checks', async () => {
    const answers = await Promise.all(
      Array.from({ length: 70 }, (_, i) =>
        create(
          i % 2 ? one : two,
          `np-${i}`,
          i < 5 ? { type: 'LoadBalancer', externalTrafficPolicy: 'Local' } : { type: 'NodePort' },
        ),
      ),
    );
    const ports = answers
      .filter(({ status }) => status === 201)
      .flatMap(({ body }) => {
        const { spec } = body as ServiceBody;
        return [
          ...spec.ports.map(({ nodePort }) => nodePort),
          ...(spec.healthCheckNodePort ? [spec.healthCheckNodePort] : []),
        ];
      });
    assert.equal(new Set(ports).size, ports.length);
    assert.equal(ports.length, 60, answers.find(({ status }) => status !== 201)?.text);
    for (const { text } of answers.filter(({ status }) => status !== 201))
      assert.match(text, /range is full/);
    assert.deepEqual(await portsInMap(), ports.toSorted());
    await removeAll();
    assert.deepEqual(await portsInMap(), []);
  });

  test('a node port moves by updates, and what is refused holds nothing', async () => {
    const nodePort = (port: number): object => ({ type: 'NodePort', ports: [{ port: 80, nodePort: port }] });
    assert.equal((await create(one, 'a', nodePort(30_040))).status, 201);
    const refused = await create(two, 'b', nodePort(30_040));
    assert.equal(refused.status, 422);
    assert.match(refused.text, /provided port is already allocated/);
    const invalid = await create(two, 'Not_a_name', nodePort(30_041));
    assert.equal(invalid.status, 422);
    const dry = await two.request(`POST ${SERVICES}?dryRun=All`, {
      body: { metadata: { name: 'dry' }, spec: nodePort(30_042) },
    });
    assert.equal(dry.status, 201);
    assert.deepEqual(await portsInMap(), [30_040]);
    const moved = await two.request(`PATCH ${SERVICES}/a`, {
      body: { spec: { ports: [{ port: 80, nodePort: 30_043 }] } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.equal(moved.status, 200, moved.text);
    assert.deepEqual(await portsInMap(), [30_043]);
    assert.equal((await create(one, 'b', nodePort(30_040))).status, 201);
    await removeAll();
  });

  test('a server dies between its allocation and the Service: what it took is free again later', async () => {
    const dying = await shared.start({ ...OPTIONS, store: diesAtServices(await shared.openStore()) });
    const lost = await create(dying, 'lost', {
      type: 'NodePort',
      clusterIP: '10.96.0.77',
      ports: [{ port: 80, nodePort: 30_050 }],
    });
    assert.equal(lost.status, 503, lost.text);
    await dying.stop();
    assert.equal((await one.request(`GET ${ADDRESSES}/10.96.0.77`)).status, 200);
    assert.deepEqual(await portsInMap(), [30_050]);
    assert.equal((await create(two, 'early', { clusterIP: '10.96.0.77' })).status, 422);
    const clock = new FakeClock();
    const later = await shared.start({ ...OPTIONS, clock });
    const orphaned = async (): Promise<boolean> =>
      (await one.request(`GET ${ADDRESSES}/10.96.0.77`)).status === 404 && (await portsInMap()).length === 0;
    await until('it is free', async () => {
      await clock.advance(60_000);
      return orphaned();
    });
    assert.equal((await create(two, 'late', { clusterIP: '10.96.0.77' })).status, 201);
    await later.stop();
    await removeAll();
  });

  test('an IPAddress that is deleted by hand comes back, with an event', async () => {
    const { spec } = (await create(one, 'kept')).body as ServiceBody;
    assert.equal((await two.request(`DELETE ${ADDRESSES}/${spec.clusterIP}`)).status, 200);
    await until(
      'it is back',
      async () => (await two.request(`GET ${ADDRESSES}/${spec.clusterIP}`)).status === 200,
    );
    await until('an event says so', async () => {
      const { items } = (await two.request('GET /api/v1/namespaces/default/events')).body as {
        items: { reason: string; involvedObject: { name: string } }[];
      };
      return items.some(
        (event) => event.reason === 'ClusterIPNotAllocated' && event.involvedObject.name === 'kept',
      );
    });
    await removeAll();
  });

  test('a server that starts again takes over the map and the addresses', async () => {
    const { spec } = (await create(one, 'stays', { type: 'NodePort' })).body as ServiceBody;
    await one.stop();
    one = await shared.start(OPTIONS);
    assert.equal((await create(one, 'other', { clusterIP: spec.clusterIP })).status, 422);
    assert.deepEqual(
      await portsInMap(),
      spec.ports.map(({ nodePort }) => nodePort),
    );
    await removeAll();
  });
});

/** Takes everything but Services, as if the server were killed before it wrote them. */
function diesAtServices(store: Store): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name === 'put')
        return (...args: Parameters<Store['put']>) =>
          args[0].startsWith('/registry/services/specs/')
            ? Promise.reject(new StoreError('unavailable', 'killed'))
            : target.put(...args);
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
    },
  });
}
