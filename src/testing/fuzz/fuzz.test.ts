/** A short fuzzing run of a fixed seed in every gate (FUZZ_SEED for another; tools/fuzz.ts for the long one), and by name what longer runs have found. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGoDuration } from '#machinery/go-duration.ts';
import { parseJson } from '#machinery/json.ts';
import { parseYaml } from '#machinery/yaml.ts';
import { encodeCbor } from '#machinery/codec/cbor.ts';
import { startTestServer, type TestResponse, type TestServer } from '#apiserver/testing/server.ts';
import { fuzz } from './fuzzer.ts';
import { seedOf } from './seeds.ts';
import { RESOURCES } from '#resources/registry.ts';

const SEED = Number(process.env['FUZZ_SEED'] ?? 1);
const REQUESTS = 10_000;

test(`${REQUESTS} random requests: no fault of the server's, nothing stored wrong (seed ${SEED})`, async () => {
  const { requests, faults, statuses, overSockets } = await fuzz({
    requests: REQUESTS,
    seed: SEED,
    verifyEvery: REQUESTS,
  });
  assert.deepEqual(
    faults.map(({ what, example }) => `${what}\n  ${example}`),
    [],
    `seed ${SEED}`,
  );
  assert.ok(requests >= REQUESTS && overSockets > 50);
  // Or else it would not be the server that is tried, but its door.
  assert.ok((statuses['200'] ?? 0) + (statuses['201'] ?? 0) > REQUESTS / 10, JSON.stringify(statuses));
});

// ------------------------------------------------------------------------------------------------------------------- found

async function withServer(use: (server: TestServer) => Promise<void>): Promise<void> {
  const server = await startTestServer({ isEnabled: () => true });
  try {
    await use(server);
  } finally {
    await server.stop();
  }
}

const JSON_TYPE = { 'content-type': 'application/json' };

function send(
  server: TestServer,
  target: string,
  body: unknown,
  type = 'application/json',
): Promise<TestResponse> {
  return server.request(target, { body, headers: { 'content-type': type } });
}

test('a method named like what every object inherits is no method', () =>
  withServer(async (server) => {
    for (const method of ['__proto__', 'constructor', 'toString', 'get'])
      assert.equal((await server.request(`${method} /api/v1/namespaces`)).status, 405, method);
  }));

test("an apply whose metadata is no object is refused in upstream's words", () =>
  withServer(async (server) => {
    for (const metadata of ['x', 1, false, ['a']]) {
      const { status, body } = await send(
        server,
        'PATCH /api/v1/namespaces/default/configmaps/a?fieldManager=m',
        { apiVersion: 'v1', kind: 'ConfigMap', metadata },
        'application/apply-patch+yaml',
      );
      assert.equal(status, 400, JSON.stringify(metadata));
      assert.match(
        String(body.message),
        /^failed to create typed patch object \(\/; \/v1, Kind=ConfigMap\): \.metadata: expected map, got /,
      );
    }
  }));

test('what is applied in another version may have anything where items should be', () =>
  withServer(async (server) => {
    const bodies = [
      {
        apiVersion: 'resource.k8s.io/v1beta1',
        kind: 'ResourceClaim',
        metadata: { name: 'a' },
        spec: { devices: { requests: [null, 1, 'x'] } },
      },
      {
        apiVersion: 'resource.k8s.io/v1beta1',
        kind: 'ResourceClaim',
        metadata: { name: 'a' },
        spec: { devices: { requests: 'x' } },
      },
      {
        apiVersion: 'resource.k8s.io/v1beta1',
        kind: 'ResourceSlice',
        metadata: { name: 'a' },
        spec: { devices: [null] },
      },
    ];
    for (const body of bodies) {
      const path = body.kind === 'ResourceSlice' ? 'resourceslices/a' : 'namespaces/default/resourceclaims/a';
      const { status } = await send(
        server,
        `PATCH /apis/resource.k8s.io/v1beta1/${path}?fieldManager=m`,
        body,
        'application/apply-patch+yaml',
      );
      assert.ok(status >= 400 && status < 500, `${JSON.stringify(body)}: ${status}`);
    }
  }));

test('an event applied in the newer version has all that the older one always writes', () =>
  withServer(async (server) => {
    const path = '/api/v1/namespaces/default/events',
      involvedObject = { kind: 'Pod', namespace: 'default', name: 'a' };
    await send(server, `POST ${path}`, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: 'a' },
      involvedObject,
      reason: 'R',
    });
    await send(
      server,
      'PATCH /apis/events.k8s.io/v1/namespaces/default/events/a?fieldManager=m&force=true',
      { apiVersion: 'events.k8s.io/v1', kind: 'Event', metadata: { name: 'a' }, reason: 'R' },
      'application/apply-patch+yaml',
    );
    const { body } = await server.request(`GET ${path}/a`);
    assert.deepEqual([body.reportingComponent, body.reportingInstance], ['', '']);
  }));

test("a job whose status is written without labels has its template's", () =>
  withServer(async (server) => {
    const path = '/apis/batch/v1/namespaces/default/jobs',
      metadata = { name: 'a' };
    await send(server, `POST ${path}`, {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata,
      spec: {
        template: {
          metadata: { labels: { app: 'a' } },
          spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'i' }] },
        },
      },
    });
    assert.equal(
      (await send(server, `PUT ${path}/a/status`, { apiVersion: 'batch/v1', kind: 'Job', metadata })).status,
      200,
    );
    const { body } = await server.request(`GET ${path}/a`);
    assert.deepEqual(body.metadata.labels, body.spec.template.metadata.labels);
  }));

test('a LimitRange without a name is found by the one it was given', () =>
  withServer(async (server) => {
    const path = '/api/v1/namespaces/default/limitranges';
    const { status, body } = await send(
      server,
      `POST ${path}`,
      { apiVersion: 'v1', kind: 'LimitRange', metadata: {}, spec: { limits: [] } },
      'application/json',
    );
    assert.equal(status, 201);
    const { name } = body.metadata as { readonly name: string };
    assert.equal((await send(server, `GET ${path}/${name}`, undefined, 'application/json')).status, 200);
  }));

test('YAML that is no JSON data is 400, without a word to standard error', () => {
  const warnings: Error[] = [];
  const warn = (warning: Error): void => void warnings.push(warning);
  process.on('warning', warn);
  for (const text of ['<<: 1', '? [a]\n: b', '? {a: b}\n: c', 'a: *b', 'a: &a [*a]', '<<: [1, 2]'])
    assert.throws(() => parseYaml(text), { code: 400 }, text);
  process.off('warning', warn);
  assert.deepEqual(warnings, []);
});

test('YAML that is nothing but faults is given up at the first', () => {
  const before = process.threadCpuUsage();
  for (const text of [`{${'[]'.repeat(200_000)}`, `- ${'|\n'.repeat(200_000)}`, '{"a": "\\x'.repeat(40_000)])
    assert.throws(() => parseYaml(text), { code: text.startsWith('{[') ? 413 : 400 });
  const { user, system } = process.threadCpuUsage(before);
  assert.ok(user + system < 3_000_000, `${(user + system) / 1000} ms`);
  assert.throws(() => parseYaml('['.repeat(20_000)), /max depth/);
});

test('a field manager of fifty thousand line ends is refused in a line', () =>
  withServer(async (server) => {
    const { status, text } = await send(
      server,
      `POST /api/v1/namespaces/default/configmaps?fieldManager=${'%0A'.repeat(50_000)}`,
      { metadata: { name: 'a' } },
    );
    assert.equal(status, 422);
    assert.ok(text.length < 1000, `${text.length} bytes`);
  }));

test('a Table has no protobuf, for watches neither', () =>
  withServer(async (server) => {
    const headers = { accept: 'application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io' };
    for (const path of ['configmaps', 'configmaps?watch=1', 'configmaps/a'])
      assert.equal(
        (await server.request(`GET /api/v1/namespaces/default/${path}`, { headers })).status,
        406,
        path,
      );
    assert.equal(
      (
        await server.request('GET /api/v1/configmaps', {
          headers: { accept: `${headers.accept},application/json;as=Table;v=v1;g=meta.k8s.io` },
        })
      ).body.kind,
      'Table',
    );
  }));

test('half a character in JSON becomes U+FFFD, as it does in Go', () => {
  assert.deepEqual(
    parseJson('{"a":"\\ud83d","b":["\\udc00x"],"c\\ud800":"\\ud83d\\ude00","__proto__":1}'),
    JSON.parse('{"a":"\ufffd","b":["\ufffdx"],"c\ufffd":"\u{1f600}","__proto__":1}'),
  );
});

test('null among bytes is no bytes', () =>
  withServer(async (server) => {
    const created = await send(server, 'POST /api/v1/namespaces/default/secrets', {
      metadata: { name: 'a' },
      data: { a: null },
    });
    assert.deepEqual([created.status, created.body.data], [201, { a: '' }]);
  }));

test('annotations that carry fields of autoscaling/v2 are read as those fields are, or not at all', () =>
  withServer(async (server) => {
    const path = '/namespaces/default/horizontalpodautoscalers';
    const names = ['metrics', 'behavior', 'conditions', 'current-metrics'];
    const texts = [
      '[null]',
      '[{"type":1}]',
      '{',
      '"x"',
      '[[]]',
      '{"scaleUp":{"x":1}}',
      '[{"type":"Resource","evil":1,"resource":{"name":"memory","target":{"type":"Utilization","averageUtilization":5}}}]',
    ];
    for (const [i, [name, text]] of names
      .flatMap((name) => texts.map((text) => [name, text] as const))
      .entries()) {
      const metadata = { name: `a${i}`, annotations: { [`autoscaling.alpha.kubernetes.io/${name}`]: text } };
      const { status } = await send(server, `POST /apis/autoscaling/v1${path}`, {
        metadata,
        spec: { scaleTargetRef: { kind: 'Deployment', name: 'd', apiVersion: 'apps/v1' }, maxReplicas: 3 },
      });
      assert.ok([201, 422].includes(status), `${name} ${text}: ${status}`);
      if (status !== 201) continue;
      const stored = await server.request(`GET /apis/autoscaling/v2${path}/a${i}`);
      assert.equal(stored.text.includes('evil'), false);
      assert.equal(stored.body.metadata.annotations, undefined);
      const old = await server.request(`GET /apis/autoscaling/v1${path}/a${i}`);
      assert.equal(old.body.status.currentReplicas, 0);
    }
  }));

test("an annotation cannot make the generation of a DaemonSet's template a number it is not", () =>
  withServer(async (server) => {
    const path = '/apis/apps/v1/namespaces/default/daemonsets',
      annotation = 'deprecated.daemonset.template.generation';
    const seed = seedOf(RESOURCES.find(({ plural }) => plural === 'daemonsets')!)!.object;
    await send(server, `POST ${path}`, seed);
    for (const text of ['0x7f', '1e3', 'x', null]) {
      await send(
        server,
        `PATCH ${path}/a/status`,
        { metadata: { annotations: { [annotation]: text } } },
        'application/merge-patch+json',
      );
      const { text: shown, body } = await server.request(`GET ${path}/a`);
      assert.equal(body.metadata.annotations[annotation], '1');
      const put = await server.request(`PUT ${path}/a`, { body: shown, headers: JSON_TYPE });
      assert.equal(put.body.metadata.resourceVersion, body.metadata.resourceVersion, String(text));
    }
  }));

test('what a new object shows as its status is what reading it says', () =>
  withServer(async (server) => {
    for (const plural of [
      'storageversionmigrations',
      'podgroups',
      'devicetaintrules',
      'validatingadmissionpolicies',
      'storageversions',
    ]) {
      const resource = RESOURCES.find((one) => one.plural === plural)!,
        { object } = seedOf(resource)!;
      const created = await send(
        server,
        `POST /apis/${resource.storageApiVersion}/${resource.namespaced ? 'namespaces/default/' : ''}${plural}`,
        { ...object, ...(plural === 'storageversions' ? {} : { status: { conditions: [] } }) },
      );
      assert.equal(created.status, 201, created.text);
      const read = await server.request(
        `GET /apis/${resource.storageApiVersion}/${resource.namespaced ? 'namespaces/default/' : ''}${plural}/${created.body.metadata.name}`,
      );
      assert.deepEqual(created.body.status, read.body.status, `${plural} ${created.text} ${read.text}`);
    }
  }));

test('owners that are forgotten leave no empty list', () =>
  withServer(async (server) => {
    await send(server, 'POST /api/v1/namespaces/default/configmaps', {
      metadata: { name: 'a' },
      data: { a: 'b' },
    });
    const { body } = await send(
      server,
      'PATCH /api/v1/namespaces/default/configmaps/a',
      { metadata: { managedFields: [{}] } },
      'application/merge-patch+json',
    );
    assert.equal('managedFields' in body.metadata, false);
  }));

test('a namespace without finalizers in its spec is the same after it is put as it was', () =>
  withServer(async (server) => {
    await send(server, 'POST /api/v1/namespaces', { metadata: { name: 'a', finalizers: ['example.com/f'] } });
    await server.request('DELETE /api/v1/namespaces/a');
    const finalized = await send(server, 'PUT /api/v1/namespaces/a/finalize', {
      metadata: { name: 'a' },
      spec: {},
    });
    assert.equal(finalized.status, 200);
    const { text, body } = await server.request('GET /api/v1/namespaces/a');
    const put = await server.request('PUT /api/v1/namespaces/a', { body: text, headers: JSON_TYPE });
    assert.equal(put.body.metadata.resourceVersion, body.metadata.resourceVersion);
  }));

test('paths and methods that do not exist make no series of metrics', () =>
  withServer(async (server) => {
    const lines = async (): Promise<number> =>
      (await server.request('GET /metrics')).text
        .split('\n')
        .filter((line) => line.startsWith('apiserver_request_total')).length;
    await Promise.all([
      server.request('GET /apis/x/v1/x'),
      server.request('X0 /y'),
      server.request('GET /api/v1/namespaces/default/pods/a/x'),
      server.request('X1 /api/v1/pods'),
      lines(),
      lines(),
    ]);
    const before = await lines();
    for (let i = 0; i < 50; i++)
      await Promise.all([
        server.request(`GET /apis/g${i}/v1/x${i}`),
        server.request(`M${i} /nothing`),
        server.request(`GET /api/v1/namespaces/default/pods/a/s${i}`),
        server.request(`M${i} /api/v1/pods`),
      ]);
    assert.ok((await lines()) <= before + 3, `${before} → ${await lines()}`);
  }));

test('a long number in a duration costs no more than a long text', () => {
  const before = process.threadCpuUsage();
  assert.throws(() => parseGoDuration(`${'1'.repeat(2_000_000)}h`));
  assert.ok(process.threadCpuUsage(before).user < 200_000);
});

test('a ports number and an amount that are not given are 0 in JSON as they are on the wire', () =>
  withServer(async (server) => {
    const { body } = await send(server, 'POST /api/v1/namespaces/default/pods', {
      metadata: { name: 'a' },
      spec: {
        containers: [
          {
            name: 'c',
            image: 'i',
            env: [{ name: 'A', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } }],
          },
        ],
      },
    });
    assert.equal(body.spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor, '0');
  }));

test('CBOR that nests without end is 400', async () => {
  const server = await startTestServer({ cbor: true });
  let value: unknown = 1;
  for (let i = 0; i < 5000; i++) value = [value];
  const { status } = await server.request('POST /api/v1/namespaces/default/configmaps', {
    body: encodeCbor({ metadata: { name: 'a' }, data: value }, undefined),
    headers: { 'content-type': 'application/cbor' },
  });
  await server.stop();
  assert.equal(status, 400);
});
