import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startTestServer, type TestServer } from '../testing/server.ts';

let server: TestServer;
before(async () => {
  server = await startTestServer({ bootstrapObjects: true });
  await server.server.ready();
});
after(() => server.stop());

const CONFIGMAPS = '/api/v1/namespaces/default/configmaps';
const configMap = (name: string, extra: object = {}): object => ({
  kind: 'ConfigMap',
  apiVersion: 'v1',
  metadata: { name },
  ...extra,
});

test("create sets what is the server's and answers 201", async () => {
  const { status, body } = await server.request(`POST ${CONFIGMAPS}`, {
    body: {
      ...configMap('made', { data: { a: 'b' } }),
      metadata: {
        name: 'made',
        uid: 'mine',
        generation: 4,
        creationTimestamp: '2001-01-01T00:00:00Z',
        selfLink: '/x',
      },
    },
  });
  assert.equal(status, 201);
  assert.match(body.metadata.uid, /^[0-9a-f-]{36}$/);
  assert.equal(body.metadata.namespace, 'default');
  assert.equal(body.metadata.selfLink, undefined);
  assert.notEqual(body.metadata.creationTimestamp, '2001-01-01T00:00:00Z');
  assert.deepEqual((await server.request(`GET ${CONFIGMAPS}/made`)).body, body);
});

interface Refusal {
  readonly request: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly code: number;
  readonly reason: string | undefined;
  readonly message: string | RegExp;
}

const JSON_PATCH = { 'content-type': 'application/json-patch+json' };
const MERGE_PATCH = { 'content-type': 'application/merge-patch+json' };

