/** The behaviours of Kubernetes 1.36 conformance whose title has AdmissionWebhook, each under its own title. */
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import type { TestResponse } from '../../testing/server.ts';
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
  type ConfigurationKind,
} from './testing/webhook-world.ts';

let bench: WebhookBench;
before(async () => (bench = await WebhookBench.start()));
afterEach(() => bench.clean());
after(() => bench.stop());

const request: WebhookBench['server']['request'] = (target, options) => bench.server.request(target, options);
const ok = (response: TestResponse): TestResponse => {
  assert.ok(response.status < 300, response.text);
  return response;
};
const denied = (response: TestResponse, says = /denied the request/): void => {
  assert.ok(response.status >= 400, response.text);
  assert.match(response.body.message, says);
};
const deny = { allowed: false, status: { message: 'the object contains unwanted data' } };

// ------------------------------------------------------------------------------------------------------- configurations

for (const kind of [
  'mutatingwebhookconfigurations',
  'validatingwebhookconfigurations',
] as const satisfies ConfigurationKind[]) {
  const mutates = kind.startsWith('mutating');
  const applied = async (name: string): Promise<boolean> => {
    const { status, body } = await bench.createConfigMap(name);
    return mutates ? body.data.mutated === 'yes' : status === 400;
  };
  const react = (): void =>
    void (bench.decisions['/hook'] = () => (mutates ? setData('mutated', 'yes') : deny));

  test(`Admission webhook, list ${mutates ? 'mutating' : 'validating'} webhooks`, async () => {
    react();
    for (let i = 0; i < 10; i++)
      await bench.configure(kind, `list-${i}`, [bench.webhook('hook')], { list: 'yes' });
    assert.equal((await request(`GET ${ADMISSION}/${kind}?labelSelector=list%3Dyes`)).body.items.length, 10);
    assert.ok(await applied('a'));
    ok(await request(`DELETE ${ADMISSION}/${kind}?labelSelector=list%3Dyes`));
    assert.equal((await request(`GET ${ADMISSION}/${kind}?labelSelector=list%3Dyes`)).body.items.length, 0);
    assert.ok(!(await applied('b')));
  });

  test(`Admission webhook, update ${mutates ? 'mutating' : 'validating'} webhook`, async () => {
    react();
    const { body } = await bench.configure(kind, 'update', [bench.webhook('hook')]);
    body.webhooks[0].rules[0].operations = ['UPDATE'];
    ok(await request(`PUT ${ADMISSION}/${kind}/update`, { body }));
    assert.ok(!(await applied('a')));
    ok(
      await request(`PATCH ${ADMISSION}/${kind}/update`, {
        body: [{ op: 'replace', path: '/webhooks/0/rules/0/operations', value: ['CREATE'] }],
        headers: JSON_PATCH,
      }),
    );
    assert.ok(await applied('b'));
  });

  test(`${mutates ? 'Mutating' : 'Validating'} Admission webhook, create and update webhook configuration with matchConditions`, async () => {
    const matchConditions = [{ name: 'first', expression: "request.namespace == 'default'" }];
    const { body } = await bench.configure(kind, 'conditions', [bench.webhook('hook', { matchConditions })]);
    assert.deepEqual(body.webhooks[0].matchConditions, matchConditions);
    body.webhooks[0].matchConditions = [
      ...matchConditions,
      { name: 'second', expression: "object.metadata.name != 'x'" },
    ];
    const updated = ok(await request(`PUT ${ADMISSION}/${kind}/conditions`, { body }));
    assert.deepEqual(updated.body.webhooks[0].matchConditions, body.webhooks[0].matchConditions);
  });

  test(`${mutates ? 'Mutating' : 'Validating'} Admission webhook, reject configurations with invalid matchConditions`, async () => {
    const webhooks = [
      bench.webhook('hook', { matchConditions: [{ name: 'bad', expression: '... [] bad expression' }] }),
    ];
    denied(
      await request(`POST ${ADMISSION}/${kind}`, { body: { metadata: { name: 'bad' }, webhooks } }),
      /webhooks\[0\]\.matchConditions\[0\]\.expression: Invalid value: .*compilation failed/s,
    );
  });
}

