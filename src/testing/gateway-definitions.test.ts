import assert from 'node:assert/strict';
import { afterEach, beforeEach, it } from 'node:test';
import { gatewayClasses, gateways, grpcRoutes, httpRoutes, tlsRoutes } from '#addons/gateway/gateway-api.ts';
import { GATEWAY_DEFINITIONS, installGatewayDefinitions } from '#addons/gateway/gateway-definitions.ts';
import type { ResourceRef } from '#client/client.ts';
import { customResourceDefinitions } from '#client/refs.ts';
import { realClock } from '#stdx/clock.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

const HTTP_ROUTES = 'httproutes.gateway.networking.k8s.io';
let test: TestApi;
beforeEach(async () => {
  test = await startTestApi();
});
afterEach(() => test.stop());

const install = (): Promise<ReadonlySet<string>> =>
  installGatewayDefinitions({ api: test.api, clock: realClock, signal: new AbortController().signal });

it('have defaults, and refuse what Gateway API refuses', async () => {
  assert.equal((await install()).size, 6);
  const create = (ref: ResourceRef, spec: object): Promise<unknown> =>
    test.api.create(ref, {
      metadata: { name: 'x', ...(ref.namespaced ? { namespace: 'default' } : {}) },
      spec,
    } as never);
  const listener = { name: 'a', port: 80, protocol: 'HTTP' };
  const gateway = (...listeners: object[]): object => ({ gatewayClassName: 'capstan', listeners });
  const rule = (more: object): object => ({ rules: [more] });
  const prefix = { replacePrefixMatch: '/', type: 'ReplacePrefixMatch' };
  const matches = [{ path: { type: 'Exact', value: '/' } }];
  const backendRefs = [{ name: 'web', port: 80 }];
  for (const [ref, spec, message] of [
    [gatewayClasses, { controllerName: 'no-domain' }, /spec\.controllerName/],
    [gateways, gateway(), /spec\.listeners/],
    [gateways, gateway(listener, listener), /Duplicate value/],
    [gateways, gateway(listener, { ...listener, name: 'b' }), /Combination of port, protocol and hostname/],
    [gateways, gateway({ ...listener, tls: {} }), /tls must not be specified|certificateRefs or options/],
    [
      gateways,
      gateway({ ...listener, protocol: 'HTTPS', tls: { mode: 'Passthrough' } }),
      /tls mode must be Terminate/,
    ],
    [gateways, gateway({ ...listener, hostname: '192.0.2.*' }), /spec\.listeners\[0\]\.hostname/],
    [httpRoutes, rule({ matches: [{ path: { value: '/a//b' } }] }), /must not contain '\/\/'/],
    [httpRoutes, rule({ matches: [{ path: { value: '/a/..' } }] }), /must not end with/],
    [httpRoutes, rule({ filters: [{ type: 'URLRewrite' }] }), /filter\.urlRewrite must be specified/],
    [
      httpRoutes,
      rule({ filters: [{ type: 'RequestRedirect', requestRedirect: {} }], backendRefs }),
      /must not be used together/,
    ],
    [
      httpRoutes,
      rule({ matches, filters: [{ type: 'URLRewrite', urlRewrite: { path: prefix } }] }),
      /exactly one PathPrefix/,
    ],
    [httpRoutes, rule({ backendRefs: [{ name: 'web' }] }), /Must have port/],
    [httpRoutes, rule({ timeouts: { request: '1s', backendRequest: '2s' } }), /cannot be longer/],
    [httpRoutes, rule({ timeouts: { request: '1 second' } }), /timeouts\.request/],
    [grpcRoutes, rule({ matches: [{ method: {} }] }), /One or both of/],
    [tlsRoutes, { hostnames: ['a.example.org'] }, /spec\.rules: Required/],
  ] as const)
    await assert.rejects(create(ref as ResourceRef, spec), message, JSON.stringify(spec));
  await create(httpRoutes, { parentRefs: [{ name: 'edge' }], rules: [{ backendRefs }] });
  const { spec } = await test.api.get(httpRoutes, { name: 'x', namespace: 'default' });
  assert.deepEqual(spec, {
    parentRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'edge' }],
    rules: [
      {
        matches: [{ path: { type: 'PathPrefix', value: '/' } }],
        backendRefs: [{ group: '', kind: 'Service', name: 'web', port: 80, weight: 1 }],
      },
    ],
  });
});

it("an administrator's stay, and none of ours come beside them", async () => {
  const { metadata, spec } = GATEWAY_DEFINITIONS.find((one) => one.metadata?.name === HTTP_ROUTES)!;
  const [version] = spec!.versions!;
  await test.api.create(customResourceDefinitions, {
    metadata: { name: HTTP_ROUTES, annotations: { ...metadata?.annotations } },
    spec: { ...spec!, versions: [{ ...version!, name: 'v1beta1' }] },
  });
  assert.deepEqual([...(await install())], [], 'v1 is not served');
  const { items } = await test.api.list(customResourceDefinitions);
  assert.deepEqual(
    items.map(({ spec: found }) => found?.versions?.map(({ name }) => name)),
    [['v1beta1']],
  );
});

it('ours are written again, until somebody changes one', async () => {
  await install();
  const shortNames = async (): Promise<unknown> =>
    (await test.api.get(customResourceDefinitions, { name: HTTP_ROUTES })).spec?.names?.shortNames;
  await test.api.patch(
    customResourceDefinitions,
    { name: HTTP_ROUTES },
    { type: 'merge', patch: { spec: { names: { shortNames: ['hr'] } } }, fieldManager: 'kubectl-edit' },
  );
  assert.equal((await install()).size, 6);
  assert.deepEqual(await shortNames(), ['hr']);
});