const REFUSALS: readonly Refusal[] = [
  {
    request: `GET ${CONFIGMAPS}/none`,
    code: 404,
    reason: 'NotFound',
    message: 'configmaps "none" not found',
  },
  {
    request: 'GET /apis/apps/v1/namespaces/default/deployments/none',
    code: 404,
    reason: 'NotFound',
    message: 'deployments.apps "none" not found',
  },
  ...(
    [
      ['binding', { kind: 'Binding', apiVersion: 'v1', target: { name: 'n' } }],
      ['eviction', { kind: 'Eviction', apiVersion: 'policy/v1' }],
    ] as const
  ).map(([part, body]) => ({
    request: `POST /api/v1/namespaces/default/pods/none/${part}`,
    body: { ...body, metadata: { name: 'none', namespace: 'other' } },
    code: 400,
    reason: 'BadRequest',
    message: 'the namespace of the provided object does not match the namespace sent on the request',
  })),
  {
    request: 'GET /apis/apps/v1/nothings',
    code: 404,
    reason: 'NotFound',
    message: 'the server could not find the requested resource',
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: configMap('kept'),
    code: 409,
    reason: 'AlreadyExists',
    message: 'configmaps "kept" already exists',
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: configMap('kept', { data: { 'a/b': '' } }),
    code: 422,
    reason: 'Invalid',
    message: /^ConfigMap "kept" is invalid: data\[a\/b\]: Invalid value/,
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: { kind: 'ConfigMap', apiVersion: 'v1', metadata: {} },
    code: 422,
    reason: 'Invalid',
    message: 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: configMap('Upper'),
    code: 422,
    reason: 'Invalid',
    message:
      /^ConfigMap "Upper" is invalid: metadata\.name: Invalid value: "Upper": a lowercase RFC 1123 subdomain must consist of/,
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: { ...configMap('x'), metadata: { name: 'x', namespace: 'other' } },
    code: 400,
    reason: 'BadRequest',
    message: 'the namespace of the provided object does not match the namespace sent on the request',
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: { ...configMap('x'), metadata: { name: 'x', resourceVersion: '5' } },
    code: 400,
    reason: 'BadRequest',
    message: 'resourceVersion should not be set on objects to be created',
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: { kind: 'Secret', apiVersion: 'v1', metadata: { name: 'x' } },
    code: 400,
    reason: 'BadRequest',
    message:
      /^Secret in version "v1" cannot be handled as a ConfigMap: converting \(v1\.Secret\) to \(core\.ConfigMap\): unknown conversion/,
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: '{',
    code: 400,
    reason: 'BadRequest',
    message:
      /^the object provided is unrecognized \(must be of type ConfigMap\): couldn't get version\/kind; json parse error: unexpected end of JSON input/,
  },
  {
    request: `POST ${CONFIGMAPS}?fieldValidation=Strict`,
    body: configMap('x', { foo: 1 }),
    code: 400,
    reason: 'BadRequest',
    message:
      'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo"',
  },
  {
    request: `POST ${CONFIGMAPS}?dryRun=Some`,
    body: configMap('x'),
    code: 422,
    reason: 'Invalid',
    message:
      'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"',
  },
  {
    request: `POST ${CONFIGMAPS}`,
    body: configMap('x'),
    headers: { 'content-type': 'text/plain' },
    code: 415,
    reason: 'UnsupportedMediaType',
    message:
      /^the body of the request was in an unknown format - accepted media types include: application\/json/,
  },
  {
    request: 'POST /api/v1/configmaps',
    body: configMap('x'),
    code: 405,
    reason: 'MethodNotAllowed',
    message: 'the server does not allow this method on the requested resource',
  },
  {
    request: `PUT ${CONFIGMAPS}/kept`,
    body: configMap('other'),
    code: 400,
    reason: 'BadRequest',
    message: 'the name of the object (other) does not match the name on the URL (kept)',
  },
  {
    request: `PUT ${CONFIGMAPS}/kept`,
    body: { ...configMap('kept'), metadata: { name: 'kept', resourceVersion: '1' } },
    code: 409,
    reason: 'Conflict',
    message:
      'Operation cannot be fulfilled on configmaps "kept": the object has been modified; please apply your changes to the latest version and try again',
  },
  {
    request: `PUT ${CONFIGMAPS}/kept`,
    body: { ...configMap('kept'), metadata: { name: 'kept', uid: 'abc' } },
    code: 409,
    reason: 'Conflict',
    message:
      /^Operation cannot be fulfilled on configmaps "kept": StorageError: invalid object, Code: 4, Key: \/registry\/configmaps\/default\/kept, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: abc, UID in object meta: /,
  },
  {
    request: `PATCH ${CONFIGMAPS}/none`,
    body: {},
    headers: MERGE_PATCH,
    code: 404,
    reason: 'NotFound',
    message: 'configmaps "none" not found',
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept`,
    body: { metadata: { resourceVersion: '1' } },
    headers: MERGE_PATCH,
    code: 409,
    reason: 'Conflict',
    message: /the object has been modified/,
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept`,
    body: {},
    headers: { 'content-type': 'application/json' },
    code: 415,
    reason: 'UnsupportedMediaType',
    message: '415: Unsupported Media Type',
  },
  {
    request: `PUT ${CONFIGMAPS}`,
    body: configMap('kept'),
    code: 405,
    reason: 'MethodNotAllowed',
    message: 'the server does not allow this method on the requested resource',
  },
  {
    request: `DELETE ${CONFIGMAPS}?sendInitialEvents=true`,
    code: 422,
    reason: 'Invalid',
    message: /sendInitialEvents is forbidden for list/,
  },
  {
    request: `DELETE ${CONFIGMAPS}?resourceVersion=99999999`,
    code: 504,
    reason: 'Timeout',
    message: /Too large resource version/,
  },
  {
    request: `PATCH ${CONFIGMAPS}/none`,
    body: '{',
    headers: MERGE_PATCH,
    code: 404,
    reason: 'NotFound',
    message: 'configmaps "none" not found',
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept`,
    body: '{',
    headers: MERGE_PATCH,
    code: 400,
    reason: 'BadRequest',
    message: 'error decoding patch: unexpected end of JSON input',
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept`,
    body: 'a: b',
    headers: MERGE_PATCH,
    code: 400,
    reason: 'BadRequest',
    message: "error decoding patch: invalid character 'a' looking for beginning of value",
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept?fieldValidation=Ignore`,
    body: 'a: b',
    headers: MERGE_PATCH,
    code: 400,
    reason: 'BadRequest',
    message: 'Invalid JSON Patch',
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept`,
    body: { op: 'add' },
    headers: JSON_PATCH,
    code: 400,
    reason: 'BadRequest',
    message:
      'error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp',
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept?fieldValidation=Strict`,
    body: { zz: 1 },
    headers: MERGE_PATCH,
    code: 422,
    reason: 'Invalid',
    message:
      /^ "" is invalid: patch: Invalid value: "\{\\"apiVersion\\":\\"v1\\".*: strict decoding error: unknown field "zz"$/s,
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept`,
    body: { data: { a: 5 } },
    headers: { 'content-type': 'application/strategic-merge-patch+json' },
    code: 422,
    reason: 'Invalid',
    message: ' "" is invalid: patch: Invalid value: "map[data:map[a:5]]": cannot convert int64 to string',
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept`,
    body: { metadata: { uid: 'abc' } },
    headers: MERGE_PATCH,
    code: 422,
    reason: 'Invalid',
    message: 'ConfigMap "kept" is invalid: metadata.uid: Invalid value: "abc": field is immutable',
  },
  {
    request: `PATCH ${CONFIGMAPS}/kept`,
    body: [{ op: 'remove', path: '/data/none' }],
    headers: JSON_PATCH,
    code: 422,
    reason: 'Invalid',
    message: /^the server rejected our request/,
  },
  {
    request: `DELETE ${CONFIGMAPS}/kept`,
    body: { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid: 'abc' } },
    code: 409,
    reason: 'Conflict',
    message:
      /^Operation cannot be fulfilled on ConfigMap "kept": the UID in the precondition \(abc\) does not match the UID in record/,
  },
  {
    request: `DELETE ${CONFIGMAPS}/kept?propagationPolicy=Some`,
    code: 422,
    reason: 'Invalid',
    message:
      'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Some": supported values: "Foreground", "Background", "Orphan", "nil"',
  },
  {
    request: `GET ${CONFIGMAPS}/kept`,
    headers: { accept: 'text/html' },
    code: 406,
    reason: 'NotAcceptable',
    message:
      '406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf',
  },
];

test("refusals carry upstream's code, reason and words", async () => {
  await server.request(`POST ${CONFIGMAPS}`, { body: configMap('kept') });
  for (const { request, body, headers, code, reason, message } of REFUSALS) {
    const answer = await server.request(request, { body, headers });
    const shown = `${request} ${JSON.stringify(body ?? '')}: ${answer.text}`;
    assert.equal(answer.status, code, shown);
    assert.equal(answer.body.reason, reason, shown);
    assert.equal(answer.body.code, code, shown);
    if (typeof message === 'string') assert.equal(answer.body.message, message);
    else assert.match(answer.body.message, message);
  }
});

test('a name that is taken may be tried again where it could have been generated', async () => {
  const answer = await server.request(`POST ${CONFIGMAPS}`, {
    body: { ...configMap('kept'), metadata: { name: 'kept', generateName: 'k-' } },
  });
  assert.deepEqual(
    [answer.status, answer.headers['retry-after'], answer.body.message],
    [
      409,
      '1',
      'configmaps "kept" already exists, the server was not able to generate a unique name for the object',
    ],
  );
});

test('generateName makes names; unknown fields warn; dry run stores nothing', async () => {
  const made = await server.request(`POST ${CONFIGMAPS}`, {
    body: { kind: 'ConfigMap', apiVersion: 'v1', metadata: { generateName: 'gen-' }, extra: 1 },
  });
  assert.match(made.body.metadata.name, /^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  assert.equal(made.headers['warning'], '299 - "unknown field \\"extra\\""');
  const dry = await server.request(`POST ${CONFIGMAPS}?dryRun=All`, { body: configMap('dry') });
  assert.equal(dry.status, 201);
  assert.match(dry.body.metadata.uid, /-/);
  assert.equal((await server.request(`GET ${CONFIGMAPS}/dry`)).status, 404);
});

test('an update that changes nothing keeps the resourceVersion', async () => {
  const { body } = await server.request(`POST ${CONFIGMAPS}`, {
    body: configMap('still', { data: { a: '1' } }),
  });
  const again = await server.request(`PUT ${CONFIGMAPS}/still`, { body });
  assert.equal(again.status, 200);
  assert.equal(again.body.metadata.resourceVersion, body.metadata.resourceVersion);
  const changed = await server.request(`PUT ${CONFIGMAPS}/still`, { body: { ...body, data: { a: '2' } } });
  assert.notEqual(changed.body.metadata.resourceVersion, body.metadata.resourceVersion);
  assert.equal(changed.body.metadata.uid, body.metadata.uid);
});

test('the three kinds of patch', async () => {
  await server.request('POST /apis/apps/v1/namespaces/default/deployments', {
    body: {
      kind: 'Deployment',
      apiVersion: 'apps/v1',
      metadata: { name: 'web' },
      spec: {
        selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'a', image: 'x' }] } },
      },
    },
  });
  const path = '/apis/apps/v1/namespaces/default/deployments/web';
  const strategic = await server.request(`PATCH ${path}`, {
    body: { spec: { template: { spec: { containers: [{ name: 'b', image: 'y' }] } } } },
    headers: { 'content-type': 'application/strategic-merge-patch+json' },
  });
  assert.equal(strategic.status, 200, strategic.text);
  assert.deepEqual(
    strategic.body.spec.template.spec.containers.map(({ name }: { name: string }) => name),
    ['b', 'a'],
  );
  assert.equal(strategic.body.metadata.generation, 2);
  const merge = await server.request(`PATCH ${path}`, {
    body: { metadata: { labels: { x: 'y' } } },
    headers: MERGE_PATCH,
  });
  assert.equal(merge.body.metadata.labels.x, 'y');
  assert.equal(merge.body.metadata.generation, 2);
  const json = await server.request(`PATCH ${path}`, {
    body: [{ op: 'replace', path: '/spec/replicas', value: 3 }],
    headers: JSON_PATCH,
  });
  assert.equal(json.body.spec.replicas, 3);
  const status = await server.request(`PATCH ${path}/status`, {
    body: { spec: { replicas: 9 }, status: { replicas: 2 } },
    headers: MERGE_PATCH,
  });
  assert.equal(status.body.spec.replicas, 3);
  assert.equal(status.body.status.replicas, 2);
  const scale = await server.request(`GET ${path}/scale`);
  assert.deepEqual(
    [scale.body.kind, scale.body.spec.replicas, scale.body.status.replicas, scale.body.status.selector],
    ['Scale', 3, 2, 'app=web'],
  );
  const scaled = await server.request(`PUT ${path}/scale`, {
    body: { ...scale.body, spec: { replicas: 5 } },
  });
  assert.equal(scaled.status, 200, scaled.text);
  assert.equal((await server.request(`GET ${path}`)).body.spec.replicas, 5);
  const patchedScale = await server.request(`PATCH ${path}/scale`, {
    body: { spec: { replicas: 1 } },
    headers: MERGE_PATCH,
  });
  assert.equal(patchedScale.body.spec.replicas, 1);
});

test('patches without a precondition all land, whatever runs beside them', async () => {
  await server.request(`POST ${CONFIGMAPS}`, { body: configMap('busy') });
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      server.request(`PATCH ${CONFIGMAPS}/busy`, {
        body: { data: { [`k${i}`]: 'v' } },
        headers: MERGE_PATCH,
      }),
    ),
  );
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  assert.equal(Object.keys((await server.request(`GET ${CONFIGMAPS}/busy`)).body.data).length, 20);
});

test('finalizers hold an object until the last one goes', async () => {
  const { body } = await server.request(`POST ${CONFIGMAPS}`, {
    body: { ...configMap('held'), metadata: { name: 'held', finalizers: ['example.com/wait'] } },
  });
  const deleted = await server.request(`DELETE ${CONFIGMAPS}/held`);
  assert.equal(deleted.status, 200);
  assert.equal(deleted.body.kind, 'ConfigMap');
  assert.ok(deleted.body.metadata.deletionTimestamp);
  assert.equal(deleted.body.metadata.deletionGracePeriodSeconds, 0);
  assert.equal((await server.request(`GET ${CONFIGMAPS}/held`)).status, 200);
  const added = await server.request(`PATCH ${CONFIGMAPS}/held`, {
    body: { metadata: { finalizers: ['example.com/wait', 'example.com/more'] } },
    headers: MERGE_PATCH,
  });
  assert.equal(added.status, 422);
  assert.match(
    added.body.message,
    /no new finalizers can be added if the object is being deleted, found new finalizers \[\]string\{"example\.com\/more"\}/,
  );
  const again = await server.request(`POST ${CONFIGMAPS}`, { body: configMap('held') });
  assert.deepEqual(
    [again.status, again.body.message],
    [409, 'object is being deleted: configmaps "held" already exists'],
  );
  for (const query of ['?dryRun=All', '']) {
    const last = await server.request(`PATCH ${CONFIGMAPS}/held${query}`, {
      body: { metadata: { finalizers: null } },
      headers: MERGE_PATCH,
    });
    assert.equal(last.status, 200);
    assert.deepEqual(
      [last.body.metadata.uid, last.body.metadata.resourceVersion],
      [body.metadata.uid, deleted.body.metadata.resourceVersion],
    );
  }
  assert.equal((await server.request(`GET ${CONFIGMAPS}/held`)).status, 404);
});

test('propagation policies become finalizers', async () => {
  for (const [policy, finalizer] of [
    ['Orphan', 'orphan'],
    ['Foreground', 'foregroundDeletion'],
  ]) {
    await server.request(`POST ${CONFIGMAPS}`, { body: configMap('owner') });
    const deleted = await server.request(`DELETE ${CONFIGMAPS}/owner`, {
      body: { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: policy },
    });
    assert.deepEqual(deleted.body.metadata.finalizers, [finalizer]);
    await server.request(`PATCH ${CONFIGMAPS}/owner`, {
      body: { metadata: { finalizers: [] } },
      headers: MERGE_PATCH,
    });
    assert.equal((await server.request(`GET ${CONFIGMAPS}/owner`)).status, 404);
  }
});

const pod = (name: string, spec: object = {}): object => ({
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: { name, labels: { app: 'x' } },
  spec: { containers: [{ name: 'c', image: 'i' }], ...spec },
});
const PODS = '/api/v1/namespaces/default/pods';

test('a pod is bound, deleted gracefully, then at once', async () => {
  await server.request(`POST ${PODS}`, { body: pod('p') });
  const binding = {
    kind: 'Binding',
    apiVersion: 'v1',
    metadata: { name: 'p' },
    target: { kind: 'Node', name: 'n1' },
  };
  const bound = await server.request(`POST ${PODS}/p/binding`, { body: binding });
  assert.equal(bound.status, 201, bound.text);
  assert.equal(bound.body.status, 'Success');
  const again = await server.request(`POST ${PODS}/p/binding`, { body: binding });
  assert.deepEqual(
    [again.status, again.body.message],
    [409, 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"'],
  );
  const { body } = await server.request(`GET ${PODS}/p`);
  assert.equal(body.spec.nodeName, 'n1');
  assert.equal(body.status.conditions[0].type, 'PodScheduled');
  const graceful = await server.request(`DELETE ${PODS}/p`);
  assert.equal(graceful.body.metadata.deletionGracePeriodSeconds, 30);
  assert.equal((await server.request(`DELETE ${PODS}/p`)).body.metadata.deletionGracePeriodSeconds, 30);
  const shorter = await server.request(`DELETE ${PODS}/p?gracePeriodSeconds=5`);
  assert.equal(shorter.body.metadata.deletionGracePeriodSeconds, 5);
  const watch = await server.watch(
    `${PODS}?watch=1&fieldSelector=metadata.name%3Dp&resourceVersion=${shorter.body.metadata.resourceVersion}`,
  );
  const tried = await server.request(`DELETE ${PODS}/p?gracePeriodSeconds=0&dryRun=All`);
  assert.deepEqual(
    [tried.body.metadata.deletionGracePeriodSeconds, tried.body.metadata.resourceVersion],
    [0, shorter.body.metadata.resourceVersion],
  );
  const gone = await server.request(`DELETE ${PODS}/p?gracePeriodSeconds=0`);
  assert.equal(gone.status, 200);
  assert.equal((await server.request(`GET ${PODS}/p`)).status, 404);
  // Its end is seen before it goes.
  const events = [await watch.next(), await watch.next()];
  assert.deepEqual(
    events.map(({ type, object }) => [type, object.metadata?.deletionGracePeriodSeconds]),
    [
      ['MODIFIED', 0],
      ['DELETED', 0],
    ],
  );
  assert.equal(gone.body.metadata.resourceVersion, events[1]!.object.metadata?.resourceVersion);
  watch.close();
});

test('a PUT that creates does not ask of which version it is', async () => {
  const answer = await server.request('PUT /apis/coordination.k8s.io/v1/namespaces/default/leases/anew', {
    body: {
      kind: 'Lease',
      apiVersion: 'coordination.k8s.io/v1',
      metadata: { name: 'anew', resourceVersion: '7' },
    },
  });
  assert.equal(answer.status, 201, answer.text);
});

test('nothing is tried in a container or behind a proxy', async () => {
  for (const path of [`POST ${PODS}/none/exec`, 'GET /api/v1/nodes/none/proxy'])
    assert.equal((await server.request(`${path}?dryRun=All`)).body.message, 'dryRun is not supported');
});

test('eviction respects a disruption budget', async () => {
  await server.request(`POST ${PODS}`, { body: pod('e', { nodeName: 'n1' }) });
  await server.request(`PATCH ${PODS}/e/status`, {
    body: { status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] } },
    headers: MERGE_PATCH,
  });
  const budgets = '/apis/policy/v1/namespaces/default/poddisruptionbudgets';
  await server.request(`POST ${budgets}`, {
    body: {
      kind: 'PodDisruptionBudget',
      apiVersion: 'policy/v1',
      metadata: { name: 'b' },
      spec: { minAvailable: 1, selector: { matchLabels: { app: 'x' } } },
    },
  });
  const eviction = { kind: 'Eviction', apiVersion: 'policy/v1', metadata: { name: 'e' } };
  const setAllowed = (disruptionsAllowed: number): Promise<unknown> =>
    server.request(`PATCH ${budgets}/b/status`, {
      body: {
        status: {
          observedGeneration: 1,
          disruptionsAllowed,
          currentHealthy: 1,
          desiredHealthy: 1,
          expectedPods: 1,
        },
      },
      headers: MERGE_PATCH,
    });
  const early = await server.request(`POST ${PODS}/e/eviction`, { body: eviction });
  assert.deepEqual(
    [early.status, early.headers['retry-after'], early.body.details.causes[0].message],
    [429, '10', 'The disruption budget b is still being processed by the server.'],
  );
  await setAllowed(0);
  const refused = await server.request(`POST ${PODS}/e/eviction`, { body: eviction });
  assert.equal(refused.status, 429, refused.text);
  assert.equal(refused.body.message, "Cannot evict pod as it would violate the pod's disruption budget.");
  assert.equal(
    refused.body.details.causes[0].message,
    'The disruption budget b needs 1 healthy pods and has 1 currently',
  );
  assert.equal(refused.headers['retry-after'], undefined, 'who asks knows best when to ask again');
  await setAllowed(1);
  const evicted = await server.request(`POST ${PODS}/e/eviction`, { body: eviction });
  assert.equal(evicted.status, 201, evicted.text);
  const budget = (await server.request(`GET ${budgets}/b`)).body;
  assert.equal(budget.status.disruptionsAllowed, 0);
  assert.ok(budget.status.disruptedPods.e);
});

test('a namespace goes when its finalizers are gone', async () => {
  await server.request('POST /api/v1/namespaces', {
    body: { kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'temp' } },
  });
  const deleted = await server.request('DELETE /api/v1/namespaces/temp');
  assert.equal(deleted.body.status.phase, 'Terminating');
  const finalized = await server.request('PUT /api/v1/namespaces/temp/finalize', {
    body: { ...deleted.body, spec: { finalizers: [] } },
  });
  assert.equal(finalized.status, 200, finalized.text);
  assert.equal((await server.request('GET /api/v1/namespaces/temp')).status, 404);
});

test('YAML and protobuf in and out', async () => {
  const made = await server.request(`POST ${CONFIGMAPS}`, {
    body: 'kind: ConfigMap\napiVersion: v1\nmetadata: {name: yaml}\ndata: {a: b}\n',
    headers: { 'content-type': 'application/yaml', accept: 'application/yaml' },
  });
  assert.equal(made.status, 201, made.text);
  assert.match(made.text, /^apiVersion: v1\nkind: ConfigMap\n/);
  assert.match(made.text, /creationTimestamp: "20/);
  const proto = await server.request(`GET ${CONFIGMAPS}/yaml`, {
    headers: { accept: 'application/vnd.kubernetes.protobuf' },
  });
  assert.equal(proto.headers['content-type'], 'application/vnd.kubernetes.protobuf');
  assert.deepEqual([...proto.bytes.subarray(0, 4)], [0x6b, 0x38, 0x73, 0]);
  const put = await server.request(`PUT ${CONFIGMAPS}/yaml`, {
    body: proto.bytes,
    headers: { 'content-type': 'application/vnd.kubernetes.protobuf' },
  });
  assert.equal(put.status, 200, put.text);
  assert.deepEqual(put.body.data, { a: 'b' });
});

test('other served versions are converted', async () => {
  const spec = {
    scaleTargetRef: { kind: 'Deployment', name: 'web', apiVersion: 'apps/v1' },
    maxReplicas: 3,
    targetCPUUtilizationPercentage: 50,
  };
  const made = await server.request('POST /apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers', {
    body: { kind: 'HorizontalPodAutoscaler', apiVersion: 'autoscaling/v1', metadata: { name: 'h' }, spec },
  });
  assert.equal(made.status, 201, made.text);
  assert.equal(made.body.apiVersion, 'autoscaling/v1');
  assert.equal(made.body.spec.targetCPUUtilizationPercentage, 50);
  const v2 = await server.request('GET /apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h');
  assert.equal(v2.body.apiVersion, 'autoscaling/v2');
  assert.equal(v2.body.spec.metrics[0].resource.target.averageUtilization, 50);
  const list = await server.request('GET /apis/autoscaling/v1/horizontalpodautoscalers');
  assert.equal(list.body.items[0].spec.targetCPUUtilizationPercentage, 50);
});

test('services get addresses and ports, and give them back', async () => {
  const services = '/api/v1/namespaces/default/services';
  const service = (name: string, spec: object): object => ({
    kind: 'Service',
    apiVersion: 'v1',
    metadata: { name },
    spec: { ports: [{ port: 80 }], ...spec },
  });
  const made = await server.request(`POST ${services}`, { body: service('a', { type: 'NodePort' }) });
  assert.equal(made.status, 201, made.text);
  assert.match(made.body.spec.clusterIP, /^10\./);
  assert.deepEqual(made.body.spec.clusterIPs, [made.body.spec.clusterIP]);
  const { nodePort } = made.body.spec.ports[0];
  assert.ok(nodePort >= 30_000 && nodePort <= 32_767);
  const taken = await server.request(`POST ${services}`, {
    body: service('b', { clusterIP: made.body.spec.clusterIP }),
  });
  assert.equal(taken.status, 422);
  assert.match(taken.body.message, /failed to allocate IP .*: provided IP is already allocated/);
  const port = await server.request(`POST ${services}`, {
    body: service('b', { type: 'NodePort', ports: [{ port: 80, nodePort }] }),
  });
  assert.match(
    port.body.message,
    /Service "b" is invalid: spec\.ports\[0\]\.nodePort: Invalid value: \d+: provided port is already allocated/,
  );
  const outside = await server.request(`POST ${services}`, {
    body: service('b', { clusterIP: '192.168.0.1' }),
  });
  assert.match(
    outside.body.message,
    /failed to allocate IP 192\.168\.0\.1: the provided network does not match the current range/,
  );
  await server.request(`DELETE ${services}/a`);
  const again = await server.request(`POST ${services}`, {
    body: service('b', {
      type: 'NodePort',
      clusterIP: made.body.spec.clusterIP,
      ports: [{ port: 80, nodePort }],
    }),
  });
  assert.equal(again.status, 201, again.text);
  const clusterIp = await server.request(`PATCH ${services}/b`, {
    body: { spec: { type: 'ClusterIP' } },
    headers: MERGE_PATCH,
  });
  assert.equal(clusterIp.status, 200, clusterIp.text);
  const all = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      server.request(`POST ${services}`, { body: service(`many-${i}`, { type: 'NodePort' }) }),
    ),
  );
  assert.equal(new Set(all.map(({ body }) => body.spec.clusterIP)).size, 40);
  assert.equal(new Set(all.map(({ body }) => body.spec.ports[0].nodePort)).size, 40);
});

test('services are told why they cannot have what they ask for', async () => {
  const services = '/api/v1/namespaces/default/services';
  const ports = [{ port: 80, name: 'a' }];
  const asked: readonly (readonly [spec: object, status: number, message: string])[] = [
    [
      { clusterIP: '010.96.001.001' },
      422,
      'spec.clusterIPs[0]: Invalid value: "010.96.001.001": must not have leading 0s',
    ],
    [
      { clusterIP: '10.96.0.0' },
      422,
      'spec.clusterIPs: Invalid value: ["10.96.0.0"]: failed to allocate IP 10.96.0.0: the provided network does not match the current range',
    ],
    [
      { clusterIP: 'fd00::1' },
      422,
      'spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster',
    ],
    [
      { ipFamilies: ['IPv4', 'IPv6'] },
      422,
      "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
    ],
    [
      { ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv6'] },
      422,
      'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
    ],
    [
      { type: 'NodePort', ports: [{ ...ports[0], nodePort: 100 }], selector: { 'Bad Key': '' } },
      422,
      'spec.ports[0].nodePort: Invalid value: 100: provided port is not in the valid range. The range of valid ports is 30000-32767',
    ],
    [
      { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 100 },
      400,
      'failed to allocate requested HealthCheck NodePort 100: provided port is not in the valid range. The range of valid ports is 30000-32767',
    ],
  ];
  for (const [spec, status, message] of asked) {
    const { body } = await server.request(`POST ${services}`, {
      body: { kind: 'Service', apiVersion: 'v1', metadata: { name: 'asks' }, spec: { ports, ...spec } },
    });
    assert.deepEqual(
      [body.code, body.message],
      [status, status === 422 ? `Service "asks" is invalid: ${message}` : message],
    );
  }
  const {
    body: {
      spec: {
        ports: [{ nodePort }],
      },
    },
  } = await server.request(`POST ${services}`, {
    body: {
      kind: 'Service',
      apiVersion: 'v1',
      metadata: { name: 'asks' },
      spec: { type: 'NodePort', ports },
    },
  });
  const twice = await server.request(`PATCH ${services}/asks`, {
    body: {
      spec: {
        ports: [
          { ...ports[0], nodePort },
          { name: 'b', port: 81, nodePort },
        ],
      },
    },
    headers: MERGE_PATCH,
  });
  assert.deepEqual([twice.status, twice.body.message], [400, `duplicate nodePort: {TCP ${nodePort}}`]);
  // What it was given stays with who sends it again as it was made, by the port's name.
  const again = await server.request(`PUT ${services}/asks`, {
    body: {
      kind: 'Service',
      apiVersion: 'v1',
      metadata: { name: 'asks' },
      spec: {
        type: 'NodePort',
        ports: [
          { port: 8080, name: 'a' },
          { port: 80, name: 'b' },
        ],
      },
    },
  });
  assert.equal(again.body.spec.ports[0].nodePort, nodePort);
  assert.notEqual(again.body.spec.ports[1].nodePort, nodePort);
  await server.request(`DELETE ${services}/asks`);
});

test('a service held by a finalizer gives its address back when the last one goes', async () => {
  const services = '/api/v1/namespaces/default/services';
  const body = (name: string, metadata: object, spec: object): object => ({
    kind: 'Service',
    apiVersion: 'v1',
    metadata: { name, ...metadata },
    spec: { ports: [{ port: 80 }], ...spec },
  });
  const made = await server.request(`POST ${services}`, {
    body: body('held', { finalizers: ['example.com/wait'] }, {}),
  });
  const { clusterIP } = made.body.spec;
  await server.request(`DELETE ${services}/held`);
  assert.equal(
    (await server.request(`POST ${services}`, { body: body('next', {}, { clusterIP }) })).status,
    422,
  );
  await server.request(`PATCH ${services}/held`, {
    body: { metadata: { finalizers: null } },
    headers: MERGE_PATCH,
  });
  const next = await server.request(`POST ${services}`, { body: body('next', {}, { clusterIP }) });
  assert.equal(next.status, 201, next.text);
});

test('what admission counted is given back when a service gets no address', async () => {
  let counted = 0;
  const counting = await startTestServer({
    admission: () => [
      {
        name: 'Counting',
        handles: (operation, { resource }) => operation === 'CREATE' && resource === 'services',
        validate: () => {
          counted++;
        },
        undo: () => {
          counted--;
        },
      },
    ],
  });
  try {
    const refused = await counting.request('POST /api/v1/namespaces/default/services', {
      body: {
        kind: 'Service',
        apiVersion: 'v1',
        metadata: { name: 'x' },
        spec: { clusterIP: '192.168.0.1', ports: [{ port: 80 }] },
      },
    });
    assert.deepEqual([refused.status, counted], [422, 0]);
    const made = await counting.request('POST /api/v1/namespaces/default/services', {
      body: { kind: 'Service', apiVersion: 'v1', metadata: { name: 'x' }, spec: { ports: [{ port: 80 }] } },
    });
    assert.deepEqual([made.status, counted], [201, 1]);
  } finally {
    await counting.stop();
  }
});

test('a generated name that is taken is tried again, and the object is prepared all the same', async () => {
  // A plugin takes the first name between its making and its storing.
  const taken = await startTestServer({
    admission: ({ internal }) => [
      {
        name: 'Taking',
        handles: (operation, { resource }) => operation === 'CREATE' && resource === 'pods',
        validate: async ({ object }) => {
          const name = object?.metadata?.name ?? '';
          if (internal.count({ group: '', resource: 'pods' }) === 0)
            await internal.create(
              { group: '', resource: 'pods' },
              {
                kind: 'Pod',
                apiVersion: 'v1',
                metadata: { name, namespace: 'default' },
                spec: { containers: [{ name: 'c', image: 'i' }] },
              },
            );
        },
      },
    ],
  });
  try {
    const made = await taken.request(`POST ${PODS}`, {
      body: {
        kind: 'Pod',
        apiVersion: 'v1',
        metadata: { generateName: 'g-' },
        spec: { containers: [{ name: 'c', image: 'i' }] },
      },
    });
    assert.equal(made.status, 201, made.text);
    assert.equal(made.body.status.phase, 'Pending');
    assert.equal((await taken.request(`GET ${PODS}`)).body.items.length, 2);
  } finally {
    await taken.stop();
  }
});

test('deletecollection takes what the selector names', async () => {
  for (const [name, group] of [
    ['d1', 'x'],
    ['d2', 'x'],
    ['d3', 'y'],
  ])
    await server.request(`POST ${CONFIGMAPS}`, {
      body: { ...configMap(name!), metadata: { name, labels: { group } } },
    });
  const list = `${CONFIGMAPS}?labelSelector=group%3Dx`;
  assert.equal((await server.request(`DELETE ${list}&resourceVersionMatch=Exact`)).status, 422);
  const before = await server.request(`GET ${list}&limit=1`),
    first = await server.request(`DELETE ${list}&limit=1`);
  assert.equal(first.status, 200, first.text);
  assert.deepEqual([first.body.items, typeof first.body.metadata.continue], [before.body.items, 'string']);
  assert.deepEqual(
    (await server.request(`DELETE ${list}`)).body.items.map(
      ({ metadata }: { metadata: { name: string } }) => metadata.name,
    ),
    ['d2'],
  );
  const left = await server.request(`GET ${CONFIGMAPS}?labelSelector=group`);
  assert.deepEqual(
    left.body.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name),
    ['d3'],
  );
});

test('an event may be named after whatever it is about', async () => {
  const about = {
    apiVersion: 'v1',
    kind: 'Event',
    reason: 'x',
    involvedObject: { kind: 'ClusterRole', name: 'system:node' },
  };
  const events = '/api/v1/namespaces/default/events';
  assert.equal(
    (await server.request(`POST ${events}`, { body: { ...about, metadata: { name: 'system:node.17ab' } } }))
      .status,
    201,
  );
  assert.equal(
    (await server.request(`POST ${events}`, { body: { ...about, metadata: { generateName: 'rose.' } } }))
      .status,
    201,
  );
  assert.equal(
    (await server.request(`POST ${events}`, { body: { ...about, metadata: { name: 'a%b' } } })).status,
    422,
  );
});

test("nothing waits for an event's dependents, whatever the client asks for", async () => {
  const events = '/api/v1/namespaces/default/events';
  await server.request(`POST ${events}`, {
    body: {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: 'alone' },
      involvedObject: { kind: 'Pod', namespace: 'default', name: 'a' },
    },
  });
  assert.equal((await server.request(`DELETE ${events}/alone?propagationPolicy=Foreground`)).status, 200);
  assert.equal((await server.request(`GET ${events}/alone`)).status, 404);
});

test('conditions of flow control have a type each', async () => {
  const path = '/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas';
  const schema = {
    apiVersion: 'flowcontrol.apiserver.k8s.io/v1',
    kind: 'FlowSchema',
    metadata: { name: 'conditioned' },
    spec: { priorityLevelConfiguration: { name: 'global-default' } },
  };
  assert.equal((await server.request(`POST ${path}`, { body: schema })).status, 201);
  const { status, body } = await server.request(`PUT ${path}/conditioned/status`, {
    body: { ...schema, status: { conditions: [{ type: 'A' }, { type: 'A' }, {}] } },
  });
  assert.deepEqual(
    [
      status,
      body.details.causes.map(
        ({ field, reason }: { readonly field: string; readonly reason: string }) => `${field} ${reason}`,
      ),
    ],
    [422, ['status.conditions[1].type FieldValueDuplicate', 'status.conditions[2].type FieldValueRequired']],
  );
});

test('reviews have no paths of their own', async () => {
  assert.equal(
    (await server.request('GET /apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x')).status,
    404,
  );
  assert.equal(
    (await server.request('GET /apis/authorization.k8s.io/v1/selfsubjectaccessreviews')).status,
    405,
  );
});
