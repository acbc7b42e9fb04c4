/** Server-side apply through the handler: ownership, conflicts, removal, other writers, subresources. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startTestServer, type TestResponse, type TestServer } from '../testing/server.ts';

const APPLY = { 'content-type': 'application/apply-patch+yaml' };

describe('server-side apply', () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
  });
  after(() => server.stop());

  const apply = (path: string, manager: string, body: string, more = ''): Promise<TestResponse> =>
    server.request(`PATCH ${path}?fieldManager=${manager}${more}`, { headers: APPLY, body });
  const map = (name: string, data: Record<string, string>): string =>
    JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default' }, data });
  const at = (name: string): string => `/api/v1/namespaces/default/configmaps/${name}`;

  it('creates, then changes nothing when nothing changed', async () => {
    const created = await apply(at('a'), 'one', map('a', { x: '1' }));
    assert.equal(created.status, 201, created.text);
    assert.deepEqual(
      created.body.metadata.managedFields.map((entry: { manager: string; operation: string }) => [
        entry.manager,
        entry.operation,
      ]),
      [['one', 'Apply']],
    );
    assert.deepEqual(created.body.metadata.managedFields[0].fieldsV1, { 'f:data': { 'f:x': {} } });
    const again = await apply(at('a'), 'one', map('a', { x: '1' }));
    assert.equal(again.status, 200);
    assert.equal(again.body.metadata.resourceVersion, created.body.metadata.resourceVersion);
  });

  it('refuses what another owns, unless forced', async () => {
    await apply(at('b'), 'one', map('b', { x: '1' }));
    const refused = await apply(at('b'), 'two', map('b', { x: '2' }));
    assert.equal(refused.status, 409);
    assert.equal(refused.body.message, 'Apply failed with 1 conflict: conflict with "one": .data.x');
    const forced = await apply(at('b'), 'two', map('b', { x: '2' }), '&force=true');
    assert.equal(forced.body.data.x, '2');
    assert.deepEqual(
      forced.body.metadata.managedFields.map((entry: { manager: string }) => entry.manager),
      ['two'],
    );
  });

  it('takes away what its manager no longer applies', async () => {
    await apply(at('c'), 'one', map('c', { x: '1', y: '2' }));
    const less = await apply(at('c'), 'one', map('c', { x: '1' }));
    assert.deepEqual(less.body.data, { x: '1' });
  });

  it('knows what other writers took', async () => {
    await apply(at('d'), 'one', map('d', { x: '1' }));
    const patched = await server.request(`PATCH ${at('d')}`, {
      headers: { 'content-type': 'application/merge-patch+json', 'user-agent': 'editor/1.0 (linux)' },
      body: { data: { x: '9' } },
    });
    assert.equal(patched.status, 200, patched.text);
    assert.deepEqual(
      patched.body.metadata.managedFields.map(
        (entry: { manager: string; operation: string }) => `${entry.manager} ${entry.operation}`,
      ),
      ['editor Update'],
    );
    const refused = await apply(at('d'), 'one', map('d', { x: '1' }));
    assert.match(refused.body.message, /conflict with "editor" using v1.*: \.data\.x/);
  });

  it('knows who made and changed an object before its first apply, and shares what is equal', async () => {
    const created = await server.request('POST /api/v1/namespaces/default/configmaps?fieldManager=maker', {
      body: JSON.parse(map('e', { x: '1' })),
    });
    const [{ time, ...entry }] = created.body.metadata.managedFields;
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.deepEqual(entry, {
      manager: 'maker',
      operation: 'Update',
      apiVersion: 'v1',
      fieldsType: 'FieldsV1',
      fieldsV1: { 'f:data': { '.': {}, 'f:x': {} } },
    });
    const applied = await apply(at('e'), 'one', map('e', { x: '1', y: '2' }));
    assert.deepEqual(applied.body.data, { x: '1', y: '2' });
    assert.deepEqual(
      applied.body.metadata.managedFields.map((owner: { manager: string }) => owner.manager).sort(),
      ['maker', 'one'],
    );
    const refused = await apply(at('e'), 'two', map('e', { x: '3' }));
    assert.match(
      refused.body.message,
      /conflicts with "maker" using v1:\n- \.data\.x\nconflicts with "one":\n- \.data\.x/,
    );
    const put = await server.request('PUT /api/v1/namespaces/default/configmaps/e?fieldManager=maker', {
      body: JSON.parse(map('e', { x: '5' })),
    });
    assert.deepEqual(
      put.body.metadata.managedFields.map((owner: { manager: string; fieldsV1: object }) => [
        owner.manager,
        owner.fieldsV1,
      ]),
      [['maker', { 'f:data': { '.': {}, 'f:x': {} } }]],
    );
    const cleared = await server.request('PUT /api/v1/namespaces/default/configmaps/e', {
      body: { ...JSON.parse(map('e', { x: '5' })), metadata: { name: 'e', managedFields: [{}] } },
    });
    assert.equal(cleared.body.metadata.managedFields?.length ?? 0, 0);
  });

  it('applies replicas through scale, and minds who owns them', async () => {
    const path = '/apis/apps/v1/namespaces/default/deployments/scaled';
    const deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'scaled', namespace: 'default' },
      spec: {
        replicas: 1,
        selector: { matchLabels: { a: 'b' } },
        template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'c' }] } },
      },
    };
    assert.equal((await apply(path, 'one', JSON.stringify(deployment))).status, 201);
    const scale = (replicas: number, name = 'scaled'): string =>
      JSON.stringify({
        apiVersion: 'autoscaling/v1',
        kind: 'Scale',
        metadata: { name, namespace: 'default' },
        spec: { replicas },
      });
    const refused = await apply(`${path}/scale`, 'two', scale(3));
    assert.deepEqual(
      [refused.status, refused.body.message],
      [409, 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'],
    );
    const forced = await apply(`${path}/scale`, 'two', scale(3), '&force=true');
    assert.deepEqual(
      [forced.status, forced.body.kind, forced.body.spec, forced.body.metadata.managedFields],
      [200, 'Scale', { replicas: 3 }, undefined],
    );
    const { body } = await server.request(`GET ${path}`);
    interface Entry {
      manager: string;
      operation: string;
      apiVersion: string;
      subresource?: string;
      fieldsV1: Record<string, Record<string, object>>;
    }
    const owners = (body.metadata.managedFields as Entry[]).map(
      ({ manager, operation, apiVersion, subresource = '', fieldsV1 }) => [
        manager,
        operation,
        apiVersion,
        subresource,
        'f:replicas' in fieldsV1['f:spec']!,
      ],
    );
    assert.deepEqual(
      [body.spec.replicas, body.metadata.generation, owners],
      [
        3,
        2,
        [
          ['two', 'Apply', 'apps/v1', 'scale', true],
          ['one', 'Apply', 'apps/v1', '', false],
        ],
      ],
    );
    const again = await apply(`${path}/scale`, 'two', scale(3));
    assert.equal(again.body.metadata.resourceVersion, body.metadata.resourceVersion);
    assert.equal(
      (await apply(`${path}/scale`, 'two', scale(-1))).body.message,
      'Scale.autoscaling "scaled" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    );
    assert.equal((await apply(`${path}/scale`, 'two', scale(3, 'other'))).status, 400);
    assert.equal((await apply(`${path}/scale`, 'two', JSON.stringify(deployment))).status, 400);
  });

  it('merges lists by their keys', async () => {
    const deployment = (containers: object[]): string =>
      JSON.stringify({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'w', namespace: 'default' },
        spec: {
          selector: { matchLabels: { a: 'b' } },
          template: { metadata: { labels: { a: 'b' } }, spec: { containers } },
        },
      });
    const path = '/apis/apps/v1/namespaces/default/deployments/w';
    assert.equal((await apply(path, 'one', deployment([{ name: 'main', image: 'main:1' }]))).status, 201);
    const both = await apply(path, 'two', deployment([{ name: 'side', image: 'side:1' }]));
    assert.equal(both.status, 200, both.text);
    assert.deepEqual(
      both.body.spec.template.spec.containers.map((container: { name: string }) => container.name),
      ['main', 'side'],
    );
    const status = await apply(
      `${path}/status`,
      'three',
      JSON.stringify({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'w', namespace: 'default' },
        status: { replicas: 3 },
      }),
    );
    assert.equal(status.status, 200, status.text);
    assert.equal(status.body.status.replicas, 3);
    assert.ok(
      status.body.metadata.managedFields.some(
        (entry: { manager: string; subresource?: string }) =>
          entry.manager === 'three' && entry.subresource === 'status',
      ),
    );
  });

  it('refuses malformed requests', async () => {
    const nameless = await server.request(`PATCH ${at('f')}`, { headers: APPLY, body: map('f', {}) });
    assert.equal(nameless.status, 422);
    assert.equal(
      nameless.body.message,
      'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    );
    assert.equal((await apply(at('f'), 'one', 'a: [')).status, 400);
    assert.equal((await apply(at('f'), 'one', '{"kind":"ConfigMap"}')).status, 400);
    assert.equal((await apply(at('f'), 'one', map('other', {}))).status, 400);
    for (const body of [
      '{"apiVersion":{"a":1},"kind":"ConfigMap"}',
      '{"apiVersion":"v1","kind":["ConfigMap"]}',
    ])
      assert.equal((await apply(at('f'), 'one', body)).status, 400);
    assert.equal(
      (await apply(at('f'), 'one', '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"f"}}')).status,
      400,
    );
    assert.equal(
      (
        await apply(
          at('f'),
          'one',
          '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"f","managedFields":[{"manager":"x"}]}}',
        )
      ).status,
      400,
    );
  });

  it('makes nothing of what is known by a uid and gone', async () => {
    const known = (metadata: object): string =>
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { ...metadata, uid: 'abc', resourceVersion: '5' },
      });
    for (const metadata of [{}, { name: 'gone' }, { name: 'other' }]) {
      const { status, body } = await apply(at('gone'), 'one', known(metadata));
      assert.deepEqual(
        [status, body.message],
        [
          409,
          'Operation cannot be fulfilled on configmaps "gone": uid mismatch: the provided object specified uid abc, and no existing object was found',
        ],
      );
    }
    assert.equal(
      (await apply(at('gone'), 'one', JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: {} })))
        .status,
      400,
    );
  });

  it("keeps a list given empty its giver's when it is put back as shown", async () => {
    const path = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices';
    const headers = { 'content-type': 'application/json' };
    const made = await server.request(`POST ${path}`, {
      body: {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name: 'empty' },
        addressType: 'IPv4',
        endpoints: [],
      },
      headers,
    });
    const fields = made.body.metadata.managedFields[0].fieldsV1;
    assert.deepEqual([made.body.endpoints, fields['f:endpoints']], [null, {}]);
    const shown = await server.request(`GET ${path}/empty`);
    const put = await server.request(`PUT ${path}/empty`, { body: shown.body, headers });
    assert.deepEqual(put.body.metadata.managedFields[0].fieldsV1, fields);
  });
});
