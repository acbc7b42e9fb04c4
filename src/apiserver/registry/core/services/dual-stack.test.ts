import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '#testing/cluster.ts';
import { startTestServer, type TestServer } from '../../../testing/server.ts';

const SERVICES = '/api/v1/namespaces/default/services';
const NETWORKING = '/apis/networking.k8s.io/v1';
const ports = [{ port: 80 }];
const JSON_BODY = { headers: { 'content-type': 'application/json' } };

interface Spec {
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly ipFamilies?: readonly string[];
  readonly ipFamilyPolicy?: string;
}
interface Answer {
  readonly status: number;
  readonly message: string;
  readonly spec: Spec;
}

let server: TestServer;
before(async () => {
  server = await startTestServer({ bootstrapObjects: true, serviceCidr: '10.96.0.0/24,fd00:10:96::/112' });
  await server.server.ready();
});
after(() => server.stop());

const ask = async (line: string, body?: object, type = 'application/json'): Promise<Answer> => {
  const answer = await server.request(line, body ? { body, headers: { 'content-type': type } } : JSON_BODY);
  const { message = '', spec = {} } = answer.body as { message?: string; spec?: Spec };
  return { status: answer.status, message, spec };
};
const create = (name: string, spec: object): Promise<Answer> =>
  ask(`POST ${SERVICES}`, { metadata: { name }, spec: { ports, ...spec } });
const patch = (name: string, spec: object): Promise<Answer> =>
  ask(`PATCH ${SERVICES}/${name}`, { spec }, 'application/merge-patch+json');
const shape = ({ clusterIPs = [], ipFamilies, ipFamilyPolicy }: Spec): unknown => [
  ipFamilyPolicy,
  ipFamilies,
  clusterIPs.map((ip) => (ip === 'None' ? ip : ip.includes(':') ? 6 : 4)),
];
const written = (ip: string): Promise<number> =>
  ask(`GET ${NETWORKING}/ipaddresses/${ip}`).then(({ status }) => status);