test('Admission webhook, discovery document', async () => {
  const groups = (await request('GET /apis')).body.groups as {
    name: string;
    versions: { groupVersion: string }[];
  }[];
  assert.ok(
    groups
      .find(({ name }) => name === 'admissionregistration.k8s.io')
      ?.versions.some(({ groupVersion }) => groupVersion === 'admissionregistration.k8s.io/v1'),
  );
  const names = ((await request(`GET ${ADMISSION}`)).body.resources as { name: string }[]).map(
    ({ name }) => name,
  );
  for (const name of ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'])
    assert.ok(names.includes(name));
});

test('Mutating Admission webhook, mutating webhook excluding object with specific name', async () => {
  bench.decisions['/hook'] = () => setData('mutated', 'yes');
  await bench.mutating(
    'm',
    bench.webhook('hook', {
      matchConditions: [{ name: 'skip', expression: "object.metadata.name != 'skip-me'" }],
    }),
  );
  assert.deepEqual((await bench.createConfigMap('skip-me')).body.data, { a: '1' });
  assert.deepEqual((await bench.createConfigMap('another')).body.data, { a: '1', mutated: 'yes' });
});

test('Admission webhook, admission control not allowed on webhook configuration objects', async () => {
  bench.decisions['/deny'] = () => deny;
  bench.decisions['/label'] = () =>
    patching({ op: 'add', path: '/metadata/labels', value: { mutated: 'yes' } });
  const rules = [{ ...EVERYTHING, apiGroups: ['admissionregistration.k8s.io'], resources: ['*'] }];
  await bench.validating('deny', bench.webhook('deny', { rules }));
  await bench.mutating('label', bench.webhook('label', { rules }));
  for (const kind of ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'] as const) {
    const created = await bench.configure(kind, 'dummy', [bench.webhook('dummy', { rules: [] })]);
    assert.equal(created.body.metadata.labels, undefined);
    ok(await request(`DELETE ${ADMISSION}/${kind}/dummy`));
  }
  assert.deepEqual(bench.paths, []);
});

// ------------------------------------------------------------------------------------------------------ built-in objects

test('Admission webhook, deny attach', async () => {
  await bench.createPod('p');
  bench.decisions['/deny'] = () => ({
    allowed: false,
    status: { message: "attaching to pod 'p' is not allowed" },
  });
  await bench.validating(
    'v',
    bench.webhook('deny', {
      rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/attach'] }],
    }),
  );
  denied(
    await request(`POST ${PODS}/p/attach?container=c&stdin=true`),
    /attaching to pod 'p' is not allowed/,
  );
});

test('Admission webhook, deny create', async () => {
  bench.decisions['/pods'] = ({ object }) => {
    if (object.metadata.name === 'hangs') return new Promise(() => {});
    return object.spec.containers[0].image === 'bad'
      ? { allowed: false, status: { message: 'the pod contains an unwanted container image' } }
      : { allowed: true };
  };
  bench.decisions['/configmaps'] = ({ object }) =>
    Object.values(object.data as Record<string, string>).includes('bad') ? deny : { allowed: true };
  const exceptRed = {
    namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['red'] }] },
  };
  await bench.validating(
    'v',
    bench.webhook('pods', {
      rules: [{ ...ON_CONFIGMAPS, resources: ['pods'] }],
      timeoutSeconds: 1,
      ...exceptRed,
    }),
    bench.webhook('configmaps', exceptRed),
  );
  denied(await bench.createPod('bad-pod', 'bad'), /unwanted container image/);
  denied(
    await bench.createPod('hangs'),
    /failed calling webhook "pods\.example\.com".*context deadline exceeded/,
  );
  assert.equal((await request(`GET ${PODS}/hangs`)).status, 404);
  denied(await bench.createConfigMap('c', { a: 'bad' }), /unwanted data/);
  ok(await bench.createConfigMap('c'));
  denied(
    await request(`PUT ${CONFIGMAPS}/c`, { body: { metadata: { name: 'c' }, data: { a: 'bad' } } }),
    /unwanted data/,
  );
  denied(
    await request(`PATCH ${CONFIGMAPS}/c`, { body: { data: { a: 'bad' } }, headers: MERGE }),
    /unwanted data/,
  );
  ok(
    await request('POST /api/v1/namespaces/other/configmaps', {
      body: { metadata: { name: 'c' }, data: { a: 'bad' } },
    }),
  );
});

test('Admission webhook, honor timeout', async () => {
  const timers: ReturnType<typeof setTimeout>[] = [];
  // Longer than the shorter of the timeouts, shorter than the longer ones.
  bench.decisions['/slow'] = () =>
    new Promise((resolve) => timers.push(setTimeout(() => resolve({ allowed: true }), 1500)));
  const attempt = async (name: string, options: object): Promise<TestResponse> => {
    await bench.validating(name, bench.webhook('slow', options));
    const created = await bench.createConfigMap(name);
    ok(await request(`DELETE ${ADMISSION}/validatingwebhookconfigurations/${name}`));
    return created;
  };
  denied(
    await attempt('short-fail', { timeoutSeconds: 1, failurePolicy: 'Fail' }),
    /context deadline exceeded/,
  );
  ok(await attempt('short-ignore', { timeoutSeconds: 1, failurePolicy: 'Ignore' }));
  ok(await attempt('default', {}));
  ok(await attempt('long', { timeoutSeconds: 10 }));
  timers.forEach(clearTimeout);
});

