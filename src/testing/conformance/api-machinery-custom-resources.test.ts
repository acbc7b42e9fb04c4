/** The API-machinery part of conformance: custom resource definitions and their objects. Conversion webhooks and kubectl's view of schemas are shown in the API server's own tests. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { inDiscovery } from './lifecycle.ts';
import { startWorld, until, type Json, type SendOptions, type World } from './world.ts';

const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const OPEN: Json = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
const CLOSED: Json = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      properties: {
        foo: { type: 'string' },
        cronSpec: { type: 'string', pattern: '^(\\*|[0-9]+)$' },
        ports: { type: 'array', items: { type: 'integer', maximum: 65_535 } },
      },
    },
  },
};

describe('conformance: custom resources', () => {
  let world: World;
  let count = 0;
  before(async () => {
    world = await startWorld({ nodes: 0 });
  });
  after(async () => world?.stop());

  const definition = (schema: Json = OPEN, { labels = {}, ...version }: Json = {}): Json => {
    const singular = `noxu${(count += 1)}`;
    return {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${singular}s.conformance.example.com`, labels },
      spec: {
        group: 'conformance.example.com',
        scope: 'Cluster',
        names: { plural: `${singular}s`, singular, kind: `Noxu${count}`, listKind: `Noxu${count}List` },
        versions: [
          { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema }, ...version },
        ],
      },
    };
  };
  const established = async (body: Json): Promise<string> => {
    const { name } = (await world.post(DEFINITIONS, body)).metadata;
    await world.reaches(`${DEFINITIONS}/${name}`, ({ status }) =>
      status.conditions?.some(({ type, status: value }: Json) => type === 'Established' && value === 'True'),
    );
    return `/apis/conformance.example.com/v1/${body.spec.names.plural}`;
  };
  /** What kubectl apply --server-side sends. */
  const apply = (
    path: string,
    body: string,
  ): Promise<{ readonly status: number; readonly text: string; readonly body: Json }> =>
    world.send(`PATCH ${path}?fieldManager=field-validation&force=true&fieldValidation=Strict`, {
      body,
      headers: { 'content-type': 'application/apply-patch+yaml' },
    });
  const manifest = (path: string, rest: string): string =>
    `apiVersion: conformance.example.com/v1\nkind: Noxu${count}\n${rest}`;
  const strict = (path: string, options: SendOptions): Promise<Json> =>
    world.refused(400, `POST ${path}?fieldValidation=Strict`, options);

  it('Custom Resource Definition, create', async () => {
    const body = definition();
    await established(body);
    await world.del(`${DEFINITIONS}/${body.metadata.name}`);
    await world.gone(`${DEFINITIONS}/${body.metadata.name}`);
  });

  it('Custom Resource Definition, watch', async () => {
    const path = await established(definition());
    const watch = await world.watch(path);
    for (const name of ['name1', 'name2'])
      await world.post(path, {
        apiVersion: 'conformance.example.com/v1',
        kind: `Noxu${count}`,
        metadata: { name },
        content: { key: 'value' },
      });
    await world.patch(`${path}/name1`, { content: { key: 'other' } });
    await world.del(`${path}/name1`);
    await world.del(`${path}/name2`);
    await watch.seen('DELETED', ({ metadata }) => metadata.name === 'name2');
    assert.deepEqual(watch.words, [
      'ADDED name1',
      'ADDED name2',
      'MODIFIED name1',
      'DELETED name1',
      'DELETED name2',
    ]);
  });

  it('Custom Resource Definition, status sub-resource', async () => {
    const body = definition();
    await established(body);
    const path = `${DEFINITIONS}/${body.metadata.name}/status`;
    const read = await world.get(path);
    read.status.conditions.push({
      type: 'StatusUpdate',
      status: 'True',
      reason: 'E2E',
      message: 'Set from a test',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    });
    await world.put(path, read);
    assert.ok((await world.get(path)).status.conditions.some(({ type }: Json) => type === 'StatusUpdate'));
    await world.patch(
      path,
      [
        {
          op: 'add',
          path: '/status/conditions/-',
          value: {
            type: 'StatusPatched',
            status: 'True',
            reason: 'E2E',
            message: 'Set by a patch',
            lastTransitionTime: '2026-01-01T00:00:00Z',
          },
        },
      ],
      'json',
    );
    const types = (await world.get(path)).status.conditions.map(({ type }: Json) => type);
    for (const type of ['Established', 'StatusUpdate', 'StatusPatched'])
      assert.ok(types.includes(type), type);
  });

  it('Custom Resource Definition, list', async () => {
    for (let index = 0; index < 10; index += 1)
      await established(definition(OPEN, { labels: { listed: 'yes' } }));
    const other = definition();
    await established(other);
    assert.equal((await world.get(`${DEFINITIONS}?labelSelector=listed%3Dyes`)).items.length, 10);
    await world.del(`${DEFINITIONS}?labelSelector=listed%3Dyes`);
    await until(
      'all gone',
      async () => (await world.get(`${DEFINITIONS}?labelSelector=listed%3Dyes`)).items.length === 0,
    );
    await world.get(`${DEFINITIONS}/${other.metadata.name}`);
  });

  it('Custom Resource Definition, defaulting', async () => {
    const body = definition({ type: 'object', properties: { a: { type: 'string' }, b: { type: 'string' } } });
    const path = await established(body);
    const at = `${DEFINITIONS}/${body.metadata.name}`;
    const make = (name: string): Promise<Json> =>
      world.post(path, {
        apiVersion: 'conformance.example.com/v1',
        kind: body.spec.names.kind,
        metadata: { name },
      });
    await make('before');
    const properties = '/spec/versions/0/schema/openAPIV3Schema/properties';
    await world.patch(at, [{ op: 'add', path: `${properties}/a/default`, value: 'A' }], 'json');
    await world.reaches(`${path}/before`, ({ a, b }) => a === 'A' && b === undefined);
    const made = await make('between');
    assert.deepEqual([made.a, made.b], ['A', undefined]);
    await world.patch(
      at,
      [
        { op: 'remove', path: `${properties}/a/default` },
        { op: 'add', path: `${properties}/b/default`, value: 'B' },
      ],
      'json',
    );
    await world.reaches(`${path}/between`, ({ a, b }) => a === 'A' && b === 'B');
    await world.reaches(`${path}/before`, ({ a, b }) => a === undefined && b === 'B');
  });

  it('Custom Resource Definition, discovery', () =>
    inDiscovery(world, { group: 'apiextensions.k8s.io', plural: 'customresourcedefinitions' }));

  it('Aggregated Discovery Interface CRDs', async () => {
    const body = definition();
    await established(body);
    await until('it in the aggregated document', async () =>
      (await aggregated()).includes(body.spec.names.plural),
    );
    await world.del(`${DEFINITIONS}/${body.metadata.name}`);
    await until('it gone from there', async () => !(await aggregated()).includes(body.spec.names.plural));
  });
  const aggregated = async (
    accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
  ): Promise<string[]> => {
    const { body } = await world.send('GET /apis', { headers: { accept } });
    return body.items
      .filter(({ metadata }: Json) => metadata.name === 'conformance.example.com')
      .flatMap(({ versions }: Json) =>
        versions.flatMap(({ resources }: Json) => resources.map(({ resource }: Json) => resource as string)),
      );
  };

  it('Aggregated Discovery Endpoint Accept Headers CRDs', async () => {
    const body = definition();
    await established(body);
    await until('it in the document of the first form known', async () =>
      (
        await aggregated(
          'application/json;g=apidiscovery.k8s.io;v=v1;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json',
        )
      ).includes(body.spec.names.plural),
    );
  });

  it('custom-resource-definition-field-selectors-list-watch-register-informers', async () => {
    const body = definition(
      { type: 'object', properties: { host: { type: 'string' }, port: { type: 'string' } } },
      { selectableFields: [{ jsonPath: '.host' }, { jsonPath: '.port' }] },
    );
    const path = await established(body);
    const make = (name: string, host: string): Promise<Json> =>
      world.post(path, {
        apiVersion: 'conformance.example.com/v1',
        kind: body.spec.names.kind,
        metadata: { name },
        host,
        port: '80',
      });
    const watch = await world.watch(path, 'fieldSelector=host%3Dhost1%2Cport%3D80');
    await make('one', 'host1');
    await make('two', 'host2');
    const listed = async (selector: string): Promise<string[]> =>
      (await world.get(`${path}?fieldSelector=${encodeURIComponent(selector)}`)).items.map(
        ({ metadata }: Json) => metadata.name,
      );
    assert.deepEqual(await listed('host=host1'), ['one']);
    assert.deepEqual(await listed('host!=host1'), ['two']);
    assert.deepEqual(await listed('host=host1,port=443'), []);
    await world.patch(`${path}/two`, { host: 'host1' });
    await world.patch(`${path}/one`, { host: 'host3' });
    await world.del(`${path}?fieldSelector=host%3Dhost1`);
    await watch.seen('DELETED', ({ metadata }) => metadata.name === 'two');
    assert.deepEqual(watch.words, ['ADDED one', 'ADDED two', 'DELETED one', 'DELETED two']);
    assert.deepEqual(await listed('metadata.name=one'), ['one']);
    assert.match(
      (await world.refused(400, `GET ${path}?fieldSelector=other%3Dx`)).message,
      /field label not supported: other/,
    );
  });

  it('Server side field validation, unknown fields CR no validation schema', async () => {
    const path = await established(definition());
    const { status, text } = await apply(
      `${path}/mytest`,
      manifest(
        path,
        'metadata:\n  name: mytest\nspec:\n  foo: foo1\n  cronSpec: "* * * * */5"\n  ports: [{port: 80, protocol: TCP}]\n',
      ),
    );
    assert.equal(status, 201, text);
  });

  it('Server side field validation, valid CR with validation schema', async () => {
    const path = await established(definition(CLOSED));
    const { status, text } = await apply(
      `${path}/mytest`,
      manifest(path, 'metadata:\n  name: mytest\nspec:\n  foo: bar\n  cronSpec: "*"\n  ports: [80]\n'),
    );
    assert.equal(status, 201, text);
  });

  it('Server side field validation, unknown fields CR fails validation', async () => {
    const path = await established(definition(CLOSED));
    const body = {
      apiVersion: 'conformance.example.com/v1',
      kind: `Noxu${count}`,
      metadata: { name: 'mytest' },
      spec: { foo: 'bar', unknownField: 'unknown' },
    };
    assert.equal(
      (await strict(path, { body })).message,
      `${`Noxu${count}`} in version "v1" cannot be handled as a Noxu${count}: strict decoding error: unknown field "spec.unknownField"`,
    );
    const { status, text } = await apply(
      `${path}/mytest`,
      manifest(path, 'metadata:\n  name: mytest\nspec:\n  unknownField: unknown\n'),
    );
    // Applying asks the schema before strictness does.
    assert.equal(status, 400, text);
    assert.match(text, /\.spec\.unknownField: field not declared in schema/);
  });

  it('Server side field validation, CR duplicates', async () => {
    const path = await established(definition());
    const text = manifest(
      path,
      'metadata:\n  name: mytest\nspec:\n  unknown: uk1\n  foo: foo1\n  foo: foo2\n',
    );
    const { message } = await strict(path, { body: text, headers: { 'content-type': 'application/yaml' } });
    assert.match(
      message,
      /strict decoding error: yaml: unmarshal errors:\n  line 8: key "foo" already set in map/,
    );
    const applied = await apply(`${path}/mytest`, text);
    assert.equal(applied.status, 400, applied.text);
    assert.equal(
      applied.body.message,
      'error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 8: key "foo" already set in map',
    );
    const lenient = await world.send(`POST ${path}`, {
      body: text,
      headers: { 'content-type': 'application/yaml' },
    });
    assert.equal(lenient.body.spec.foo, 'foo2');
    assert.match(String(lenient.headers['warning']), /key \\"foo\\" already set in map/);
    const json = JSON.stringify({
      apiVersion: 'conformance.example.com/v1',
      kind: `Noxu${count}`,
      metadata: { name: 'mytest' },
      spec: {},
    }).replace('"spec":{}', '"spec":{"foo":"a","foo":"b"}');
    assert.match(
      (await strict(path, { body: json })).message,
      /strict decoding error: duplicate field "spec\.foo"/,
    );
  });

  it('Server side field validation, unknown metadata', async () => {
    const embedded = {
      type: 'object',
      'x-kubernetes-embedded-resource': true,
      'x-kubernetes-preserve-unknown-fields': true,
    };
    const path = await established(
      definition({
        type: 'object',
        properties: { spec: { type: 'object', properties: { template: embedded } } },
      }),
    );
    const body = {
      apiVersion: 'conformance.example.com/v1',
      kind: `Noxu${count}`,
      metadata: { name: 'mytest', unknownMeta: 'unknown' },
      spec: {
        template: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'inner', unknownSubMeta: 'unknown' } },
      },
    };
    const { message } = await strict(path, { body });
    assert.match(message, /unknown field "metadata\.unknownMeta"/);
    assert.match(message, /unknown field "spec\.template\.metadata\.unknownSubMeta"/);
    const applied = await apply(
      `${path}/mytest`,
      manifest(
        path,
        'metadata:\n  name: mytest\n  unknownMeta: unknown\nspec:\n  template:\n    metadata:\n      unknownSubMeta: unknown\n',
      ),
    );
    assert.match(
      applied.text,
      /\.metadata\.unknownMeta: field not declared in schema.*\.spec\.template\.metadata\.unknownSubMeta: field not declared in schema/,
    );
  });
});
