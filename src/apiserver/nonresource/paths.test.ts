import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { existsSync, readFileSync } from 'node:fs';
import { StoreError } from '#storage/store.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

let server: TestServer;
before(async () => {
  server = await startTestServer({ bootstrapObjects: true });
});
after(() => server.stop());

const SHARED = new URL('../../../../shared/kubernetes-1.36/discovery/', import.meta.url);
const AGGREGATED = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

test('health: not ready before the bootstrap, ready after it', async () => {
  const before_ = await server.request('GET /readyz');
  assert.equal(before_.status, 500);
  assert.match(before_.text, /\[-\]poststarthook\/bootstrap-controller failed: reason withheld/);
  assert.equal((await server.request('GET /livez')).text, 'ok');
  await server.server.ready();
  assert.deepEqual(
    [(await server.request('GET /readyz')).text, (await server.request('GET /readyz/ping')).text],
    ['ok', 'ok'],
  );
  const verbose = await server.request('GET /readyz?verbose&exclude=etcd');
  assert.match(verbose.text, /\[\+\]etcd excluded: ok\n[^]*readyz check passed\n$/);
  assert.equal((await server.request('GET /readyz/none')).status, 404);
});

test('health: not ready while the disk is full, ready once a write is done', async (t) => {
  const configMap = (name: string): Promise<{ readonly status: number }> =>
    server.request('POST /api/v1/namespaces/default/configmaps', { body: { metadata: { name } } });
  const full = new StoreError('no-space', 'the disk is full');
  const put = t.mock.method(server.store, 'put', () => Promise.reject(full));
  assert.equal((await configMap('refused')).status, 503);
  assert.equal((await server.request('GET /livez')).status, 200);
  const ready = await server.request('GET /readyz');
  assert.equal(ready.status, 500);
  assert.match(ready.text, /\[-\]etcd-readiness failed: reason withheld/);
  put.mock.restore();
  assert.equal((await configMap('taken')).status, 201);
  assert.equal((await server.request('GET /readyz')).text, 'ok');
});

test('the bootstrap is idempotent and complete', async (t) => {
  const namespaces = (await server.request('GET /api/v1/namespaces')).body.items.map(
    ({ metadata }: { metadata: { name: string } }) => metadata.name,
  );
  assert.deepEqual(namespaces, ['default', 'kube-node-lease', 'kube-public', 'kube-system']);
  assert.equal(
    (await server.request('GET /api/v1/namespaces/default/services/kubernetes')).body.spec.clusterIP,
    '10.96.0.1',
  );
  const put = t.mock.method(server.store, 'put');
  const again = await startTestServer({ store: server.store, bootstrapObjects: true });
  await again.server.ready();
  // The conditions of FlowSchemas are written in the background, by whoever comes to it first; each server says who it is.
  assert.deepEqual(
    put.mock.calls
      .map(({ arguments: [key] }) => key)
      .filter((key) => !/^\/registry\/(flowschemas|leases\/kube-system\/apiserver-)/.test(key)),
    [],
  );
  put.mock.restore();
  await again.server.stop();
});

test(
  "classic discovery has upstream's names, kinds and verbs",
  { skip: existsSync(SHARED) ? false : 'the shared facts are absent' },
  async () => {
    for (const gv of [
      'api/v1',
      'apis/apps/v1',
      'apis/autoscaling/v2',
      'apis/policy/v1',
      'apis/certificates.k8s.io/v1',
    ]) {
      const expected = JSON.parse(
        readFileSync(new URL(`${gv.replaceAll('/', '__')}.json`, SHARED), 'utf8'),
      ) as { resources: Record<string, unknown>[] };
      const { body } = await server.request(`GET /${gv}`);
      assert.deepEqual(body.resources, expected.resources, gv);
    }
    const { body } = await server.request('GET /apis');
    assert.equal(body.kind, 'APIGroupList');
    assert.ok(
      body.groups.every(
        ({ preferredVersion, versions }: { preferredVersion: unknown; versions: unknown[] }) =>
          JSON.stringify(preferredVersion) === JSON.stringify(versions[0]),
      ),
    );
    assert.equal((await server.request('GET /apis/none')).status, 404);
  },
);

test('aggregated discovery has an ETag', async () => {
  const { headers, body } = await server.request('GET /apis', {
    headers: { accept: `${AGGREGATED},application/json` },
  });
  assert.equal(headers['content-type'], AGGREGATED);
  assert.deepEqual([body.kind, body.apiVersion], ['APIGroupDiscoveryList', 'apidiscovery.k8s.io/v2']);
  const same = await server.request('GET /apis', {
    headers: { accept: AGGREGATED, 'if-none-match': headers['etag']! },
  });
  assert.deepEqual([same.status, same.bytes.length], [304, 0]);
  const core = await server.request('GET /api', { headers: { accept: AGGREGATED } });
  assert.equal(core.body.items[0].metadata.name, undefined);
});

test('OpenAPI, version, metrics and the list of paths', async () => {
  const index = (await server.request('GET /openapi/v3')).body;
  const { serverRelativeURL } = index.paths['apis/apps/v1'];
  const document = await server.request(`GET ${serverRelativeURL}`);
  assert.equal(document.headers['cache-control'], 'public, immutable');
  assert.ok(document.body.components.schemas['io.k8s.api.apps.v1.Deployment']);
  assert.equal((await server.request('GET /openapi/v3/apis/apps/v1?hash=OLD')).status, 301);
  assert.equal((await server.request('GET /openapi/v2')).body.swagger, '2.0');
  const version = (await server.request('GET /version')).body;
  assert.deepEqual([version.major, version.minor], ['1', '36']);
  assert.match(version.gitVersion, /^v1\.36\.0\+capstan/);
  assert.match(
    (await server.request('GET /metrics')).text,
    /apiserver_request_total\{code="200",component="apiserver",[^}]*verb="GET"[^}]*\} \d+/,
  );
  assert.ok((await server.request('GET /')).body.paths.includes('/apis/apps/v1'));
  assert.equal((await server.request('GET /nothing')).status, 404);
});
