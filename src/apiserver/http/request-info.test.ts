import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseQuery, parseRequestInfo, queryValues } from './request-info.ts';

const CASES: readonly (readonly [request: string, expected: string])[] = [
  ['GET /api/v1/pods', 'list /v1 pods// ns= name='],
  ['GET /api/v1/namespaces/default/pods?watch=true', 'watch /v1 pods// ns=default name='],
  ['GET /api/v1/namespaces/default/pods?watch=false', 'list /v1 pods// ns=default name='],
  ['GET /api/v1/namespaces/default/pods/web', 'get /v1 pods// ns=default name=web'],
  ['POST /api/v1/namespaces/default/pods', 'create /v1 pods// ns=default name='],
  ['PUT /api/v1/namespaces/default/pods/web/status', 'update /v1 pods/status/ ns=default name=web'],
  ['DELETE /api/v1/namespaces/default/pods', 'deletecollection /v1 pods// ns=default name='],
  ['GET /api/v1/namespaces/default', 'get /v1 namespaces// ns=default name=default'],
  ['GET /api/v1/namespaces', 'list /v1 namespaces// ns= name='],
  ['PUT /api/v1/namespaces/default/finalize', 'update /v1 namespaces/finalize/ ns=default name=default'],
  ['GET /apis/apps/v1/deployments', 'list apps/v1 deployments// ns= name='],
  ['PATCH /apis/apps/v1/namespaces/a/deployments/b/scale', 'patch apps/v1 deployments/scale/ ns=a name=b'],
  ['GET /api/v1/watch/namespaces/default/pods/web', 'watch /v1 pods// ns=default name=web'],
  ['GET /api/v1/pods?fieldSelector=metadata.name%3Dweb', 'list /v1 pods// ns= name=web'],
  [
    'GET /api/v1/pods?fieldSelector=spec.nodeName!=a,metadata.name%3Dweb&watch=1',
    'watch /v1 pods// ns= name=web',
  ],
  ['GET /api/v1/pods?fieldSelector=metadata.name!=web', 'list /v1 pods// ns= name='],
  ['GET /api/v1/pods?fieldSelector=metadata.name%3Dweb,a%3D%3D%3D', 'list /v1 pods// ns= name='],
  ['GET /api/v1/pods?fieldSelector=metadata.name%3Da%2Fb', 'list /v1 pods// ns= name='],
  ['GET /api/v1/pods?fieldSelector=spec.nodeName%3Dx%5C,metadata.name%5C%3Dweb', 'list /v1 pods// ns= name='],
  [
    'GET /api/v1/pods?fieldSelector=metadata.name%3Dweb,metadata.name%3Dother',
    'list /v1 pods// ns= name=other',
  ],
  [
    'DELETE /api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dweb',
    'deletecollection /v1 pods// ns=default name=',
  ],
  ['GET /api/v1/pods?watch=FALSE', 'list /v1 pods// ns= name='],
  ['GET /api/v1/pods?watch=f', 'watch /v1 pods// ns= name='],
  [
    'GET /api/v1/watch/namespaces/default/pods?fieldSelector=metadata.name%3Dweb',
    'watch /v1 pods// ns=default name=',
  ],
  ['DELETE /api/v1/watch/namespaces/default/pods/web', 'watch /v1 pods// ns=default name=web'],
  ['POST /api/v1/proxy/namespaces/default/pods/web/x', 'proxy /v1 pods// ns=default name=web'],
  [
    'GET /api/v1/namespaces/default/services/web/proxy/a/b/',
    'get /v1 services/proxy//a/b/ ns=default name=web',
  ],
  ['GET /api/v1/namespaces/a/services/web/proxy', 'get /v1 services/proxy/ ns=a name=web'],
  ['GET /api/v1/namespaces/a%2Fservices/web/proxy/b%2Fc/d', 'get /v1 services/proxy//b%2Fc/d ns=a name=web'],
  [
    'GET /apis/ext.example.com/v1/namespaces/blue%2Fsecrets/pods',
    'get ext.example.com/v1 secrets// ns=blue name=pods',
  ],
  ['GET /apis/ext.example.com%2fv1%2Fthings', 'list ext.example.com/v1 things// ns= name='],
  ['GET /api/v1/namespaces/a/configmaps/b%252Fc', 'get /v1 configmaps// ns=a name=b%2Fc'],
  [
    'GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Aadmin',
    'get rbac.authorization.k8s.io/v1 clusterroles// ns= name=system:admin',
  ],
];

test('a URL says what is asked for', () => {
  for (const [request, expected] of CASES) {
    const [method = '', url = ''] = request.split(' ');
    const [path = '', query = ''] = url.split('?');
    const info = parseRequestInfo({ method, path, query });
    assert.equal(info.isResourceRequest, true, request);
    assert.equal(
      `${info.verb} ${info.group}/${info.version} ${info.resource}/${info.subresource}/${info.rest} ns=${info.namespace} name=${info.name}`,
      expected,
      request,
    );
  }
});

test('paths that are no resources', () => {
  for (const path of [
    '/',
    '/api',
    '/api/v1',
    '/apis',
    '/apis/apps',
    '/apis/apps/v1',
    '/healthz',
    '/openapi/v2',
    '/%zz',
  ]) {
    const info = parseRequestInfo({ method: 'GET', path, query: '' });
    assert.equal(info.isResourceRequest, false, path);
    assert.equal(info.verb, 'get');
  }
});

test('a query of many parameters is read in one pass, and of too many refused', () => {
  assert.deepEqual(queryValues('a=1&b&a=%32&&a=+', 'a'), ['1', '2', ' ']);
  assert.deepEqual({ ...parseQuery('a=1&b&a=2&=x&%61=3') }, { a: '1', b: '', '': 'x' });
  assert.equal(queryValues('a&'.repeat(450_000), 'a').length, 450_000);
  assert.equal(parseQuery('a&'.repeat(10_000))['a'], '');
  assert.throws(() => parseQuery('a&'.repeat(10_001)), {
    message: 'number of URL query parameters exceeded limit',
  });
});
