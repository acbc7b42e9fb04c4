/** Admission webhooks against a real HTTPS server: what they are sent, what their answers do, and when they are not asked. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { startWebhookPeer } from '#testing/webhook-peer.ts';
import { createAuthorization, type Authorization } from '../../authz/authorization.ts';
import { startTestServer, type TestResponse } from '../../testing/server.ts';
import { createAdmission } from '../list.ts';
import {
  ADMISSION,
  CONFIGMAPS,
  EVERYTHING,
  JSON_PATCH,
  MERGE,
  ON_CONFIGMAPS,
  patching,
  PODS,
  setData,
  WebhookBench,
  type Decide,
  type ReviewRequest,
} from './testing/webhook-world.ts';
import { validatingAdmissionWebhook } from './validating.ts';

let bench: WebhookBench;
before(async () => (bench = await WebhookBench.start()));
afterEach(() => bench.clean());
after(() => bench.stop());

describe('what a webhook is sent', () => {
  test('an AdmissionReview of v1, to the field', async () => {
    await bench.validating('v', bench.webhook('see'));
    const user = { name: 'jane', uid: 'u1', groups: ['dev'], extra: { why: ['x'] } };
    const created = await bench.server.request(`POST ${CONFIGMAPS}?dryRun=All&fieldManager=me`, {
      body: { metadata: { name: 'a', labels: { l: '1' } }, data: { a: '1' } },
      user,
    });
    assert.equal(created.status, 201, created.text);
    const call = bench.peer.calls.at(-1)!;
    assert.equal(call.path, '/see?timeout=10s');
    const { apiVersion, kind, request } = call.body as {
      apiVersion: string;
      kind: string;
      request: ReviewRequest;
    };
    assert.deepEqual({ apiVersion, kind }, { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' });
    const { uid, object, ...rest } = request;
    assert.match(uid as string, /^[0-9a-f-]{36}$/);
    const { metadata, ...body } = object as KubeObject;
    assert.deepEqual(body, { apiVersion: 'v1', kind: 'ConfigMap', data: { a: '1' } });
    assert.deepEqual(
      [metadata?.name, metadata?.namespace, metadata?.labels, typeof metadata?.uid],
      ['a', 'default', { l: '1' }, 'string'],
    );
    const gvk = { group: '', version: 'v1', kind: 'ConfigMap' },
      gvr = { group: '', version: 'v1', resource: 'configmaps' };
    assert.deepEqual(rest, {
      kind: gvk,
      resource: gvr,
      requestKind: gvk,
      requestResource: gvr,
      name: 'a',
      namespace: 'default',
      operation: 'CREATE',
      oldObject: null,
      dryRun: true,
      userInfo: { username: 'jane', uid: 'u1', groups: ['dev'], extra: { why: ['x'] } },
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1', dryRun: ['All'], fieldManager: 'me' },
    });
  });

  test('the old object with updates, patches and deletes; options of what is done', async () => {
    await bench.createConfigMap('a');
    await bench.validating('v', bench.webhook('see', { rules: [{ ...ON_CONFIGMAPS, operations: ['*'] }] }));
    await bench.server.request(`PATCH ${CONFIGMAPS}/a?fieldManager=p`, {
      body: { data: { b: '2' } },
      headers: MERGE,
    });
    await bench.server.request(`DELETE ${CONFIGMAPS}/a`, { body: { propagationPolicy: 'Background' } });
    const [update, removal] = bench.requests.map(({ request }) => request);
    assert.deepEqual(
      [update?.['operation'], update?.['object'].data, update?.['oldObject'].data, update?.['options'].kind],
      ['UPDATE', { a: '1', b: '2' }, { a: '1' }, 'UpdateOptions'],
    );
    assert.deepEqual(
      [removal?.['operation'], removal?.['object'], removal?.['oldObject'].data, removal?.['name']],
      ['DELETE', null, { a: '1', b: '2' }, 'a'],
    );
    assert.deepEqual(removal?.['options'], {
      kind: 'DeleteOptions',
      apiVersion: 'meta.k8s.io/v1',
      propagationPolicy: 'Background',
    });
  });

  test('each object of a collection that is deleted', async () => {
    for (const name of ['a', 'b']) await bench.createConfigMap(name);
    await bench.validating(
      'v',
      bench.webhook('see', { rules: [{ ...ON_CONFIGMAPS, operations: ['DELETE'] }] }),
    );
    assert.equal((await bench.server.request(`DELETE ${CONFIGMAPS}`)).status, 200);
    assert.deepEqual(
      bench.requests.map(({ request }) => request['oldObject'].metadata.name as string).toSorted(),
      ['a', 'b'],
    );
  });

  test('the first review version that it knows: v1beta1 too', async () => {
    bench.decisions['/old'] = () => ({ allowed: true, patch: setData('old', '1')['patch'] });
    await bench.mutating('m', bench.webhook('old', { admissionReviewVersions: ['v2', 'v1beta1', 'v1'] }));
    assert.equal((await bench.createConfigMap('a')).body.data.old, '1');
    assert.equal((bench.peer.calls.at(-1)!.body as KubeObject).apiVersion, 'admission.k8s.io/v1beta1');
  });

  test('objects in the version its rule names, under Equivalent', async () => {
    const rule = {
      operations: ['CREATE'],
      apiGroups: ['autoscaling'],
      apiVersions: ['v1'],
      resources: ['horizontalpodautoscalers'],
    };
    const annotate = patching(
      { op: 'add', path: '/metadata/annotations', value: { seen: 'v1' } },
      { op: 'replace', path: '/spec/targetCPUUtilizationPercentage', value: 55 },
    );
    bench.decisions['/equivalent'] = () => annotate;
    await bench.mutating(
      'm',
      bench.webhook('equivalent', { rules: [rule] }),
      bench.webhook('exact', { rules: [rule], matchPolicy: 'Exact' }),
    );
    const created = await bench.server.request(
      'POST /apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers',
      {
        body: {
          metadata: { name: 'h' },
          spec: {
            maxReplicas: 3,
            scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' },
            metrics: [
              {
                type: 'Resource',
                resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } },
              },
            ],
          },
        },
      },
    );
    assert.deepEqual(
      [
        created.status,
        created.body.metadata.annotations,
        created.body.spec.metrics[0].resource.target.averageUtilization,
      ],
      [201, { seen: 'v1' }, 55],
      created.text,
    );
    assert.deepEqual(bench.paths, ['/equivalent']);
    const [{ request } = { request: {} as ReviewRequest }] = bench.requests;
    assert.deepEqual(
      [
        request['kind'].version,
        request['requestKind'].version,
        request['resource'].version,
        request['requestResource'].version,
      ],
      ['v1', 'v2', 'v1', 'v2'],
    );
    assert.deepEqual(
      [request['object'].apiVersion, request['object'].spec.targetCPUUtilizationPercentage],
      ['autoscaling/v1', 80],
    );
    await bench.server.request('DELETE /apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h');
  });
});

describe('which requests', () => {
  test('namespaceSelector, objectSelector on either object, scope', async () => {
    await bench.validating(
      'v',
      bench.webhook('red', { namespaceSelector: { matchLabels: { team: 'red' } } }),
      bench.webhook('labelled', { objectSelector: { matchLabels: { l: '1' } } }),
      bench.webhook('cluster', { rules: [{ ...EVERYTHING, resources: ['*'], scope: 'Cluster' }] }),
      bench.webhook('namespaced', {
        rules: [{ ...EVERYTHING, resources: ['namespaces', 'configmaps'], scope: 'Namespaced' }],
      }),
    );
    const seen = async (act: () => Promise<TestResponse>): Promise<string[]> => {
      bench.requests = [];
      const done = await act();
      assert.ok(done.status < 300, done.text);
      return bench.paths.toSorted();
    };
    assert.deepEqual(await seen(() => bench.createConfigMap('a')), ['/namespaced']);
    assert.deepEqual(
      await seen(() =>
        bench.server.request('POST /api/v1/namespaces/other/configmaps', {
          body: { metadata: { name: 'a' } },
        }),
      ),
      ['/namespaced', '/red'],
    );
    const label = (labels: unknown): Promise<TestResponse> =>
      bench.server.request(`PATCH ${CONFIGMAPS}/a`, { body: { metadata: { labels } }, headers: MERGE });
    assert.deepEqual(await seen(() => label({ l: '1' })), ['/labelled', '/namespaced']);
    assert.deepEqual(await seen(() => label({ l: null })), ['/labelled', '/namespaced']);
    assert.deepEqual(await seen(() => label({ m: '1' })), ['/namespaced']);
    // A namespace is judged by its own labels, new ones when it is written.
    assert.deepEqual(
      await seen(() =>
        bench.server.request('POST /api/v1/namespaces', {
          body: { metadata: { name: 'third', labels: { team: 'red' } } },
        }),
      ),
      ['/cluster'],
    );
    assert.deepEqual(await seen(() => bench.server.request('DELETE /api/v1/namespaces/third')), ['/cluster']);
  });

  test('wildcards and subresources', async () => {
    await bench.server.request('POST /api/v1/namespaces/default/pods', {
      body: { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    });
    await bench.validating(
      'v',
      bench.webhook('status', { rules: [{ ...EVERYTHING, resources: ['pods/status'] }] }),
      bench.webhook('all', { rules: [{ ...EVERYTHING, resources: ['*'] }] }),
      bench.webhook('parts', { rules: [{ ...EVERYTHING, resources: ['pods/*'] }] }),
    );
    const patched = await bench.server.request('PATCH /api/v1/namespaces/default/pods/p/status', {
      body: { status: { phase: 'Running' } },
      headers: MERGE,
    });
    assert.equal(patched.status, 200, patched.text);
    assert.deepEqual(bench.paths.toSorted(), ['/parts', '/status']);
    assert.deepEqual(
      [bench.requests[0]?.request['subResource'], bench.requests[0]?.request['requestSubResource']],
      ['status', 'status'],
    );
  });

  test('match conditions', async () => {
    await bench.validating(
      'v',
      bench.webhook('named', {
        matchConditions: [
          { name: 'n', expression: 'object.metadata.name != "skip-me"' },
          { name: 'u', expression: 'request.userInfo.username == "admin"' },
        ],
      }),
      bench.webhook('may', {
        matchConditions: [
          {
            name: 'a',
            expression:
              'authorizer.group("").resource("configmaps").namespace("default").check("create").allowed()',
          },
        ],
      }),
      bench.webhook('broken-open', {
        failurePolicy: 'Ignore',
        matchConditions: [{ name: 'b', expression: 'object.data.missing == "x"' }],
      }),
    );
    assert.equal((await bench.createConfigMap('a')).status, 201);
    assert.deepEqual(bench.paths.toSorted(), ['/may', '/named']);
    bench.requests = [];
    assert.equal((await bench.createConfigMap('skip-me')).status, 201);
    assert.deepEqual(bench.paths, ['/may']);
    await bench.validating(
      'w',
      bench.webhook('broken', { matchConditions: [{ name: 'b', expression: 'object.data.missing == "x"' }] }),
    );
    const refused = await bench.createConfigMap('b');
    assert.equal(refused.status, 403, refused.text);
    assert.match(
      refused.body.message,
      /^configmaps "b" is forbidden: expression 'object.data.missing == "x"' resulted in error: no such key: missing$/,
    );
  });

  test('a change of the configuration counts from the next request on', async () => {
    bench.decisions['/deny'] = () => ({ allowed: false });
    await bench.validating('v', bench.webhook('deny'));
    const setOperations = (operations: string[]): Promise<TestResponse> =>
      bench.server.request(`PATCH ${ADMISSION}/validatingwebhookconfigurations/v`, {
        body: [{ op: 'replace', path: '/webhooks/0/rules/0/operations', value: operations }],
        headers: JSON_PATCH,
      });
    assert.equal((await bench.createConfigMap('a')).status, 400);
    assert.equal((await setOperations(['UPDATE'])).status, 200);
    assert.equal((await bench.createConfigMap('a')).status, 201);
    await setOperations(['CREATE']);
    assert.equal((await bench.createConfigMap('b')).status, 400);
    await bench.server.request(`DELETE ${ADMISSION}/validatingwebhookconfigurations/v`);
    assert.equal((await bench.createConfigMap('b')).status, 201);
  });

  test('never the configuration of admission itself', async () => {
    bench.decisions['/all'] = () => ({ allowed: false });
    await bench.validating('v', bench.webhook('all', { rules: [EVERYTHING] }));
    await bench.mutating('m', bench.webhook('all', { rules: [EVERYTHING] }));
    assert.equal(
      (await bench.server.request(`DELETE ${ADMISSION}/mutatingwebhookconfigurations/m`)).status,
      200,
    );
    assert.equal(
      (await bench.server.request(`DELETE ${ADMISSION}/validatingwebhookconfigurations/v`)).status,
      200,
    );
    assert.deepEqual(bench.paths, []);
  });
});

describe('mutation', () => {
  test('by configuration name, then in the order listed, each seeing what came before', async () => {
    const noting =
      (name: string): Decide =>
      ({ object }) =>
        patching({
          op: 'add',
          path: '/data/order',
          value: `${(object as { data: Record<string, string> }).data['order'] ?? ''}${name}`,
        });
    for (const name of ['a', 'b', 'c']) bench.decisions[`/${name}`] = noting(name);
    await bench.mutating('z', bench.webhook('c'));
    await bench.mutating('y', bench.webhook('b'), bench.webhook('a'));
    assert.equal((await bench.createConfigMap('x')).body.data.order, 'bac');
  });

  test('what a webhook adds is defaulted before the next one sees it, and validated', async () => {
    bench.decisions['/init'] = () =>
      patching({ op: 'add', path: '/spec/initContainers', value: [{ name: 'added', image: 'i' }] });
    const rules = [{ ...ON_CONFIGMAPS, resources: ['pods'] }];
    await bench.mutating('m', bench.webhook('init', { rules }), bench.webhook('next', { rules }));
    const made = await bench.server.request('POST /api/v1/namespaces/default/pods', {
      body: { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    });
    assert.equal(made.body.spec.initContainers[0].terminationMessagePolicy, 'File', made.text);
    assert.equal(
      bench.requests[1]?.request['object'].spec.initContainers[0].terminationMessagePolicy,
      'File',
    );
    bench.decisions['/init'] = () =>
      patching({ op: 'replace', path: '/spec/containers/0/name', value: 'Not A Name' });
    const invalid = await bench.server.request('POST /api/v1/namespaces/default/pods', {
      body: { metadata: { name: 'q' }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    });
    assert.deepEqual([invalid.status, invalid.body.reason], [422, 'Invalid'], invalid.text);
    assert.match(invalid.body.message, /spec\.containers\[0\]\.name: Invalid value: "Not A Name"/);
  });

  test('IfNeeded: asked again when the object changed after its turn, once', async () => {
    bench.decisions['/first'] = () => ({ allowed: true });
    bench.decisions['/second'] = ({ object }) =>
      object.data.second ? { allowed: true } : setData('second', '1');
    await bench.mutating(
      'm',
      bench.webhook('first', { reinvocationPolicy: 'IfNeeded' }),
      bench.webhook('never'),
      bench.webhook('second', { reinvocationPolicy: 'IfNeeded' }),
    );
    assert.equal((await bench.createConfigMap('a')).status, 201);
    assert.deepEqual(bench.paths, ['/first', '/never', '/second', '/first']);
    assert.deepEqual(bench.requests[3]?.request['object'].data, { a: '1', second: '1' });
    bench.requests = [];
    let n = 0;
    bench.decisions['/first'] = () => setData('n', String(++n));
    assert.equal((await bench.createConfigMap('b')).body.data.n, '2');
    assert.deepEqual(bench.paths, ['/first', '/never', '/second', '/first', '/second']);
  });

  test('generated names are made after it, and a webhook may give one', async () => {
    await bench.mutating('m', bench.webhook('see'));
    await bench.validating('v', bench.webhook('final'));
    const made = await bench.server.request(`POST ${CONFIGMAPS}`, {
      body: { metadata: { generateName: 'g-' } },
    });
    assert.match(made.body.metadata.name, /^g-.{5}$/);
    assert.deepEqual(
      [bench.requests[0]?.request['name'], bench.requests[0]?.request['object'].metadata.generateName],
      [undefined, 'g-'],
    );
    assert.deepEqual(
      [bench.requests[1]?.path, bench.requests[1]?.request['name']],
      ['/final', made.body.metadata.name],
    );
    bench.decisions['/see'] = () => patching({ op: 'add', path: '/metadata/name', value: 'given' });
    assert.equal(
      (await bench.server.request(`POST ${CONFIGMAPS}`, { body: { metadata: { generateName: 'g-' } } })).body
        .metadata.name,
      'given',
    );
  });

  test("uid and place of a new object are not the webhook's to choose", async () => {
    let uid = '';
    bench.decisions['/m'] = ({ object }) => {
      uid = object.metadata.uid as string;
      return patching(
        { op: 'replace', path: '/metadata/uid', value: 'another' },
        { op: 'add', path: '/metadata/deletionTimestamp', value: '2020-01-01T00:00:00Z' },
        { op: 'add', path: '/metadata/resourceVersion', value: '7' },
      );
    };
    await bench.mutating('m', bench.webhook('m'));
    const { body } = await bench.createConfigMap('a');
    assert.deepEqual([body.metadata.uid, body.metadata.deletionTimestamp], [uid, undefined]);
    bench.decisions['/m'] = () => patching({ op: 'replace', path: '/metadata/namespace', value: 'other' });
    const moved = await bench.createConfigMap('b');
    assert.deepEqual(
      [moved.status, moved.body.message],
      [400, 'the namespace of the provided object does not match the namespace sent on the request'],
    );
    assert.equal((await bench.server.request('GET /api/v1/namespaces/other/configmaps/b')).status, 404);
    bench.decisions['/m'] = () => patching({ op: 'replace', path: '/metadata/uid', value: 'another' });
    const updated = await bench.server.request(`PUT ${CONFIGMAPS}/a`, { body: { metadata: { name: 'a' } } });
    assert.deepEqual([updated.status, updated.body.reason], [422, 'Invalid'], updated.text);
  });
});

describe('refusals', () => {
  test("carry the webhook's status", async () => {
    await bench.validating('v', bench.webhook('deny'));
    const refusal = async (response: Record<string, unknown>): Promise<unknown[]> => {
      bench.decisions['/deny'] = () => response;
      const { status, body } = await bench.createConfigMap('a');
      return [status, body.code, body.reason, body.message];
    };
    const denied = 'admission webhook "deny.example.com" denied the request';
    assert.deepEqual(await refusal({ allowed: false }), [
      400,
      400,
      undefined,
      `${denied} without explanation`,
    ]);
    assert.deepEqual(await refusal({}), [400, 400, undefined, `${denied} without explanation`]);
    assert.deepEqual(
      await refusal({ allowed: false, status: { message: 'no', reason: 'Forbidden', code: 403 } }),
      [403, 403, 'Forbidden', `${denied}: no`],
    );
    assert.deepEqual(await refusal({ allowed: false, status: { reason: 'Conflict', code: 200 } }), [
      400,
      400,
      'Conflict',
      `${denied}: Conflict`,
    ]);
    assert.deepEqual(
      await refusal({ allowed: false, status: { code: 99999, status: 'Success', message: 'x' } }),
      [500, 500, undefined, `${denied}: x`],
    );
  });

  test('all validating webhooks are asked at once', async () => {
    let waiting = 0,
      release = (): void => {};
    const both = new Promise<void>((resolve) => (release = resolve));
    const together: Decide = async () => {
      if (++waiting === 2) release();
      await both;
      return { allowed: true };
    };
    bench.decisions['/one'] = bench.decisions['/two'] = together;
    await bench.validating('v', bench.webhook('one'), bench.webhook('two'));
    assert.equal((await bench.createConfigMap('a')).status, 201);
  });

  test('warnings reach the client', async () => {
    bench.decisions['/warn'] = () => ({ allowed: true, warnings: ['be "careful"', 'be "careful"', 'twice'] });
    await bench.validating('v', bench.webhook('warn'));
    assert.equal(
      (await bench.createConfigMap('a')).headers['warning'],
      '299 - "be \\"careful\\"", 299 - "twice"',
    );
  });

  test('too many warnings are cut, then left out', async () => {
    bench.decisions['/warn'] = () => ({
      allowed: true,
      warnings: Array.from({ length: 30 }, (_, i) => `${i}${'x'.repeat(400)}`),
    });
    await bench.validating('v', bench.webhook('warn'));
    const header = (await bench.createConfigMap('a')).headers['warning'] ?? '';
    const warnings = header.split(', ');
    assert.equal(warnings.length, 16);
    assert.ok(warnings.every((text) => text.length === 256 + '299 - ""'.length));
  });

  test('dry run asks only webhooks that have no side effects then', async () => {
    await bench.validating('v', bench.webhook('none'), bench.webhook('dry', { sideEffects: 'NoneOnDryRun' }));
    assert.equal((await bench.createConfigMap('a', {}, '?dryRun=All')).status, 201);
    assert.deepEqual(
      bench.requests.map(({ request }) => request['dryRun']),
      [true, true],
    );
  });
});

describe('failures', () => {
  const failing = async (reaction: Record<string, unknown>, more: object = {}): Promise<TestResponse> => {
    await bench.clean();
    bench.decisions['/fail'] = () => reaction;
    await bench.mutating('f', bench.webhook('fail', more));
    return bench.createConfigMap('a');
  };
  const cases: readonly {
    readonly name: string;
    readonly reaction: Record<string, unknown>;
    readonly says: RegExp;
  }[] = [
    {
      name: 'another uid',
      reaction: { uid: 'x', allowed: true },
      says: /received invalid webhook response: expected response\.uid="[0-9a-f-]+", got "x"/,
    },
    {
      name: 'no kind',
      reaction: { raw: { body: { response: { uid: 'x' } } } },
      says: /received invalid webhook response: expected response\.uid=/,
    },
    {
      name: 'no response',
      reaction: { raw: { body: {} } },
      says: /received invalid webhook response: webhook response was absent/,
    },
    {
      name: 'no JSON',
      reaction: { raw: { body: 'hello' } },
      says: /failed to call webhook: Post "https:\/\/127\.0\.0\.1:\d+\/fail\?timeout=10s": the answer is no JSON/,
    },
    {
      name: 'status 500',
      reaction: { raw: { status: 500, body: 'oops' } },
      says: /failed to call webhook: an error on the server \("oops"\) has prevented the request from succeeding/,
    },
    {
      name: 'status 404',
      reaction: { raw: { status: 404 } },
      says: /failed to call webhook: the server could not find the requested resource/,
    },
    {
      name: 'a redirect',
      reaction: { raw: { status: 307, headers: { location: '/elsewhere' } } },
      says: /failed to call webhook: the server answered with a redirect \(307\), which is not followed/,
    },
    {
      name: 'a cut connection',
      reaction: { raw: { status: 0 } },
      says: /failed to call webhook: Post "[^"]+": EOF/,
    },
    {
      name: 'a patch without its type',
      reaction: { allowed: true, patch: 'W10=' },
      says: /webhook returned response\.patch but not response\.patchType/,
    },
    {
      name: 'another sort of patch',
      reaction: { ...setData('b', '1'), patchType: 'MergePatch' },
      says: /unsupported patch type "MergePatch"/,
    },
  ];
  for (const { name, reaction, says } of cases) {
    test(`${name} is refused under Fail, let pass under Ignore`, async () => {
      const refused = await failing(reaction);
      assert.deepEqual([refused.status, refused.body.reason], [500, 'InternalError'], refused.text);
      assert.match(
        refused.body.message,
        /^Internal error occurred: failed calling webhook "fail\.example\.com": /,
      );
      assert.match(refused.body.message, says);
      assert.equal((await failing(reaction, { failurePolicy: 'Ignore' })).status, 201);
    });
  }
  const wrongPatches: readonly {
    readonly name: string;
    readonly response: Record<string, unknown>;
    readonly says: RegExp;
  }[] = [
    {
      name: 'an absent path',
      response: patching({ op: 'replace', path: '/spec/x', value: 1 }),
      says: /replace operation does not apply/,
    },
    {
      name: 'a wrong type',
      response: patching({ op: 'add', path: '/data', value: 'text' }),
      says: /cannot unmarshal/,
    },
    {
      name: 'nested without end',
      response: {
        allowed: true,
        patchType: 'JSONPatch',
        patch: Buffer.from(
          `[{"op":"add","path":"/data/x","value":${'['.repeat(200_000)}${']'.repeat(200_000)}}]`,
        ).toString('base64'),
      },
      says: /exceeded max depth/,
    },
    {
      name: 'a bomb of copies',
      response: patching(
        { op: 'add', path: '/data/x', value: 'x'.repeat(1000) },
        ...Array.from({ length: 40 }, (_, i) => ({ op: 'copy', from: '/data', path: `/data/${i}` })),
      ),
      says: /accumulated size increase of copy|cannot unmarshal/,
    },
    {
      name: 'more operations than are taken',
      response: patching(
        ...Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/data/a', value: '1' })),
      ),
      says: /allowed maximum operations in a JSON patch is 10000/,
    },
    {
      name: 'another kind',
      response: patching({ op: 'replace', path: '/kind', value: 'Secret' }),
      says: /^Internal error occurred: /,
    },
  ];
  for (const [name, text] of [
    ['no JSON', '[{'],
    ['no list', '{}'],
  ] as const) {
    test(`a patch that cannot be read (${name}) is as no answer: failurePolicy decides`, async () => {
      const response = { allowed: true, patchType: 'JSONPatch', patch: Buffer.from(text).toString('base64') };
      const refused = await failing(response, { failurePolicy: 'Fail' });
      assert.equal(refused.status, 500, refused.text);
      assert.match(
        refused.body.message,
        /^Internal error occurred: failed calling webhook ".*": received undecodable patch in webhook response: /,
      );
      assert.equal((await failing(response, { failurePolicy: 'Ignore' })).status, 201);
    });
  }
  for (const { name, response, says } of wrongPatches) {
    test(`a patch that is wrong (${name}) is refused whatever the failurePolicy`, async () => {
      const refused = await failing(response, { failurePolicy: 'Ignore' });
      assert.equal(refused.status, 500, refused.text);
      assert.match(refused.body.message, says);
    });
  }

  test("silence ends with the webhook's timeout, and holds up nobody else", async () => {
    bench.decisions['/silent'] = () => new Promise(() => {});
    await bench.mutating(
      's',
      bench.webhook('silent', { timeoutSeconds: 1, objectSelector: { matchLabels: { slow: 'yes' } } }),
    );
    const slow = bench.server.request(`POST ${CONFIGMAPS}`, {
      body: { metadata: { name: 'slow', labels: { slow: 'yes' } } },
    });
    assert.equal((await bench.createConfigMap('quick')).status, 201);
    const { status, body } = await slow;
    assert.equal(status, 500);
    assert.match(
      body.message,
      /^Internal error occurred: failed calling webhook "silent\.example\.com": failed to call webhook: Post "https:\/\/127\.0\.0\.1:\d+\/silent\?timeout=1s": context deadline exceeded$/,
    );
  });

  test('an answer that drips ends with the timeout', async () => {
    const refused = await failing({ raw: { drips: true } }, { timeoutSeconds: 1 });
    assert.match(refused.body.message, /context deadline exceeded/);
  });

  test('a certificate of an authority that was not named', async () => {
    const { caBundle: _, ...clientConfig } = bench.webhook('x')['clientConfig'] as Record<string, unknown>;
    await bench.validating('v', bench.webhook('x', { clientConfig }));
    assert.match(
      (await bench.createConfigMap('a')).body.message,
      /failed to call webhook: Post "[^"]+": tls: failed to verify certificate: x509: certificate signed by unknown authority/,
    );
    assert.deepEqual(bench.paths, []);
  });

  test('a webhook that cannot be reached, and a service that is not there', async () => {
    const gone = await startWebhookPeer(() => ({}));
    await gone.stop();
    await bench.validating('v', bench.webhook('x', { clientConfig: { url: gone.url } }));
    assert.match(
      (await bench.createConfigMap('a')).body.message,
      /Post "[^"]+": dial tcp 127\.0\.0\.1:\d+: connect: connection refused/,
    );
    await bench.server.request(`DELETE ${ADMISSION}/validatingwebhookconfigurations/v`);
    await bench.validating(
      'w',
      bench.webhook('x', { clientConfig: { service: { namespace: 'default', name: 'nobody' } } }),
    );
    assert.match(
      (await bench.createConfigMap('a')).body.message,
      /failed to call webhook: Post "https:\/\/nobody\.default\.svc:443\/\?timeout=10s": service "nobody" not found/,
    );
  });

  test('an answer without end is not read to its end', async () => {
    const refused = await failing({ raw: { body: `"${'x'.repeat(17 * 1024 * 1024)}"` } });
    assert.match(refused.body.message, /is longer than 16777216 bytes/);
  });
});

test('a patch that names a prototype sets a field of that name, and nothing else', async () => {
  bench.decisions['/m'] = () =>
    patching(
      { op: 'add', path: '/metadata/annotations', value: {} },
      { op: 'add', path: '/metadata/annotations/__proto__', value: 'x' },
      { op: 'add', path: '/__proto__', value: { polluted: true } },
    );
  await bench.mutating('m', bench.webhook('m'));
  const { text } = await bench.createConfigMap('a');
  assert.equal(({} as { polluted?: boolean }).polluted, undefined);
  assert.ok(!text.includes('polluted'), text);
});

test('a bundle that holds no certificate trusts nobody', async () => {
  const clientConfig = {
    ...(bench.webhook('x')['clientConfig'] as object),
    caBundle: Buffer.from('no certificate').toString('base64'),
  };
  await bench.validating('v', bench.webhook('x', { clientConfig }));
  const { status, body } = await bench.createConfigMap('a');
  assert.equal(status, 500);
  assert.match(body.message, /failed to call webhook: /);
  assert.deepEqual(bench.paths, []);
});

test('a webhook that creates what it is asked about is asked again each time, and the requests end', async () => {
  let depth = 0;
  bench.decisions['/loop'] = async () => {
    if (++depth <= 50) await bench.createConfigMap(`loop-${depth}`);
    return { allowed: true };
  };
  await bench.validating('v', bench.webhook('loop'));
  assert.equal((await bench.createConfigMap('loop')).status, 201);
  assert.equal(depth, 51);
});

test('what is noted for the audit event', async () => {
  bench.decisions['/m'] = () => ({ ...setData('b', '2'), auditAnnotations: { why: 'because' } });
  await bench.mutating(
    'conf',
    bench.webhook('m'),
    bench.webhook('gone', {
      failurePolicy: 'Ignore',
      clientConfig: { service: { namespace: 'default', name: 'nobody' } },
    }),
  );
  await bench.validating(
    'checks',
    bench.webhook('passed', {
      failurePolicy: 'Ignore',
      clientConfig: { service: { namespace: 'default', name: 'nobody' } },
    }),
  );
  bench.annotations = [];
  assert.equal((await bench.createConfigMap('a')).status, 201);
  assert.deepEqual(
    bench.annotations.map(({ key, value, level }) => [key, value, level]),
    [
      ['m.example.com/why', 'because', 'Metadata'],
      [
        'patch.webhook.admission.k8s.io/round_0_index_0',
        '{"configuration":"conf","webhook":"m.example.com","patch":[{"op":"add","path":"/data/b","value":"2"}],"patchType":"JSONPatch"}',
        'Request',
      ],
      [
        'mutation.webhook.admission.k8s.io/round_0_index_0',
        '{"configuration":"conf","webhook":"m.example.com","mutated":true}',
        'Metadata',
      ],
      [
        'mutation.webhook.admission.k8s.io/round_0_index_1',
        '{"configuration":"conf","webhook":"gone.example.com","mutated":false}',
        'Metadata',
      ],
      ['failed-open.mutation.webhook.admission.k8s.io/round_0_index_1', 'gone.example.com', 'Metadata'],
      ['failed-open.validating.webhook.admission.k8s.io/round_0_index_0', 'passed.example.com', 'Metadata'],
    ],
  );
});

test('figures', async () => {
  bench.decisions['/no'] = () => ({ allowed: false, status: { code: 403 } });
  await bench.validating(
    'v',
    bench.webhook('no'),
    bench.webhook('open', {
      failurePolicy: 'Ignore',
      clientConfig: { service: { namespace: 'default', name: 'nobody' } },
    }),
  );
  await bench.createConfigMap('a');
  const { text } = await bench.server.request('GET /metrics');
  assert.match(
    text,
    /apiserver_admission_webhook_rejection_count\{error_type="no_error",name="no\.example\.com",operation="CREATE",rejection_code="403",type="validating"\} 1/,
  );
  assert.match(
    text,
    /apiserver_admission_webhook_fail_open_count\{name="open\.example\.com",type="validating"\} 1/,
  );
  assert.match(
    text,
    /apiserver_admission_webhook_admission_duration_seconds_count\{name="no\.example\.com",operation="CREATE",rejected="true",type="validating"\} 1/,
  );
});

test('built-in plugins run again after a webhook changed the object, and do nothing twice', async () => {
  let authorization: Authorization | undefined;
  const whole = await startTestServer({
    authorization: ({ internal, log }) => (authorization = createAuthorization({ internal, log })).authorizer,
    admission: () => createAdmission({ authorization: authorization! }),
  });
  try {
    const admin = { user: { name: 'admin', groups: ['system:masters'] } };
    for (const [path, body] of [
      ['/api/v1/namespaces', { metadata: { name: 'default' } }],
      ['/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } }],
    ] as const)
      await whole.request(`POST ${path}`, { body, ...admin });
    bench.decisions['/sidecar'] = ({ object }) =>
      object.spec.containers.length > 1
        ? { allowed: true }
        : patching({ op: 'add', path: '/spec/containers/-', value: { name: 'sidecar', image: 's' } });
    await whole.request(`POST ${ADMISSION}/mutatingwebhookconfigurations`, {
      body: {
        metadata: { name: 'm' },
        webhooks: [bench.webhook('sidecar', { rules: [{ ...ON_CONFIGMAPS, resources: ['pods'] }] })],
      },
      ...admin,
    });
    const { status, body, text } = await whole.request(`POST ${PODS}`, {
      body: { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'i' }] } },
      ...admin,
    });
    assert.equal(status, 201, text);
    assert.deepEqual([body.spec.volumes.length, body.spec.tolerations.length, body.spec.priority], [1, 2, 0]);
    // The token reaches the container that the webhook added.
    assert.deepEqual(
      (body.spec.containers as { volumeMounts: unknown[] }[]).map(({ volumeMounts }) => volumeMounts.length),
      [1, 1],
    );
  } finally {
    authorization?.stop();
    await whole.stop();
  }
});

test('a webhook behind a Service is called at its cluster address, by its own name', async () => {
  const host = '127.77.0.5';
  const behind = await startWebhookPeer((call) => bench.answer(call), {
    host,
    dnsNames: ['hook.default.svc'],
  });
  const another = await startTestServer({
    admission: () => [validatingAdmissionWebhook()],
    serviceCidr: '127.77.0.0/16',
  });
  try {
    const port = Number(new URL(behind.url).port);
    await another.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
    const service = await another.request('POST /api/v1/namespaces/default/services', {
      body: { metadata: { name: 'hook' }, spec: { clusterIP: host, ports: [{ port }] } },
    });
    assert.equal(service.status, 201, service.text);
    const clientConfig = {
      service: { namespace: 'default', name: 'hook', path: '/see', port },
      caBundle: Buffer.from(behind.caPem).toString('base64'),
    };
    await another.request(`POST ${ADMISSION}/validatingwebhookconfigurations`, {
      body: { metadata: { name: 'v' }, webhooks: [bench.webhook('see', { clientConfig })] },
    });
    const created = await another.request(`POST ${CONFIGMAPS}`, { body: { metadata: { name: 'a' } } });
    assert.equal(created.status, 201, created.text);
    assert.equal(behind.calls[0]?.path, '/see?timeout=10s');
    assert.equal(behind.calls[0]?.headers.host, `hook.default.svc:${port}`);
  } finally {
    await another.stop();
    await behind.stop();
  }
});

describe('subresources that take a body of another kind', () => {
  const rule = (...resources: string[]): object => ({ rules: [{ ...EVERYTHING, resources }] });
  const makePod = async (name: string): Promise<void> => {
    const created = await bench.server.request(`POST ${PODS}`, {
      body: { metadata: { name }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    });
    assert.equal(created.status, 201, created.text);
  };

  test('binding and eviction are creations of that body', async () => {
    await makePod('p');
    await bench.validating('v', bench.webhook('parts', rule('pods/*')));
    assert.equal(
      (
        await bench.server.request(`POST ${PODS}/p/binding`, {
          body: { metadata: { name: 'p' }, target: { kind: 'Node', name: 'n' } },
        })
      ).status,
      201,
    );
    assert.equal(
      (await bench.server.request(`POST ${PODS}/p/eviction`, { body: { metadata: { name: 'p' } } })).status,
      201,
    );
    assert.deepEqual(
      bench.requests.map(({ request }) => [
        request['operation'],
        request['kind'].kind,
        request['subResource'],
        request['object'].kind,
        request['name'],
        request['options'].kind,
      ]),
      [
        ['CREATE', 'Binding', 'binding', 'Binding', 'p', 'CreateOptions'],
        ['CREATE', 'Eviction', 'eviction', 'Eviction', 'p', 'CreateOptions'],
      ],
    );
  });

  test('a webhook may choose the node, and deny', async () => {
    await makePod('p');
    bench.decisions['/bind'] = () => patching({ op: 'replace', path: '/target/name', value: 'chosen' });
    await bench.mutating('m', bench.webhook('bind', rule('pods/binding')));
    await bench.server.request(`POST ${PODS}/p/binding`, {
      body: { metadata: { name: 'p' }, target: { kind: 'Node', name: 'n' } },
    });
    assert.equal((await bench.server.request(`GET ${PODS}/p`)).body.spec.nodeName, 'chosen');
    bench.decisions['/deny'] = () => ({ allowed: false });
    await bench.validating('v', bench.webhook('deny', rule('pods/eviction')));
    assert.equal(
      (await bench.server.request(`POST ${PODS}/p/eviction`, { body: { metadata: { name: 'p' } } })).status,
      400,
    );
    assert.equal((await bench.server.request(`GET ${PODS}/p`)).status, 200);
  });

  test('scale is seen as a Scale, and changed as one', async () => {
    const replicaSet = {
      metadata: { name: 'r' },
      spec: {
        replicas: 1,
        selector: { matchLabels: { a: 'b' } },
        template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
      },
    };
    const path = '/apis/apps/v1/namespaces/default/replicasets';
    await bench.server.request(`POST ${path}`, { body: replicaSet });
    bench.decisions['/cap'] = ({ object }) =>
      object.spec.replicas > 3
        ? patching({ op: 'replace', path: '/spec/replicas', value: 3 })
        : { allowed: true };
    await bench.mutating('m', bench.webhook('cap', rule('*/scale')));
    const scaled = await bench.server.request(`PATCH ${path}/r/scale`, {
      body: { spec: { replicas: 9 } },
      headers: MERGE,
    });
    assert.equal(scaled.body.spec.replicas, 3, scaled.text);
    const [{ request } = { request: {} as ReviewRequest }] = bench.requests;
    assert.deepEqual(
      [request['kind'], request['object'].kind, request['object'].spec, request['oldObject'].spec],
      [{ group: 'autoscaling', version: 'v1', kind: 'Scale' }, 'Scale', { replicas: 9 }, { replicas: 1 }],
    );
    await bench.server.request(`DELETE ${path}/r`);
  });

  test('connections carry their options; attach can be denied, exec cannot be rewritten', async () => {
    await makePod('p');
    bench.decisions['/deny'] = () => ({
      allowed: false,
      status: { message: 'attaching to pods is not allowed' },
    });
    await bench.validating(
      'v',
      bench.webhook('deny', {
        rules: [
          {
            ...EVERYTHING,
            operations: ['CONNECT'],
            resources: ['pods/attach', 'pods/portforward', 'pods/proxy'],
          },
        ],
      }),
    );
    const denied = await bench.server.request(`POST ${PODS}/p/attach?container=c&stdin=true`);
    assert.deepEqual(
      [denied.status, denied.body.message],
      [400, 'admission webhook "deny.example.com" denied the request: attaching to pods is not allowed'],
    );
    await bench.server.request(`POST ${PODS}/p/portforward?ports=80,81`);
    await bench.server.request(`GET ${PODS}/p/proxy/some/path`);
    assert.deepEqual(
      bench.requests.map(({ request }) => [
        request['operation'],
        request['object'],
        request['oldObject'],
        request['options'],
      ]),
      [
        ['CONNECT', { kind: 'PodAttachOptions', apiVersion: 'v1', stdin: true, container: 'c' }, null, null],
        ['CONNECT', { kind: 'PodPortForwardOptions', apiVersion: 'v1', ports: [80, 81] }, null, null],
        ['CONNECT', { kind: 'PodProxyOptions', apiVersion: 'v1', path: '/some/path' }, null, null],
      ],
    );
    bench.decisions['/change'] = () => patching({ op: 'add', path: '/command', value: ['rm'] });
    await bench.mutating(
      'm',
      bench.webhook('change', {
        rules: [{ ...EVERYTHING, operations: ['CONNECT'], resources: ['pods/exec'] }],
      }),
    );
    assert.match(
      (await bench.server.request(`POST ${PODS}/p/exec?command=ls`)).body.message,
      /admission changed the PodExecOptions of pods\/exec, which is not supported/,
    );
  });
});

