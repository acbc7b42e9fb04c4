import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startTestServer, type TestResponse, type TestServer } from '../test-server.ts';

type Json = Record<string, unknown>;

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
});
after(() => server.stop());

function definition(kind: string, { schema, more = {}, spec = {} }: { readonly schema?: Json; readonly more?: Json; readonly spec?: Json } = {}): Json {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: `${plural}.stable.example.com` },
    spec: {
      group: 'stable.example.com', scope: 'Namespaced', names: { plural, singular: kind.toLowerCase(), kind },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema ?? OPEN }, ...more }], ...spec,
    },
  };
}

const OPEN = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
const specOf = (properties: Json, more: Json = {}): Json => ({ type: 'object', properties: { spec: { type: 'object', properties, ...more }, status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } });

async function establish(body: Json): Promise<void> {
  const name = (body['metadata'] as { name: string }).name;
  const created = await server.request(`POST ${CRDS}`, { body });
  assert.equal(created.status, 201, created.text);
  const watch = await server.watch(`${CRDS}?watch=true&fieldSelector=metadata.name=${name}`);
  for (;;) {
    const { object } = await watch.next();
    const { conditions = [] } = (object['status'] ?? {}) as { conditions?: { type: string; status: string }[] };
    if (conditions.some(({ type, status }) => type === 'Established' && status === 'True')) break;
  }
  watch.close();
}

const at = (kind: string, version = 'v1'): string => `/apis/stable.example.com/${version}/namespaces/default/${kind.toLowerCase()}s`;
const make = (kind: string, name: string, content: Json, query = ''): Promise<TestResponse> => server.request(`POST ${at(kind)}${query}`, { body: { apiVersion: 'stable.example.com/v1', kind, metadata: { name }, ...content } });

describe('a definition', () => {
  test('is established with its names and serves its objects at once', async () => {
    await establish(definition('CronTab', { spec: { names: { plural: 'crontabs', singular: 'crontab', kind: 'CronTab', shortNames: ['ct'], categories: ['all'] } } }));
    const { body } = await server.request(`GET ${CRDS}/crontabs.stable.example.com`);
    assert.deepEqual(body.status.acceptedNames, { plural: 'crontabs', singular: 'crontab', kind: 'CronTab', listKind: 'CronTabList', shortNames: ['ct'], categories: ['all'] });
    assert.deepEqual(body.status.conditions.map(({ type, status, reason, message }: Record<string, string>) => [type, status, reason, message]), [
      ['NamesAccepted', 'True', 'NoConflicts', 'no conflicts found'], ['Established', 'True', 'InitialNamesAccepted', 'the initial names have been accepted'],
    ]);
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
    const aggregated = await server.request('GET /apis', { headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' } });
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
    const watch = await server.watch(`${CRDS}?watch=true&fieldSelector=metadata.name=crontabs.stable.example.com`);
    const deleted = await server.request(`DELETE ${CRDS}/crontabs.stable.example.com`);
    assert.deepEqual(deleted.body.metadata.finalizers, ['customresourcecleanup.apiextensions.k8s.io']);
    for (let done = false; !done;) {
      const { conditions = [] } = (await watch.next()).object['status'] as { conditions?: { type: string; status: string }[] };
      done = conditions.some(({ type, status }) => type === 'Terminating' && status === 'True');
    }
    const refused = await make('CronTab', 'c', {});
    assert.equal(refused.status, 405);
    assert.equal(refused.body.message, 'create not allowed while custom resource definition is terminating');
    const current = await server.request(`GET ${at('CronTab')}/b`);
    const freed = await server.request(`PUT ${at('CronTab')}/b`, { body: { ...current.body, metadata: { ...current.body.metadata, finalizers: [] } } });
    assert.equal(freed.status, 200, freed.text);
    for (;;) if ((await watch.next()).type === 'DELETED') break;
    watch.close();
    assert.equal((await server.request(`GET ${at('CronTab')}`)).status, 404);
    assert.equal((await server.request('GET /apis/stable.example.com')).status, 404);
  });
});