test('Admission webhook, ordered mutation', async () => {
  const after =
    (needed: string, added: string) =>
    ({ object }: { object?: { data?: Record<string, string> } }): Record<string, unknown> =>
      object?.data?.[needed] ? setData(added, 'yes') : { allowed: true };
  bench.decisions['/one'] = after('start', 'stage-1');
  bench.decisions['/two'] = after('stage-1', 'stage-2');
  await bench.mutating('m', bench.webhook('one'), bench.webhook('two'));
  assert.deepEqual((await bench.createConfigMap('c', { start: 'yes' })).body.data, {
    start: 'yes',
    'stage-1': 'yes',
    'stage-2': 'yes',
  });
});

test('Admission webhook, mutation with defaulting', async () => {
  bench.decisions['/init'] = () =>
    patching({
      op: 'add',
      path: '/spec/initContainers',
      value: [{ name: 'added', image: 'i', resources: {} }],
    });
  await bench.mutating(
    'm',
    bench.webhook('init', { rules: [{ ...ON_CONFIGMAPS, operations: ['CREATE'], resources: ['pods'] }] }),
  );
  const { body } = ok(await bench.createPod('p'));
  assert.deepEqual(
    [
      body.spec.initContainers.length,
      body.spec.initContainers[0].name,
      body.spec.initContainers[0].terminationMessagePolicy,
    ],
    [1, 'added', 'File'],
  );
});

test('Admission webhook, fail closed', async () => {
  const { caBundle: _, ...clientConfig } = bench.webhook('closed')['clientConfig'] as Record<string, unknown>;
  await bench.validating(
    'v',
    bench.webhook('closed', { clientConfig, namespaceSelector: { matchLabels: { team: 'red' } } }),
  );
  denied(
    await request('POST /api/v1/namespaces/other/configmaps', { body: { metadata: { name: 'c' } } }),
    /failed calling webhook "closed\.example\.com": failed to call webhook: .*certificate signed by unknown authority/,
  );
  ok(await bench.createConfigMap('c'));
});

// ------------------------------------------------------------------------------------------------------ custom resources

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** Makes a definition, waits until it is served; takes it away after the test. */
async function define(
  plural: string,
  versions: readonly object[],
  act: (
    path: (version: string) => string,
    post: (version: string, data: object) => ReturnType<typeof request>,
  ) => Promise<void>,
): Promise<void> {
  const group = 'webhook.example.com',
    name = `${plural}.${group}`,
    kind = plural.slice(0, -1).replace(/^./, (first) => first.toUpperCase());
  const path = (version: string): string => `/apis/${group}/${version}/namespaces/default/${plural}`;
  const watch = await bench.server.watch(`${CRDS}?watch=true&fieldSelector=metadata.name=${name}`);
  try {
    ok(
      await request(`POST ${CRDS}`, {
        body: { metadata: { name }, spec: { group, scope: 'Namespaced', names: { plural, kind }, versions } },
      }),
    );
    for (;;) {
      const { conditions } = ((await watch.next()).object['status'] ?? {}) as {
        conditions?: { type: string; status: string }[] | null;
      };
      if (conditions?.some(({ type, status }) => type === 'Established' && status === 'True')) break;
    }
    await act(path, (version, data) =>
      request(`POST ${path(version)}`, {
        body: { apiVersion: `${group}/${version}`, kind, metadata: { name: 'x' }, data },
      }),
    );
  } finally {
    watch.close();
    await bench.clean();
    await request(`DELETE ${CRDS}/${name}`);
  }
}

const schemaOf = (properties: object): object => ({
  openAPIV3Schema: { type: 'object', properties: { data: { type: 'object', ...properties } } },
});
const anyData = schemaOf({ 'x-kubernetes-preserve-unknown-fields': true });
const version = (name: string, storage: boolean, schema: object): object => ({
  name,
  served: true,
  storage,
  schema,
});
const onCustom = {
  rules: [
    {
      ...EVERYTHING,
      operations: ['CREATE', 'UPDATE', 'DELETE'],
      apiGroups: ['webhook.example.com'],
      resources: ['*'],
    },
  ],
};