test('a client that goes away takes its call along, and nothing is written', async () => {
  const { promise: gone, resolve: ended } = Promise.withResolvers<void>();
  let leave = (): void => {};
  bench.decisions['/silent'] = () => {
    leave();
    return new Promise(() => {});
  };
  await bench.mutating('m', bench.webhook('silent', { failurePolicy: 'Ignore' }));
  const body = Buffer.from(JSON.stringify({ metadata: { name: 'a' } }));
  const answer = bench.server.server.handler({
    method: 'POST',
    path: CONFIGMAPS,
    query: '',
    headers: {},
    remoteAddress: '127.0.0.1',
    body: () => Promise.resolve(body),
    onAbort: (callback) =>
      (leave = () => {
        callback();
        ended();
      }),
  });
  await gone;
  assert.equal((await answer).status, 504);
  assert.equal((await bench.server.request(`GET ${CONFIGMAPS}/a`)).status, 404);
});

test("the client's own timeout ends the call, and nothing is written", async () => {
  bench.decisions['/silent'] = () => new Promise(() => {});
  await bench.mutating('m', bench.webhook('silent', { failurePolicy: 'Ignore' }));
  const { status } = await bench.createConfigMap('a', {}, '?timeout=200ms');
  assert.equal(status, 504);
  await bench.server.request(`DELETE ${ADMISSION}/mutatingwebhookconfigurations/m`);
  assert.equal((await bench.server.request(`GET ${CONFIGMAPS}/a`)).status, 404);
});
