import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { until as untilSlow } from '#testing/cluster.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

const NETWORKING = '/apis/networking.k8s.io/v1';
const SERVICES = '/api/v1/namespaces/default/services';

const until = <T>(what: string, check: () => Promise<T | undefined | false>): Promise<T> =>
  untilSlow(what, check, 10_000);

let server: TestServer;
before(async () => {
  server = await startTestServer({ bootstrapObjects: true, serviceCidr: '10.96.0.0/28' });
  await server.server.ready();
});
after(() => server.stop());

const read = async (path: string): Promise<KubeObject | undefined> => {
  const { status, body } = await server.request(`GET ${path}`);
  return status === 200 ? (body as KubeObject) : undefined;
};
const gone = (path: string): Promise<true> =>
  until(`${path} is gone`, async () => (await read(path)) === undefined);
const create = async (path: string, body: object): Promise<KubeObject> => {
  const answer = await server.request(`POST ${path}`, {
    body,
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(answer.status, 201, answer.text);
  return answer.body as KubeObject;
};
const service = (name: string, spec: object = {}): Promise<KubeObject> =>
  create(SERVICES, { metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } });
const ipOf = (object: KubeObject): string => (object['spec'] as { clusterIP: string }).clusterIP;
const cidr = (name: string, range: string): Promise<KubeObject> =>
  create(`${NETWORKING}/servicecidrs`, { metadata: { name }, spec: { cidrs: [range] } });
const ready = async (name: string): Promise<{ status: string; reason: string } | undefined> =>
  (
    (await read(`${NETWORKING}/servicecidrs/${name}`))?.['status'] as
      | { conditions?: { type: string; status: string; reason: string }[] }
      | undefined
  )?.conditions?.find(({ type }) => type === 'Ready');

test('the cluster has its range and the address of the kubernetes Service from the start', async () => {
  const own = await read(`${NETWORKING}/servicecidrs/kubernetes`);
  assert.deepEqual(own?.['spec'], { cidrs: ['10.96.0.0/28'] });
  assert.deepEqual(own?.metadata?.finalizers, ['networking.k8s.io/service-cidr-finalizer']);
  assert.equal((await ready('kubernetes'))?.status, 'True');
  const address = await until('the address is written down', () =>
    read(`${NETWORKING}/ipaddresses/10.96.0.1`),
  );
  assert.deepEqual(address['spec'], {
    parentRef: { resource: 'services', namespace: 'default', name: 'kubernetes' },
  });
  assert.deepEqual(address.metadata?.labels, {
    'ipaddress.kubernetes.io/ip-family': 'IPv4',
    'ipaddress.kubernetes.io/managed-by': 'ipallocator.k8s.io',
  });
});

test('an IPAddress comes and goes with its Service, follows it to another, and is made again', async () => {
  const ip = ipOf(await service('a'));
  const path = `${NETWORKING}/ipaddresses/${ip}`;
  await until('it is written down', () => read(path));
  await server.request(`DELETE ${path}`);
  await until('it is made again', () => read(path));
  await server.request(`DELETE ${SERVICES}/a`);
  await gone(path);
  await service('b', { clusterIP: ip });
  const address = await until("it is b's", () => read(path));
  assert.deepEqual((address['spec'] as { parentRef: { name: string } }).parentRef.name, 'b');
  await server.request(`DELETE ${SERVICES}/b`);
  await gone(path);
});

test('an address somebody else has reserved is given to no Service', async () => {
  const ip = '10.96.0.9';
  await create(`${NETWORKING}/ipaddresses`, {
    metadata: { name: ip },
    spec: { parentRef: { group: 'example.com', resource: 'things', name: 'mine' } },
  });
  const refused = await server.request(`POST ${SERVICES}`, {
    body: { metadata: { name: 'c' }, spec: { clusterIP: ip, ports: [{ port: 80 }] } },
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(refused.status, 422);
  assert.match(refused.text, /provided IP is already allocated/);
  await server.request(`DELETE ${NETWORKING}/ipaddresses/${ip}`);
  assert.equal(ipOf(await service('c', { clusterIP: ip })), ip);
  await server.request(`DELETE ${SERVICES}/c`);
  await gone(`${NETWORKING}/ipaddresses/${ip}`);
});

test('a full range is extended by another; a range goes when no address of it is left', async () => {
  const names = Array.from({ length: 13 }, (_, i) => `full-${i}`);
  for (const name of names) await service(name);
  const full = await server.request(`POST ${SERVICES}`, {
    body: { metadata: { name: 'more' }, spec: { ports: [{ port: 80 }] } },
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(full.status, 500);
  assert.match(full.text, /failed to allocate a serviceIP for Service .*: range is full/);
  await cidr('second', '10.200.0.0/28');
  await until('it is ready', async () => (await ready('second'))?.status === 'True');
  const ip = ipOf(await service('more'));
  assert.match(ip, /^10\.200\.0\./);
  await until('its address is written down', () => read(`${NETWORKING}/ipaddresses/${ip}`));
  await server.request(`DELETE ${NETWORKING}/servicecidrs/second`);
  await until('it waits', async () => (await ready('second'))?.reason === 'Terminating');
  const refused = await server.request(`POST ${SERVICES}`, {
    body: { metadata: { name: 'late' }, spec: { ports: [{ port: 80 }] } },
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(refused.status, 500, 'nothing is allocated from a range under deletion');
  await server.request(`DELETE ${SERVICES}/more`);
  await gone(`${NETWORKING}/servicecidrs/second`);
  for (const name of names) await server.request(`DELETE ${SERVICES}/${name}`);
});

test('a range within another one goes at once: its addresses stay in the other', async () => {
  await cidr('inner', '10.96.0.0/29');
  await until('it is ready', async () => (await ready('inner'))?.status === 'True');
  await server.request(`DELETE ${NETWORKING}/servicecidrs/inner`);
  await gone(`${NETWORKING}/servicecidrs/inner`);
});

test('ranges that cannot be allocated from say so', async () => {
  await cidr('wide', 'fd00::/48');
  await until('it is refused', async () => (await ready('wide'))?.reason === 'NotSupported');
});

test('a server that starts again goes on with what there is', async () => {
  const ip = ipOf(await service('stays'));
  await until('it is written down', () => read(`${NETWORKING}/ipaddresses/${ip}`));
  const again = await startTestServer({
    store: server.store,
    bootstrapObjects: true,
    serviceCidr: '10.96.0.0/28',
  });
  await again.server.ready();
  const taken = await again.request(`POST ${SERVICES}`, {
    body: { metadata: { name: 'other' }, spec: { clusterIP: ip, ports: [{ port: 80 }] } },
    headers: { 'content-type': 'application/json' },
  });
  assert.equal(taken.status, 422);
  await again.server.stop();
});
