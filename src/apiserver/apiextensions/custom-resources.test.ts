import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startTestServer, type TestResponse, type TestServer } from '../testing/server.ts';

type Json = Record<string, unknown>;

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
});
after(() => server.stop());

function definition(
  kind: string,
  {
    schema,
    more = {},
    spec = {},
  }: { readonly schema?: Json; readonly more?: Json; readonly spec?: Json } = {},
): Json {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.stable.example.com` },
    spec: {
      group: 'stable.example.com',
      scope: 'Namespaced',
      names: { plural, singular: kind.toLowerCase(), kind },
      versions: [
        { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema ?? OPEN }, ...more },
      ],
      ...spec,
    },
  };
}

const OPEN = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
const specOf = (properties: Json, more: Json = {}): Json => ({
  type: 'object',
  properties: {
    spec: { type: 'object', properties, ...more },
    status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
  },
});

async function establish(body: Json): Promise<void> {
  const name = (body['metadata'] as { name: string }).name;
  const created = await server.request(`POST ${CRDS}`, { body });
  assert.equal(created.status, 201, created.text);
  const watch = await server.watch(`${CRDS}?watch=true&fieldSelector=metadata.name=${name}`);
  for (;;) {
    const { object } = await watch.next();
    const { conditions } = (object['status'] ?? {}) as {
      conditions?: { type: string; status: string }[] | null;
    };
    if (conditions?.some(({ type, status }) => type === 'Established' && status === 'True')) break;
  }
  watch.close();
}

const at = (kind: string, version = 'v1'): string =>
  `/apis/stable.example.com/${version}/namespaces/default/${kind.toLowerCase()}s`;
const make = (kind: string, name: string, content: Json, query = ''): Promise<TestResponse> =>
  server.request(`POST ${at(kind)}${query}`, {
    body: { apiVersion: 'stable.example.com/v1', kind, metadata: { name }, ...content },
  });

describe('a definition', () => {
  test('is established with its names and serves its objects at once', async () => {
    await establish(
      definition('CronTab', {
        spec: {
          names: {
            plural: 'crontabs',
            singular: 'crontab',
            kind: 'CronTab',
            shortNames: ['ct'],
            categories: ['all'],
          },
        },
      }),
    );
    const { body } = await server.request(`GET ${CRDS}/crontabs.stable.example.com`);
    assert.deepEqual(body.status.acceptedNames, {
      plural: 'crontabs',
      singular: 'crontab',
      kind: 'CronTab',
      listKind: 'CronTabList',
      shortNames: ['ct'],
      categories: ['all'],
    });
    assert.deepEqual(
      body.status.conditions.map(({ type, status, reason, message }: Record<string, string>) => [
        type,
        status,
        reason,
        message,
      ]),
      [
        ['NamesAccepted', 'True', 'NoConflicts', 'no conflicts found'],
        ['Established', 'True', 'InitialNamesAccepted', 'the initial names have been accepted'],
      ],
    );
    assert.deepEqual(body.status.storedVersions, ['v1']);
    assert.equal(body.metadata.finalizers, undefined);
    const created = await make('CronTab', 'a', { spec: { cron: '* * * * *' } });
    assert.equal(created.status, 201, created.text);
    assert.equal(created.body.metadata.generation, 1);
    const read = await server.request(`GET ${at('CronTab')}/a`);
    assert.deepEqual(read.body.spec, { cron: '* * * * *' });
    const list = await server.request(`GET ${at('CronTab')}`);
    assert.equal(list.body.kind, 'CronTabList');
    assert.equal(list.body.items.length, 1);
  });

  test('appears in discovery and OpenAPI', async () => {
    const groups = await server.request('GET /apis');
    assert.deepEqual(groups.body.groups.at(-1).name, 'stable.example.com');
    const resources = await server.request('GET /apis/stable.example.com/v1');
    assert.deepEqual(resources.body.resources[0].shortNames, ['ct']);
    const aggregated = await server.request('GET /apis', {
      headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' },
    });
    assert.equal(aggregated.body.items.at(-1).versions[0].resources[0].responseKind.kind, 'CronTab');
    const index = await server.request('GET /openapi/v3');
    assert.ok(index.body.paths['apis/stable.example.com/v1']);
    const document = await server.request('GET /openapi/v3/apis/stable.example.com/v1');
    assert.ok(document.body.components.schemas['com.example.stable.v1.CronTab']);
    const swagger = await server.request('GET /openapi/v2');
    assert.ok(swagger.body.definitions['com.example.stable.v1.CronTab']);
    assert.ok(swagger.body.definitions['io.k8s.api.core.v1.Pod']);
  });

  test('takes its objects along when it goes', async () => {
    await make('CronTab', 'b', { metadata: { name: 'b', finalizers: ['example.com/hold'] } });
    const watch = await server.watch(
      `${CRDS}?watch=true&fieldSelector=metadata.name=crontabs.stable.example.com`,
    );
    const deleted = await server.request(`DELETE ${CRDS}/crontabs.stable.example.com`);
    assert.deepEqual(deleted.body.metadata.finalizers, ['customresourcecleanup.apiextensions.k8s.io']);
    for (let done = false; !done;) {
      const { conditions = [] } = (await watch.next()).object['status'] as {
        conditions?: { type: string; status: string }[];
      };
      done = conditions.some(({ type, status }) => type === 'Terminating' && status === 'True');
    }
    const refused = await make('CronTab', 'c', {});
    assert.equal(refused.status, 405);
    assert.equal(refused.body.message, 'create not allowed while custom resource definition is terminating');
    let current = await server.request(`GET ${at('CronTab')}/b`);
    while (!current.body.metadata.deletionTimestamp) current = await server.request(`GET ${at('CronTab')}/b`);
    const freed = await server.request(`PUT ${at('CronTab')}/b`, {
      body: { ...current.body, metadata: { ...current.body.metadata, finalizers: [] } },
    });
    assert.equal(freed.status, 200, freed.text);
    for (;;) if ((await watch.next()).type === 'DELETED') break;
    watch.close();
    assert.equal((await server.request(`GET ${at('CronTab')}`)).status, 404);
    assert.equal((await server.request('GET /apis/stable.example.com')).status, 404);
  });
});

describe('values', () => {
  const replicas = { type: 'integer', minimum: 1, maximum: 10 };
  const schema = specOf({
    replicas,
    name: { type: 'string', pattern: '^[a-z]+$', maxLength: 5, minLength: 2 },
    kind: { type: 'string', enum: ['A', 'B'] },
    when: { type: 'string', format: 'date' },
    list: {
      type: 'array',
      maxItems: 2,
      items: { type: 'object', required: ['key'], properties: { key: { type: 'string' }, value: replicas } },
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['key'],
    },
    port: { 'x-kubernetes-int-or-string': true },
    either: {
      type: 'object',
      properties: { a: { type: 'string' }, b: { type: 'string' } },
      oneOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    open: {
      type: 'object',
      'x-kubernetes-preserve-unknown-fields': true,
      properties: { known: { type: 'object', properties: { x: { type: 'string' } } } },
    },
    defaulted: { type: 'string', default: 'standard' },
    maybe: { type: 'string', nullable: true },
    labels: { type: 'object', additionalProperties: { type: 'string' } },
    template: {
      type: 'object',
      'x-kubernetes-embedded-resource': true,
      'x-kubernetes-preserve-unknown-fields': true,
    },
  });
  before(() =>
    establish(
      definition('Widget', {
        schema,
        spec: {
          versions: [
            {
              name: 'v1',
              served: true,
              storage: true,
              schema: { openAPIV3Schema: schema },
              subresources: { status: {} },
            },
          ],
        },
      }),
    ),
  );
  const message = async (spec: Json): Promise<string> => {
    const answer = await make('Widget', 'x', { spec }, '?dryRun=All');
    return answer.status === 201 ? '' : (answer.body.message as string);
  };
  const problem = (text: string): string => `Widget.stable.example.com "x" is invalid: ${text}`;

  test("are validated with upstream's messages", async () => {
    assert.equal(await message({ replicas: 3, name: 'abc', kind: 'A', when: '2026-01-02', port: 80 }), '');
    assert.equal(
      await message({ replicas: 'x' }),
      problem(
        'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
      ),
    );
    assert.equal(
      await message({ replicas: 11 }),
      problem('spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10'),
    );
    assert.equal(
      await message({ replicas: 0 }),
      problem('spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1'),
    );
    assert.equal(
      await message({ name: 'A1' }),
      problem('spec.name: Invalid value: "A1": spec.name in body should match \'^[a-z]+$\''),
    );
    assert.equal(
      await message({ name: 'abcdef' }),
      problem('spec.name: Too long: may not be more than 5 bytes'),
    );
    assert.equal(
      await message({ name: 'a' }),
      problem('spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long'),
    );
    assert.equal(
      await message({ kind: 'C' }),
      problem('spec.kind: Unsupported value: "C": supported values: "A", "B"'),
    );
    assert.equal(
      await message({ when: '2026-02-30' }),
      problem('spec.when: Invalid value: "2026-02-30": spec.when in body must be of type date: "2026-02-30"'),
    );
    assert.equal(
      await message({ list: [{ key: 'a' }, { value: 1 }] }),
      problem('spec.list[1].key: Required value'),
    );
    assert.equal(
      await message({ list: [{ key: 'a' }, { key: 'a' }] }),
      problem('spec.list[1]: Duplicate value: {"key":"a"}'),
    );
    assert.equal(
      await message({ list: [{ key: 'a' }, { key: 'b' }, { key: 'c' }] }),
      problem('spec.list: Too many: 3: must have at most 2 items'),
    );
    assert.equal(
      await message({ port: true }),
      problem(
        'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
      ),
    );
    assert.equal(
      await message({ either: {} }),
      problem(
        '[<nil>: Invalid value: "": "spec.either" must validate one and only one schema (oneOf). Found none valid, spec.either.a: Required value]',
      ),
    );
    assert.equal(
      await message({ labels: { a: 1 } }),
      problem(
        'spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"',
      ),
    );
  });

  test('that the schema does not know are pruned, reported or refused', async () => {
    const spec = {
      unknown: 1,
      open: { any: { thing: 1 }, known: { x: 'y', z: 1 } },
      template: { kind: 'K', apiVersion: 'v1', metadata: { name: 'a', odd: 1 }, data: 1 },
    };
    const created = await make('Widget', 'pruned', { spec });
    assert.deepEqual(created.body.spec, {
      open: { any: { thing: 1 }, known: { x: 'y' } },
      template: { kind: 'K', apiVersion: 'v1', metadata: { name: 'a' }, data: 1 },
      defaulted: 'standard',
    });
    assert.match(created.headers['warning']!, /unknown field \\"spec.unknown\\"/);
    const refused = await make('Widget', 'strict', { spec }, '?fieldValidation=Strict');
    assert.equal(refused.status, 400);
    assert.match(
      refused.body.message,
      /^Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec\.open\.known\.z", unknown field "spec\.unknown", unknown field "spec\.template\.metadata\.odd"/,
    );
    const quiet = await make('Widget', 'quiet', { spec }, '?fieldValidation=Ignore');
    assert.equal(quiet.headers['warning'], undefined);
  });

  test('nulls are dropped where the schema does not allow them, and defaulted where it has a default', async () => {
    const created = await make('Widget', 'nulls', { spec: { defaulted: null, maybe: null, replicas: null } });
    assert.deepEqual(created.body.spec, { defaulted: 'standard', maybe: null });
  });

  test('status and spec are written apart', async () => {
    const created = await make('Widget', 'parts', { spec: { replicas: 1 }, status: { ready: 1 } });
    assert.equal(created.body.status, undefined);
    const patched = await server.request(`PATCH ${at('Widget')}/parts/status`, {
      body: { status: { ready: 2 }, spec: { replicas: 5 }, metadata: { labels: { a: 'b' } } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.deepEqual(
      [
        patched.body.status,
        patched.body.spec.replicas,
        patched.body.metadata.generation,
        patched.body.metadata.labels,
      ],
      [{ ready: 2 }, 1, 1, undefined],
    );
    const updated = await server.request(`PATCH ${at('Widget')}/parts`, {
      body: { status: { ready: 3 }, spec: { replicas: 5 } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.deepEqual(
      [updated.body.status, updated.body.spec.replicas, updated.body.metadata.generation],
      [{ ready: 2 }, 5, 2],
    );
    const { body } = updated;
    delete body.metadata.resourceVersion;
    assert.match(
      (await server.request(`PUT ${at('Widget')}/parts`, { body })).text,
      /metadata.resourceVersion: Invalid value: 0: must be specified for an update/,
    );
  });

  test('strategic merge patches are not taken', async () => {
    const answer = await server.request(`PATCH ${at('Widget')}/parts`, {
      body: {},
      headers: { 'content-type': 'application/strategic-merge-patch+json' },
    });
    assert.equal(answer.status, 415);
    assert.equal(
      answer.body.message,
      'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml',
    );
  });
});

describe('server-side apply', () => {
  const apply = (manager: string, spec: Json, more = ''): Promise<TestResponse> =>
    server.request(`PATCH ${at('Widget')}/applied?fieldManager=${manager}${more}`, {
      headers: { 'content-type': 'application/apply-patch+yaml' },
      body: { apiVersion: 'stable.example.com/v1', kind: 'Widget', metadata: { name: 'applied' }, spec },
    });

  test('merges list items by the keys of the schema, and sees conflicts', async () => {
    const created = await apply('one', { list: [{ key: 'a', value: 1 }], labels: { x: '1' } });
    assert.equal(created.status, 201, created.text);
    const second = await apply('two', { list: [{ key: 'b', value: 2 }], labels: { y: '2' } });
    assert.deepEqual(
      [second.body.spec.list.map(({ key }: Json) => key).toSorted(), second.body.spec.labels],
      [['a', 'b'], { x: '1', y: '2' }],
    );
    const conflict = await apply('two', { list: [{ key: 'a', value: 5 }] });
    assert.equal(conflict.status, 409);
    assert.match(
      conflict.body.message,
      /conflict with "one"(?: using stable\.example\.com\/v1)?: \.spec\.list\[key="a"\]\.value/,
    );
    const forced = await apply('two', { list: [{ key: 'a', value: 5 }] }, '&force=true');
    assert.deepEqual(forced.body.spec.list, [{ key: 'a', value: 5 }]);
    const wrong = await apply('two', { list: 'none', more: 1 }, '&force=true');
    assert.deepEqual(
      [wrong.status, wrong.body.reason, wrong.body.message],
      [
        400,
        'BadRequest',
        [
          'failed to create typed patch object (/applied; stable.example.com/v1, Kind=Widget): errors:',
          '  .spec.list: expected list, got &{none}',
          '  .spec.more: field not declared in schema',
        ].join('\n'),
      ],
    );
  });
});

describe('a changed schema', () => {
  const crd = `${CRDS}/gadgets.stable.example.com`;
  const patchSchema = async (properties: Json, more: readonly Json[] = []): Promise<void> => {
    const answer = await server.request(`PATCH ${crd}`, {
      body: {
        spec: {
          versions: [
            { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: specOf(properties) } },
            ...more,
          ],
        },
      },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.equal(answer.status, 200, answer.text);
  };
  before(() =>
    establish(definition('Gadget', { schema: specOf({ a: { type: 'string' }, b: { type: 'string' } }) })),
  );

  test('defaults and prunes what was stored before', async () => {
    await make('Gadget', 'old', { spec: { a: 'x' } });
    await patchSchema({ a: { type: 'string' }, b: { type: 'string', default: 'dflt' } });
    assert.deepEqual((await server.request(`GET ${at('Gadget')}/old`)).body.spec, { a: 'x', b: 'dflt' });
    assert.deepEqual((await server.request(`GET ${at('Gadget')}`)).body.items[0].spec, { a: 'x', b: 'dflt' });
    await make('Gadget', 'new', { spec: {} });
    await patchSchema({ a: { type: 'string', default: 'A' }, b: { type: 'string' } });
    assert.deepEqual((await server.request(`GET ${at('Gadget')}/new`)).body.spec, { a: 'A', b: 'dflt' });
    await patchSchema({ b: { type: 'string' } });
    assert.deepEqual((await server.request(`GET ${at('Gadget')}/old`)).body.spec, {});
  });

  test('lets values that were accepted before stay', async () => {
    await make('Gadget', 'ratchet', { spec: { b: 'toolong' } });
    await patchSchema({ a: { type: 'string' }, b: { type: 'string', maxLength: 3 } });
    const merge = (spec: Json): Promise<TestResponse> =>
      server.request(`PATCH ${at('Gadget')}/ratchet`, {
        body: { spec },
        headers: { 'content-type': 'application/merge-patch+json' },
      });
    assert.equal((await merge({ a: 'changed' })).status, 200);
    assert.equal((await merge({ b: 'longer' })).status, 422);
  });

  test('can add a version, with what was stored in the other one', async () => {
    await patchSchema({ a: { type: 'string' } }, [
      {
        name: 'v2',
        served: true,
        storage: false,
        schema: { openAPIV3Schema: specOf({ a: { type: 'string' } }) },
        deprecated: true,
      },
    ]);
    const read = await server.request(`GET ${at('Gadget', 'v2')}/ratchet`);
    assert.equal(read.body.apiVersion, 'stable.example.com/v2');
    assert.match(read.headers['warning']!, /stable.example.com\/v2 Gadget is deprecated/);
    const list = await server.request(`GET ${at('Gadget', 'v2')}`);
    assert.deepEqual(
      [list.body.kind, new Set(list.body.items.map(({ apiVersion }: Json) => apiVersion))],
      ['GadgetList', new Set(['stable.example.com/v2'])],
    );
    const written = await server.request(`PUT ${at('Gadget', 'v2')}/ratchet`, {
      body: { ...read.body, spec: { a: 'by v2' } },
    });
    assert.equal(written.status, 200, written.text);
    assert.equal(written.body.apiVersion, 'stable.example.com/v2');
    assert.deepEqual(
      (({ apiVersion, spec }) => [apiVersion, spec])(
        (await server.request(`GET ${at('Gadget')}/ratchet`)).body,
      ),
      ['stable.example.com/v1', { a: 'by v2' }],
    );
    const watch = await server.watch(`${at('Gadget', 'v2')}?watch=true`);
    assert.equal((await watch.next()).object.apiVersion, 'stable.example.com/v2');
    watch.close();
    const groups = (await server.request('GET /apis/stable.example.com')).body;
    assert.deepEqual(
      groups.versions.map(({ version }: Json) => version),
      ['v2', 'v1'],
    );
  });
});

test('OpenAPI follows versions that are renamed or no longer served', async () => {
  const crd = `${CRDS}/gadgets.stable.example.com`;
  const paths = async (): Promise<string[]> =>
    Object.keys((await server.request('GET /openapi/v3')).body.paths).filter((path) =>
      path.startsWith('apis/stable.example.com/'),
    );
  const { versions } = (await server.request(`GET ${crd}`)).body.spec;
  assert.deepEqual(await paths(), ['apis/stable.example.com/v1', 'apis/stable.example.com/v2']);
  const change = (next: readonly Json[]): Promise<TestResponse> =>
    server.request(`PATCH ${crd}`, {
      body: { spec: { versions: next } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
  await change([versions[0], { ...versions[1], name: 'v3' }]);
  assert.deepEqual(await paths(), ['apis/stable.example.com/v1', 'apis/stable.example.com/v3']);
  const document = (await server.request('GET /openapi/v3/apis/stable.example.com/v3')).body;
  assert.equal(
    document.components.schemas['com.example.stable.v3.Gadget']['x-kubernetes-group-version-kind'][0].version,
    'v3',
  );
  await change([versions[0], { ...versions[1], name: 'v3', served: false }]);
  assert.deepEqual(await paths(), ['apis/stable.example.com/v1']);
  assert.equal((await server.request(`GET ${at('Gadget', 'v3')}`)).status, 404);
  const swagger = (await server.request('GET /openapi/v2')).body;
  assert.deepEqual(
    Object.keys(swagger.definitions).filter((name) => name.endsWith('.Gadget')),
    ['com.example.stable.v1.Gadget'],
  );
});

test('clients that offer protobuf and JSON get JSON; metadata alone has a wire form', async () => {
  const accepted = async (accept: string): Promise<string> => {
    const { status, headers } = await server.request(`GET ${at('Gadget')}`, { headers: { accept } });
    return `${status} ${headers['content-type']}`;
  };
  const wire = 'application/vnd.kubernetes.protobuf';
  assert.equal(await accepted(`${wire},application/json`), '200 application/json');
  assert.equal(
    await accepted(`${wire};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json`),
    `200 ${wire}`,
  );
  assert.match(await accepted(wire), /^406 /);
});

test('a watch ends when the schema changes', async () => {
  const watch = await server.watch(`${at('Gadget')}?watch=true`);
  await server.request(`PATCH ${CRDS}/gadgets.stable.example.com`, {
    body: { spec: { names: { shortNames: ['gg'] } } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  await watch.ended;
});

test('a version leaves the stored ones by the status alone, and never the one that is written', async () => {
  const status = (storedVersions: string[]): Promise<TestResponse> =>
    server.request(`PATCH ${CRDS}/gadgets.stable.example.com/status`, {
      body: { status: { storedVersions } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
  assert.deepEqual((await status([])).body.status.storedVersions, ['v1']);
  assert.equal((await status(['gone'])).status, 200);
  assert.deepEqual((await status(['v1'])).body.status.storedVersions, ['v1']);
});

test('a definition none of whose versions is served takes its objects along too', async () => {
  await make('Gadget', 'hidden', { spec: {} });
  const crd = `${CRDS}/gadgets.stable.example.com`;
  const { versions } = (await server.request(`GET ${crd}`)).body.spec;
  await server.request(`PATCH ${crd}`, {
    body: { spec: { versions: versions.map((version: Json) => ({ ...version, served: false })) } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  const watch = await server.watch(
    `${CRDS}?watch=true&fieldSelector=metadata.name=gadgets.stable.example.com`,
  );
  await server.request(`DELETE ${crd}`);
  for (;;) if ((await watch.next()).type === 'DELETED') break;
  watch.close();
  assert.equal((await server.store.list('/registry/stable.example.com/gadgets/')).items.length, 0);
});

test('duplicate and unknown fields of metadata are refused when asked to', async () => {
  const strict = async (body: string): Promise<string> =>
    (await server.request(`POST ${at('Widget')}?fieldValidation=Strict`, { body })).body.message;
  const head = '"apiVersion":"stable.example.com/v1","kind":"Widget"';
  assert.match(
    await strict(`{${head},"metadata":{"name":"dup"},"spec":{"open":{"a":1,"a":2}}}`),
    /strict decoding error: duplicate field "spec\.open\.a"/,
  );
  assert.match(
    await strict(`{${head},"metadata":{"name":"odd","unknownMeta":1}}`),
    /strict decoding error: unknown field "metadata\.unknownMeta"/,
  );
  assert.match(
    await strict(
      `{${head},"metadata":{"name":"odd"},"spec":{"template":{"apiVersion":"v1","kind":"K","metadata":{"name":"x","unknownSub":1}}}}`,
    ),
    /unknown field "spec\.template\.metadata\.unknownSub"/,
  );
  assert.match(
    (await make('Widget', 'embedded', { spec: { template: { metadata: { name: 'x' } } } })).body.message,
    /spec\.template\.apiVersion: Required value, spec\.template\.kind: Required value/,
  );
});

test('conditions of others in the status of a definition stay', async () => {
  await establish(definition('Conditioned'));
  const path = `${CRDS}/conditioneds.stable.example.com`;
  const { body } = await server.request(`GET ${path}/status`);
  body.status.conditions.push({
    type: 'StatusUpdate',
    status: 'True',
    reason: 'E2E',
    message: 'Set from a test',
    lastTransitionTime: '2026-01-02T03:04:05Z',
  });
  assert.equal((await server.request(`PUT ${path}/status`, { body })).status, 200);
  const labelled = await server.request(`PATCH ${path}`, {
    body: { metadata: { labels: { a: 'b' } }, spec: { names: { shortNames: ['cnd'] } } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  assert.equal(labelled.status, 200);
  const watch = await server.watch(`${CRDS}?watch=true&labelSelector=a%3Db`);
  for (;;) {
    const { status } = (await watch.next()).object as unknown as {
      status: { acceptedNames: Json; conditions: Json[] };
    };
    if (!status.acceptedNames['shortNames']) continue;
    assert.deepEqual(
      status.conditions.map(({ type }) => type),
      ['NamesAccepted', 'Established', 'StatusUpdate'],
    );
    break;
  }
  watch.close();
  const deleted = await server.request(`DELETE ${CRDS}?labelSelector=a%3Db`);
  assert.equal(deleted.status, 200);
});

test('groups of the project must be approved, and say by whom', async () => {
  const body = {
    ...definition('Approved'),
    metadata: {
      name: 'approveds.example.k8s.io',
      annotations: { 'api-approved.kubernetes.io': 'https://github.com/kubernetes/kubernetes/pull/1' },
    },
  };
  (body as unknown as { spec: Json }).spec['group'] = 'example.k8s.io';
  await establish(body);
  const { conditions } = (await server.request(`GET ${CRDS}/approveds.example.k8s.io`)).body.status;
  assert.deepEqual(
    conditions.find(({ type }: Json) => type === 'KubernetesAPIApprovalPolicyConformant').message,
    'approved in https://github.com/kubernetes/kubernetes/pull/1',
  );
});

describe('what a definition adds to its objects', () => {
  before(() =>
    establish(
      definition('Gizmo', {
        spec: {
          versions: [
            {
              name: 'v1',
              served: true,
              storage: true,
              schema: { openAPIV3Schema: specOf({ size: { type: 'integer' }, color: { type: 'string' } }) },
              subresources: {
                status: {},
                scale: {
                  specReplicasPath: '.spec.size',
                  statusReplicasPath: '.status.size',
                  labelSelectorPath: '.status.selector',
                },
              },
              additionalPrinterColumns: [
                { name: 'Size', type: 'integer', jsonPath: '.spec.size' },
                {
                  name: 'Ready',
                  type: 'string',
                  jsonPath: '.status.conditions[?(@.type=="Ready")].status',
                  priority: 1,
                },
                { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
              ],
              selectableFields: [{ jsonPath: '.spec.color' }],
            },
          ],
        },
      }),
    ),
  );

  test('columns', async () => {
    await make('Gizmo', 'a', { spec: { size: 3, color: 'red' } });
    await server.request(`PATCH ${at('Gizmo')}/a/status`, {
      body: { status: { size: 2, selector: 'app=a', conditions: [{ type: 'Ready', status: 'True' }] } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    const { body } = await server.request(`GET ${at('Gizmo')}`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    });
    assert.deepEqual(
      body.columnDefinitions.map(({ name, type, priority }: Json) => [name, type, priority]),
      [
        ['Name', 'string', 0],
        ['Size', 'integer', 0],
        ['Ready', 'string', 1],
        ['Age', 'date', 0],
      ],
    );
    assert.deepEqual(body.rows[0].cells.slice(0, 3), ['a', 3, 'True']);
    assert.match(body.rows[0].cells[3], /^\d+s$/);
  });

  test('scale', async () => {
    const scale = await server.request(`GET ${at('Gizmo')}/a/scale`);
    assert.deepEqual(
      [scale.body.spec, scale.body.status],
      [{ replicas: 3 }, { replicas: 2, selector: 'app=a' }],
    );
    const scaled = await server.request(`PATCH ${at('Gizmo')}/a/scale`, {
      body: { spec: { replicas: 7 } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.equal(scaled.body.spec.replicas, 7, scaled.text);
    assert.equal((await server.request(`GET ${at('Gizmo')}/a`)).body.spec.size, 7);
  });

  test('selectable fields', async () => {
    await make('Gizmo', 'b', { spec: { size: 1, color: 'blue' } });
    const { body } = await server.request(`GET ${at('Gizmo')}?fieldSelector=spec.color%3Dblue`);
    assert.deepEqual(
      body.items.map((item: { metadata: Json }) => item.metadata['name']),
      ['b'],
    );
    assert.equal(
      (await server.request(`GET ${at('Gizmo')}?fieldSelector=spec.size%3D1`)).body.message,
      'field label not supported: spec.size',
    );
    const watch = await server.watch(`${at('Gizmo')}?watch=true&fieldSelector=spec.color%3Dblue`);
    assert.equal((await watch.next()).object.metadata?.name, 'b');
    await server.request(`PATCH ${at('Gizmo')}/b`, {
      body: { spec: { color: 'red' } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.equal((await watch.next()).type, 'DELETED');
    watch.close();
  });
});

test('names that are taken are not accepted, until they are free', async () => {
  await establish(
    definition('First', {
      spec: { names: { plural: 'firsts', singular: 'first', kind: 'First', shortNames: ['fst'] } },
    }),
  );
  const created = await server.request(`POST ${CRDS}`, {
    body: definition('Second', {
      spec: { names: { plural: 'seconds', singular: 'second', kind: 'First', shortNames: ['fst'] } },
    }),
  });
  assert.equal(created.status, 201, created.text);
  const watch = await server.watch(
    `${CRDS}?watch=true&fieldSelector=metadata.name=seconds.stable.example.com`,
  );
  const conditions = async (type: string, status: string): Promise<Json> => {
    for (;;) {
      const found = ((await watch.next()).object['status'] as { conditions?: Json[] }).conditions?.find(
        (condition) => condition['type'] === type,
      );
      if (found?.['status'] === status) return found;
    }
  };
  const refused = await conditions('NamesAccepted', 'False');
  assert.deepEqual(
    [refused['reason'], refused['message']],
    ['ListKindConflict', '"FirstList" is already in use'],
  );
  await server.request(`DELETE ${CRDS}/firsts.stable.example.com`);
  await conditions('Established', 'True');
  watch.close();
});

test('schemas that are not structural are refused', async () => {
  const refusal = async (schema: Json): Promise<string> =>
    (await server.request(`POST ${CRDS}`, { body: definition('Bad', { schema }) })).body.message;
  const at = 'CustomResourceDefinition.apiextensions.k8s.io "bads.stable.example.com" is invalid: ';
  assert.equal(
    await refusal({ type: 'object', properties: { spec: { properties: {} } } }),
    `${at}spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields`,
  );
  assert.match(
    await refusal(specOf({ a: { type: 'string', pattern: '(?=x)' } })),
    /properties\[a\]\.pattern: Invalid value: "\(\?=x\)": must be a valid regular expression/,
  );
  assert.match(
    await refusal(specOf({ a: { type: 'integer', default: 'x' } })),
    /properties\[a\]\.default: Invalid value: "string": .*must be of type integer/,
  );
  assert.match(
    await refusal(specOf({ a: { type: 'array' } })),
    /properties\[a\]\.items: Required value: must be specified/,
  );
  assert.match(
    await refusal(specOf({ a: { type: 'string', 'x-kubernetes-validations': [{ rule: 'self.size(' }] } })),
    /x-kubernetes-validations\[0\]\.rule: Invalid value: \{"Rule":"self\.size\(",.*\}: compilation failed: ERROR: <input>/,
  );
});

test('rules are evaluated on every write', async () => {
  await establish(
    definition('Ruled', {
      schema: specOf(
        { min: { type: 'integer' }, max: { type: 'integer' } },
        {
          'x-kubernetes-validations': [{ rule: 'self.min <= self.max', message: 'min must not exceed max' }],
        },
      ),
    }),
  );
  assert.equal((await make('Ruled', 'ok', { spec: { min: 1, max: 2 } })).status, 201);
  const refused = await make('Ruled', 'bad', { spec: { min: 3, max: 2 } });
  assert.equal(refused.status, 422);
  assert.equal(
    refused.body.message,
    'Ruled.stable.example.com "bad" is invalid: spec: Invalid value: min must not exceed max',
  );
});

test('a server that starts again serves what was defined', async () => {
  const again = await startTestServer({ store: server.store });
  assert.equal((await again.request(`GET ${at('Gizmo')}/a`)).body.spec.size, 7);
  await again.server.stop();
});