test('what a Service gets by what it asks for', async () => {
  const cases: readonly [object, unknown][] = [
    [{}, ['SingleStack', ['IPv4'], [4]]],
    [{ ipFamilies: ['IPv6'] }, ['SingleStack', ['IPv6'], [6]]],
    [{ ipFamilyPolicy: 'PreferDualStack' }, ['PreferDualStack', ['IPv4', 'IPv6'], [4, 6]]],
    [{ ipFamilyPolicy: 'RequireDualStack' }, ['RequireDualStack', ['IPv4', 'IPv6'], [4, 6]]],
    [
      { ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv6'] },
      ['PreferDualStack', ['IPv6', 'IPv4'], [6, 4]],
    ],
    [{ clusterIP: 'fd00:10:96::77' }, ['SingleStack', ['IPv6'], [6]]],
    [
      { ipFamilyPolicy: 'RequireDualStack', clusterIP: 'fd00:10:96::78', clusterIPs: ['fd00:10:96::78'] },
      ['RequireDualStack', ['IPv6', 'IPv4'], [6, 4]],
    ],
    [
      {
        ipFamilyPolicy: 'PreferDualStack',
        clusterIP: '10.96.0.200',
        clusterIPs: ['10.96.0.200', 'fd00:10:96::79'],
      },
      ['PreferDualStack', ['IPv4', 'IPv6'], [4, 6]],
    ],
    [{ clusterIP: 'None', selector: { a: 'b' } }, ['SingleStack', ['IPv4'], ['None']]],
    [
      { clusterIP: 'None', selector: { a: 'b' }, ipFamilyPolicy: 'PreferDualStack' },
      ['PreferDualStack', ['IPv4', 'IPv6'], ['None']],
    ],
    [{ clusterIP: 'None' }, ['RequireDualStack', ['IPv4', 'IPv6'], ['None']]],
  ];
  for (const [i, [asked, expected]] of cases.entries()) {
    const { status, message, spec } = await create(`asks-${i}`, asked);
    assert.equal(status, 201, message);
    assert.deepEqual(shape(spec), expected, JSON.stringify(asked));
    assert.equal(spec.clusterIP, spec.clusterIPs?.[0]);
  }
});

test('what is refused', async () => {
  const two = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
  const cases: readonly [object, string][] = [
    [
      { ipFamilies: ['IPv6', 'IPv4'] },
      `spec.ipFamilyPolicy: Invalid value: "SingleStack": ${two} IP families are specified`,
    ],
    [
      { clusterIP: '10.96.0.201', clusterIPs: ['10.96.0.201', 'fd00:10:96::80'] },
      `spec.ipFamilyPolicy: Invalid value: "SingleStack": ${two} cluster IPs are specified`,
    ],
    [
      { clusterIP: 'fd00:10:96::1:0:1' },
      'spec.clusterIPs: Invalid value: ["fd00:10:96::1:0:1"]: failed to allocate IP fd00:10:96::1:0:1: the provided network does not match the current range',
    ],
  ];
  for (const [asked, message] of cases) {
    const answer = await create('refused', asked);
    assert.deepEqual([answer.status, answer.message], [422, `Service "refused" is invalid: ${message}`]);
  }
});

test('a refused second address gives the first one back', async () => {
  const asked = { ipFamilyPolicy: 'PreferDualStack', clusterIP: '10.96.0.210' };
  await create('holder', { clusterIP: 'fd00:10:96::90' });
  const refused = await create('second', { ...asked, clusterIPs: ['10.96.0.210', 'fd00:10:96::90'] });
  assert.equal(refused.status, 422);
  assert.match(refused.message, /failed to allocate IP fd00:10:96::90: provided IP is already allocated/);
  assert.equal((await create('second', asked)).status, 201);
});

test('a Service gains a second family, and loses it again with its address', async () => {
  const { spec: before } = await create('grows', {});
  const grown = await patch('grows', { ipFamilyPolicy: 'RequireDualStack' });
  assert.equal(grown.status, 200, grown.message);
  assert.deepEqual(shape(grown.spec), ['RequireDualStack', ['IPv4', 'IPv6'], [4, 6]]);
  const [first, second = ''] = grown.spec.clusterIPs ?? [];
  assert.equal(first, before.clusterIP);
  await until('the second address has its IPAddress', async () => (await written(second)) === 200);
  const kept = await patch('grows', { ipFamilies: ['IPv4'] });
  assert.equal(kept.status, 422);
  assert.match(kept.message, /must be 'SingleStack' to release the secondary IP family/);
  const shrunk = await patch('grows', { ipFamilyPolicy: 'SingleStack' });
  assert.deepEqual(shape(shrunk.spec), ['SingleStack', ['IPv4'], [4]]);
  await until('its IPAddress is gone', async () => (await written(second)) === 404);
  assert.equal((await create('takes', { clusterIP: second })).status, 201);
});

test('a Service with two addresses becomes an ExternalName, which has none, and gets two anew', async () => {
  const made = await create('turns', { ipFamilyPolicy: 'RequireDualStack' });
  const external = await patch('turns', { type: 'ExternalName', externalName: 'example.org', ports: null });
  assert.equal(external.status, 200, external.message);
  assert.deepEqual(shape(external.spec), [undefined, undefined, []]);
  for (const ip of made.spec.clusterIPs ?? [])
    await until(`${ip} is free`, async () => (await written(ip)) === 404);
  const back = await patch('turns', {
    type: 'ClusterIP',
    externalName: null,
    ports,
    ipFamilyPolicy: 'PreferDualStack',
  });
  assert.deepEqual(shape(back.spec), ['PreferDualStack', ['IPv4', 'IPv6'], [4, 6]], back.message);
});

test('an IPv6 address in another spelling stays as written; its IPAddress has the canonical name', async () => {
  const { status, message, spec } = await create('spelled', { clusterIP: 'FD00:10:96::00AB' });
  assert.equal(status, 201, message);
  assert.deepEqual(spec.clusterIPs, ['FD00:10:96::00AB']);
  await until('it has its IPAddress', async () => (await written('fd00:10:96::ab')) === 200);
  await ask(`DELETE ${SERVICES}/spelled`);
  await until('it is gone', async () => (await written('fd00:10:96::ab')) === 404);
});

test('the cluster has one ServiceCIDR with both ranges; its own Service is of the first family', async () => {
  const { spec } = await ask(`GET ${NETWORKING}/servicecidrs/kubernetes`);
  assert.deepEqual(spec, { cidrs: ['10.96.0.0/24', 'fd00:10:96::/112'] });
  const own = await ask(`GET ${SERVICES}/kubernetes`);
  assert.deepEqual(shape(own.spec), ['SingleStack', ['IPv4'], [4]]);
});

test('a cluster of IPv6 alone, which then gets IPv4 beside it', async () => {
  const six = await startTestServer({ bootstrapObjects: true, serviceCidr: 'fd00:10:96::/112' });
  await six.server.ready();
  const own = await six.request(`GET ${SERVICES}/kubernetes`);
  assert.deepEqual(shape((own.body as { spec: Spec }).spec), ['SingleStack', ['IPv6'], [6]]);
  const prefers = await six.request(`POST ${SERVICES}`, {
    ...JSON_BODY,
    body: { metadata: { name: 'prefers' }, spec: { ports, ipFamilyPolicy: 'PreferDualStack' } },
  });
  assert.deepEqual(shape((prefers.body as { spec: Spec }).spec), ['PreferDualStack', ['IPv6'], [6]]);
  const refused = await six.request(`POST ${SERVICES}`, {
    ...JSON_BODY,
    body: { metadata: { name: 'requires' }, spec: { ports, ipFamilyPolicy: 'RequireDualStack' } },
  });
  assert.match(refused.text, /this cluster is not configured for dual-stack services/);
  const both = await startTestServer({
    store: six.store,
    bootstrapObjects: true,
    serviceCidr: 'fd00:10:96::/112,10.96.0.0/24',
  });
  await both.server.ready();
  const cidrs = await both.request(`GET ${NETWORKING}/servicecidrs/kubernetes`);
  assert.deepEqual((cidrs.body as { spec: object }).spec, { cidrs: ['fd00:10:96::/112', '10.96.0.0/24'] });
  const kept = await both.request(`PATCH ${SERVICES}/prefers`, {
    body: { metadata: { labels: { a: 'b' } } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  assert.deepEqual(shape((kept.body as { spec: Spec }).spec), ['PreferDualStack', ['IPv6'], [6]]);
  const required = await both.request(`PATCH ${SERVICES}/prefers`, {
    body: { spec: { ipFamilyPolicy: 'RequireDualStack' } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  assert.deepEqual(shape((required.body as { spec: Spec }).spec), [
    'RequireDualStack',
    ['IPv6', 'IPv4'],
    [6, 4],
  ]);
  await both.server.stop();
  await six.stop();
});
