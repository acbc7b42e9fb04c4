import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../testing/server.ts';

for (const cbor of [false, true]) {
  test(`documents ${cbor ? 'name' : 'do not name'} CBOR where it is ${cbor ? '' : 'not '}spoken, and only what is served`, async () => {
    const server = await startTestServer({ cbor });
    try {
      const [v2, v3, index] = await Promise.all(
        ['/openapi/v2', '/openapi/v3/api/v1', '/openapi/v3'].map((path) => server.request(`GET ${path}`)),
      );
      for (const { text, body } of [v2!, v3!]) {
        assert.equal(/"application\/(?:apply-patch\+)?cbor/.test(text), cbor);
        assert.equal(body.info.version, '1.36');
        assert.deepEqual(
          Object.keys(body.paths).filter((path) => path.startsWith('/logs')),
          [],
        );
      }
      assert.equal(index!.body.paths.logs, undefined);
      for (const path of ['/openapi/v3/', '/openapi/v3/logs'])
        assert.equal((await server.request(`GET ${path}`)).status, 404, path);
      const { serverRelativeURL } = index!.body.paths['api/v1'];
      assert.equal((await server.request(`GET ${serverRelativeURL}`)).status, 200);
      const wire = await server.request('GET /openapi/v3/api/v1', {
        headers: { accept: 'application/com.github.proto-openapi.spec.v3@v1.0+protobuf' },
      });
      assert.deepEqual(
        [wire.headers['content-type'], wire.headers['etag']],
        ['application/com.github.proto-openapi.spec.v3.v1.0+protobuf', v3!.headers['etag']],
      );
    } finally {
      await server.stop();
    }
  });
}
