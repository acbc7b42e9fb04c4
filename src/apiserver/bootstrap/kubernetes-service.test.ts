/** The Service default/kubernetes comes back when it is deleted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../testing/server.ts';

const IN_DEFAULT = 'namespaces/default';
const PATHS = [
  `/api/v1/${IN_DEFAULT}/services`,
  `/api/v1/${IN_DEFAULT}/endpoints`,
  `/apis/discovery.k8s.io/v1/${IN_DEFAULT}/endpointslices`,
];

test('the kubernetes Service, its Endpoints and its EndpointSlice are created again when they are deleted', async () => {
  const { server, request, watch, stop } = await startTestServer({
    bootstrapObjects: true,
    advertiseAddress: { ip: '192.0.2.7', port: 6443 },
  });
  try {
    await server.ready();
    for (const path of PATHS) {
      const before = (await request(`GET ${path}/kubernetes`)).body;
      const { resourceVersion } = before.metadata;
      const events = await watch(`${path}?watch=1&resourceVersion=${resourceVersion}`);
      assert.equal((await request(`DELETE ${path}/kubernetes`)).status, 200, path);
      assert.equal((await events.next()).type, 'DELETED', path);
      const { type, object } = await events.next();
      assert.equal(type, 'ADDED', path);
      assert.notEqual(object.metadata?.uid, before.metadata.uid, path);
      for (const field of ['spec', 'subsets', 'endpoints', 'ports'])
        assert.deepEqual(object[field], before[field], `${path} ${field}`);
      events.close();
    }
  } finally {
    await stop();
  }
});