test('Admission webhook, deny custom resource create and delete', () =>
  define('denials', [version('v1', true, anyData)], async (path, post) => {
    bench.decisions['/deny'] = ({ operation, object, oldObject }) =>
      (operation === 'DELETE' ? oldObject : object).data?.unwanted ? deny : { allowed: true };
    await bench.validating('v', bench.webhook('deny', onCustom));
    denied(await post('v1', { unwanted: 'yes' }), /unwanted data/);
    ok(await post('v1', {}));
    denied(
      await request(`PATCH ${path('v1')}/x`, { body: { data: { unwanted: 'yes' } }, headers: MERGE }),
      /unwanted data/,
    );
    await request(`DELETE ${ADMISSION}/validatingwebhookconfigurations/v`);
    ok(await request(`PATCH ${path('v1')}/x`, { body: { data: { unwanted: 'yes' } }, headers: MERGE }));
    await bench.validating('w', bench.webhook('deny', onCustom));
    denied(await request(`DELETE ${path('v1')}/x`), /unwanted data/);
  }));

test('Admission webhook, deny custom resource definition', async () => {
  bench.decisions['/deny'] = () => deny;
  await bench.validating(
    'v',
    bench.webhook('deny', {
      rules: [
        { ...EVERYTHING, apiGroups: ['apiextensions.k8s.io'], resources: ['customresourcedefinitions'] },
      ],
    }),
  );
  denied(
    await request(`POST ${CRDS}`, {
      body: {
        metadata: { name: 'xs.webhook.example.com' },
        spec: {
          group: 'webhook.example.com',
          scope: 'Namespaced',
          names: { plural: 'xs', kind: 'X' },
          versions: [version('v1', true, anyData)],
        },
      },
    }),
    /unwanted data/,
  );
});

test('Admission webhook, mutate custom resource', () =>
  define('changes', [version('v1', true, anyData)], async (path, post) => {
    bench.decisions['/one'] = ({ object }) => (object.data.start ? setData('one', 'yes') : { allowed: true });
    bench.decisions['/two'] = ({ object }) => (object.data.one ? setData('two', 'yes') : { allowed: true });
    await bench.mutating('m', bench.webhook('one', onCustom), bench.webhook('two', onCustom));
    assert.deepEqual((await post('v1', { start: 'yes' })).body.data, {
      start: 'yes',
      one: 'yes',
      two: 'yes',
    });
  }));

test('Admission webhook, mutate custom resource with different stored version', () =>
  define('stories', [version('v1', true, anyData), version('v2', false, anyData)], async (path, post) => {
    bench.decisions['/one'] = () => setData('one', 'yes');
    await bench.mutating(
      'm',
      bench.webhook('one', {
        rules: [
          {
            ...ON_CONFIGMAPS,
            apiGroups: ['webhook.example.com'],
            apiVersions: ['*'],
            resources: ['stories'],
          },
        ],
      }),
    );
    ok(await post('v1', {}));
    const stored = [
      { op: 'replace', path: '/spec/versions/0/storage', value: false },
      { op: 'replace', path: '/spec/versions/1/storage', value: true },
    ];
    ok(await request(`PATCH ${CRDS}/stories.webhook.example.com`, { body: stored, headers: JSON_PATCH }));
    const patched = ok(
      await request(`PATCH ${path('v1')}/x`, { body: { data: { more: 'yes' } }, headers: MERGE }),
    );
    assert.deepEqual(
      [patched.body.apiVersion, patched.body.data],
      ['webhook.example.com/v1', { one: 'yes', more: 'yes' }],
    );
  }));

test('custom resources are shown in the version of the rule, and changed through it', () =>
  define('faces', [version('v1', true, anyData), version('v2', false, anyData)], async (path, post) => {
    bench.decisions['/one'] = () => setData('one', 'yes');
    await bench.mutating(
      'm',
      bench.webhook('one', {
        rules: [
          { ...ON_CONFIGMAPS, apiGroups: ['webhook.example.com'], apiVersions: ['v1'], resources: ['faces'] },
        ],
      }),
    );
    const { body } = ok(await post('v2', {}));
    assert.deepEqual([body.apiVersion, body.data], ['webhook.example.com/v2', { one: 'yes' }]);
    const [sent] = bench.requests;
    assert.deepEqual(
      [
        sent?.request['object'].apiVersion,
        sent?.request['requestKind'].version,
        sent?.request['kind'].version,
      ],
      ['webhook.example.com/v1', 'v2', 'v1'],
    );
  }));

test('Admission webhook, mutate custom resource with pruning', () =>
  define(
    'prunings',
    [version('v1', true, schemaOf({ properties: { start: { type: 'string' }, known: { type: 'string' } } }))],
    async (path, post) => {
      bench.decisions['/known'] = () => setData('known', 'yes');
      bench.decisions['/unknown'] = () => setData('unknown', 'yes');
      await bench.mutating('m', bench.webhook('known', onCustom), bench.webhook('unknown', onCustom));
      assert.deepEqual((await post('v1', { start: 'yes' })).body.data, { start: 'yes', known: 'yes' });
    },
  ));
