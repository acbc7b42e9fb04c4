import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Stored } from '#machinery/object.ts';
import { compileGateways, type CompiledGateways, type GatewayInput } from './compile-gateway.ts';
import { GATEWAY_CONTROLLER, type Gateway, type GatewayListener } from './gateway-api.ts';
import { gatewayStatus, routeParents } from './gateway-status.ts';
import { intersectHostnames } from './hostnames.ts';
import { mergeModels } from './model.ts';
import { isSafeRegex } from './words.ts';

let count = 0;
function stored(name: string, { namespace = 'infra', ...spec }: Record<string, unknown> = {}): never {
  count += 1;
  const creationTimestamp = `2026-01-01T00:00:${String(count % 60).padStart(2, '0')}Z`;
  return { metadata: { name, namespace, uid: name, generation: 1, creationTimestamp }, spec } as never;
}

const gateway = (name: string, ...listeners: object[]): never =>
  stored(name, { gatewayClassName: 'capstan', listeners });
const http = (name: string, more: Partial<GatewayListener> = {}): object => ({
  name,
  port: 80,
  protocol: 'HTTP',
  ...more,
});
const backend = (name: string, more: object = {}): object => ({ name, port: 80, ...more });
const route = (name: string, more: Record<string, unknown> = {}): never =>
  stored(name, { parentRefs: [{ name: 'gw' }], rules: [{ backendRefs: [backend('web')] }], ...more });

function compile(more: Record<string, unknown>): CompiledGateways {
  const service = {
    spec: {
      ports: [
        { name: 'http', port: 80 },
        { name: 'h2', port: 81, appProtocol: 'kubernetes.io/h2c' },
      ],
    },
  };
  const services = new Set(['infra/web', 'infra/other', 'apps/web']);
  return compileGateways({
    classes: [{ metadata: { name: 'capstan' }, spec: { controllerName: GATEWAY_CONTROLLER } }],
    gateways: [gateway('gw', http('http'))],
    httpRoutes: [],
    grpcRoutes: [],
    tlsRoutes: [],
    grants: [],
    taken: new Map(),
    namespace: (name: string) => ({ metadata: { name, labels: { team: name } } }),
    service: (key: string) => (services.has(key) ? service : undefined),
    slices: () => [{ ports: [{ name: 'http', port: 8080 }], endpoints: [{ addresses: ['192.0.2.1'] }] }],
    secret: () => undefined,
    ...more,
  } as unknown as GatewayInput);
}

const accepted = ({ parents }: CompiledGateways): (string | undefined)[] =>
  parents.map((one) => one.accepted?.reason);
const resolved = ({ parents }: CompiledGateways): (string | undefined)[] =>
  parents.map((one) => one.resolvedRefs?.reason);

describe('hostnames', () => {
  for (const [a, b, wanted] of [
    ['', '', ''],
    ['a.example.org', '', 'a.example.org'],
    ['', '*.example.org', '*.example.org'],
    ['*.example.org', 'a.b.example.org', 'a.b.example.org'],
    ['*.example.org', 'example.org', undefined],
    ['*.example.org', '*.a.example.org', '*.a.example.org'],
    ['*.a.example.org', '*.a.example.org', '*.a.example.org'],
    ['*.example.org', 'badexample.org', undefined],
    ['a.example.org', 'b.example.org', undefined],
  ] as const)
    it(`${a || 'any'} and ${b || 'any'}: ${wanted ?? 'nothing'}`, () => {
      assert.equal(intersectHostnames(a, b), wanted);
      assert.equal(intersectHostnames(b, a), wanted);
    });
});

describe('attachment of routes', () => {
  it('by section, port, kind, namespace and hostname, with the reason of what is not attached', () => {
    const gateways = [
      gateway(
        'gw',
        http('a', { hostname: 'a.example.org' }),
        http('b', {
          port: 8080,
          hostname: '*.b.example.org',
          allowedRoutes: { namespaces: { from: 'All' } },
        }),
        http('c', {
          port: 8081,
          allowedRoutes: { namespaces: { from: 'Selector', selector: { matchLabels: { team: 'apps' } } } },
        }),
        http('d', { port: 8082, allowedRoutes: { kinds: [{ kind: 'GRPCRoute' }] } }),
      ),
    ];
    const parent = (more: object): object => ({ name: 'gw', namespace: 'infra', ...more });
    const attach = (more: Record<string, unknown>): string | undefined =>
      accepted(compile({ gateways, httpRoutes: [route('r', more)] }))[0];
    const at = (parentRef: object, more: Record<string, unknown> = {}): string | undefined =>
      attach({ parentRefs: [parent(parentRef)], ...more });
    assert.equal(at({}), undefined);
    assert.equal(at({ sectionName: 'none' }), 'NoMatchingParent');
    assert.equal(at({ sectionName: 'a', port: 8080 }), 'NoMatchingParent');
    assert.equal(at({ port: 8080 }), undefined);
    assert.equal(at({ sectionName: 'd' }), 'NotAllowedByListeners');
    assert.equal(at({ sectionName: 'a' }, { namespace: 'apps' }), 'NotAllowedByListeners');
    assert.equal(at({ sectionName: 'b' }, { namespace: 'apps' }), undefined);
    assert.equal(at({ sectionName: 'c' }, { namespace: 'apps' }), undefined);
    assert.equal(at({ sectionName: 'c' }, { namespace: 'others' }), 'NotAllowedByListeners');
    assert.equal(at({ sectionName: 'a' }, { hostnames: ['b.example.org'] }), 'NoMatchingListenerHostname');
    assert.equal(at({ sectionName: 'b' }, { hostnames: ['x.b.example.org', 'y.org'] }), undefined);
  });

  it('Gateways of other classes, and other parents, are nothing of ours', () => {
    const parentRefs = [{ name: 'none' }, { name: 'gw', kind: 'Service', group: '' }];
    assert.deepEqual(compile({ httpRoutes: [route('r', { parentRefs })] }).parents, []);
    assert.deepEqual(compile({ classes: [] }).gateways, []);
  });

  it('values that are not supported refuse the route by name; those of others are served', () => {
    const rules = (rule: object): object => ({ rules: [{ backendRefs: [backend('web')], ...rule }] });
    for (const rule of [
      { filters: [{ type: 'RequestMirror', requestMirror: { backendRef: backend('other') } }] },
      { filters: [{ type: 'ExtensionRef' }] },
      { backendRefs: [backend('web', { filters: [{ type: 'RequestHeaderModifier' }] })] },
      { matches: [{ path: { type: 'RegularExpression', value: '/(?<=a)b' } }] },
      { matches: [{ path: { type: 'Exact', value: '/a\nb' } }] },
      { matches: [{ headers: [{ name: 'a#b', value: 'x' }] }] },
    ]) {
      const found = compile({ httpRoutes: [route('bad', rules(rule) as never), route('good')] });
      assert.deepEqual(accepted(found), ['UnsupportedValue', undefined], JSON.stringify(rule));
      assert.equal(found.listeners[0]!.attachedRoutes, 1);
      assert.equal(found.model.listeners[0]!.hosts[0]!.rules.length, 1);
    }
  });
});

describe('references', () => {
  const other = { rules: [{ backendRefs: [backend('web', { namespace: 'apps' })] }] };
  const grant = (to: object, from = 'infra'): never =>
    stored('grant', {
      namespace: 'apps',
      from: [{ group: 'gateway.networking.k8s.io', kind: 'HTTPRoute', namespace: from }],
      to: [{ group: '', kind: 'Service', ...to }],
    });

  it('another namespace needs a ReferenceGrant there', () => {
    const reason = (grants: unknown[]): string | undefined =>
      resolved(compile({ grants, httpRoutes: [route('r', other)] }))[0];
    assert.equal(reason([]), 'RefNotPermitted');
    assert.equal(reason([grant({})]), undefined);
    assert.equal(reason([grant({ name: 'web' })]), undefined);
    assert.equal(reason([grant({ name: 'other' })]), 'RefNotPermitted');
    assert.equal(reason([grant({}, 'others')]), 'RefNotPermitted');
    assert.equal(reason([grant({ kind: 'Secret' })]), 'RefNotPermitted');
  });

  it('what leads nowhere keeps its share of the weight', () => {
    const refs = [backend('web', { weight: 3 }), backend('none', { weight: 2 }), backend('web', { port: 9 })];
    const found = compile({ httpRoutes: [route('r', { rules: [{ backendRefs: refs }] })] });
    assert.deepEqual(accepted(found), [undefined]);
    assert.deepEqual(resolved(found), ['BackendNotFound']);
    const { targets, invalidWeight } = found.model.backends[0]!;
    assert.deepEqual([targets.map(({ weight }) => weight), invalidWeight], [[3], 3]);
    const kind = compile({
      httpRoutes: [route('r', { rules: [{ backendRefs: [backend('x', { kind: 'Pod' })] }] })],
    });
    assert.deepEqual(resolved(kind), ['InvalidKind']);
    assert.equal(compile({ httpRoutes: [route('r', { rules: [{}] })] }).model.backends[0]!.invalidWeight, 1);
  });

  it('protocols by appProtocol; both in one rule are refused', () => {
    const of = (...ports: number[]): CompiledGateways =>
      compile({
        httpRoutes: [route('r', { rules: [{ backendRefs: ports.map((port) => backend('web', { port })) }] })],
      });
    assert.equal(of(81).model.backends[0]!.protocol, 'h2c');
    assert.equal(of(80).model.backends[0]!.protocol, 'http1');
    assert.deepEqual(resolved(of(80, 81)), ['UnsupportedProtocol']);
  });
});

describe('rules', () => {
  const order = (httpRoutes: unknown[], more: object = {}): unknown[] =>
    compile({ httpRoutes, ...more }).model.listeners[0]!.hosts[0]!.rules.map(({ match }) => match);
  const matches = (...some: object[]): Record<string, unknown> => ({
    rules: some.map((match) => ({ matches: [match], backendRefs: [backend('web')] })),
  });

  it('precedence: exact, the longest prefix, method, most headers, most parameters, the older route', () => {
    const path = (type: string, value: string): object => ({ path: { type, value } });
    const headers = [{ name: 'a', value: '1' }];
    const found = order([
      route(
        'one',
        matches(path('RegularExpression', '/r.*'), path('PathPrefix', '/'), path('PathPrefix', '/a')),
      ),
      route(
        'two',
        matches(
          { ...path('PathPrefix', '/a'), headers },
          { ...path('PathPrefix', '/a'), method: 'GET' },
          path('Exact', '/a'),
        ),
      ),
      route('three', matches({ ...path('PathPrefix', '/a'), queryParams: headers })),
    ]);
    const plain = { headers: [], query: [] };
    const values = [{ kind: 'Exact', name: 'a', value: '1' }];
    const prefix = { path: { kind: 'Prefix', value: '/a' }, ...plain };
    assert.deepEqual(found, [
      { path: { kind: 'Exact', value: '/a' }, ...plain },
      { ...prefix, method: 'GET' },
      { ...prefix, headers: values },
      { ...prefix, query: values },
      prefix,
      { path: { kind: 'Prefix', value: '/' }, ...plain },
      { path: { kind: 'Regex', value: '/r.*' }, ...plain },
    ]);
  });

  it('redirects name the scheme and port of the listener, where none are given; rewrites know the prefix', () => {
    const rules = [
      {
        matches: [{ path: { type: 'PathPrefix', value: '/old/' } }],
        filters: [
          {
            type: 'RequestRedirect',
            requestRedirect: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/new' } },
          },
        ],
      },
      { filters: [{ type: 'RequestRedirect', requestRedirect: { scheme: 'https', statusCode: 301 } }] },
    ];
    const gateways = [gateway('gw', http('http', { port: 8080 }))];
    const filters = compile({ gateways, httpRoutes: [route('r', { rules })] }).model.backends.map(
      (one) => one.filters[0],
    );
    assert.deepEqual(filters, [
      {
        kind: 'Redirect',
        redirect: {
          scheme: 'http',
          hostname: undefined,
          port: 8080,
          status: 302,
          path: { kind: 'Prefix', prefix: '/old', value: '/new' },
        },
      },
      {
        kind: 'Redirect',
        redirect: { scheme: 'https', hostname: undefined, port: undefined, status: 301, path: undefined },
      },
    ]);
  });

  it('gRPC methods are paths, over HTTP/2', () => {
    const grpc = (method: object): unknown => {
      const { model } = compile({
        grpcRoutes: [route('r', { rules: [{ matches: [{ method }], backendRefs: [backend('web')] }] })],
      });
      assert.equal(model.backends[0]!.protocol, 'h2c');
      return model.listeners[0]!.hosts[0]!.rules[0]!.match.path;
    };
    assert.deepEqual(grpc({ service: 'a.B', method: 'C' }), { kind: 'Exact', value: '/a.B/C' });
    assert.deepEqual(grpc({ service: 'a.B' }), { kind: 'Prefix', value: '/a.B/' });
    assert.deepEqual(grpc({ method: 'C' }), { kind: 'Regex', value: '/[^/]+/C' });
    assert.deepEqual(grpc({ type: 'RegularExpression', service: 'a.*' }), {
      kind: 'Regex',
      value: '/(?:a.*)/[^/]+',
    });
  });

  it('the shorter of two timeouts; none is none', () => {
    const timeout = (timeouts: object): number | undefined =>
      compile({ httpRoutes: [route('r', { rules: [{ timeouts, backendRefs: [backend('web')] }] })] }).model
        .backends[0]!.timeoutMs;
    assert.equal(timeout({ request: '1m30s', backendRequest: '500ms' }), 500);
    assert.equal(timeout({ request: '0s' }), undefined);
  });
});

describe('listeners', () => {
  const reasons = (gateways: never[], more: object = {}): (string | undefined)[] =>
    compile({ gateways, ...more }).listeners.map(
      ({ accepted: one, conflicted, resolvedRefs }) => (one ?? conflicted ?? resolvedRefs)?.reason,
    );

  it('conflicts of ports: within a Gateway, with an older one, with Ingresses', () => {
    const tls = { protocol: 'TLS', tls: { mode: 'Passthrough' } } as const;
    assert.deepEqual(reasons([gateway('gw', http('a'), http('b'), http('c', { hostname: 'x' }))]), [
      'HostnameConflict',
      'HostnameConflict',
      undefined,
    ]);
    assert.deepEqual(reasons([gateway('gw', http('a'), http('b', { ...tls, hostname: 'x' }))]), [
      'ProtocolConflict',
      'ProtocolConflict',
    ]);
    assert.deepEqual(
      reasons([gateway('one', http('a')), gateway('two', http('b'), http('c', { port: 8080 }))]),
      [undefined, undefined, undefined],
    );
    assert.deepEqual(reasons([gateway('one', http('a')), gateway('two', http('b', tls))]), [
      undefined,
      'PortUnavailable',
    ]);
    assert.deepEqual(
      reasons([gateway('one', http('a', { ...tls, port: 443 }))], { taken: new Map([[443, 'https']]) }),
      ['PortUnavailable'],
    );
  });

  it('what is not supported: protocols, kinds, certificates', () => {
    assert.deepEqual(
      reasons([gateway('gw', http('a', { protocol: 'UDP' }), http('b', { port: 81, protocol: 'TLS' }))]),
      ['UnsupportedProtocol', 'UnsupportedProtocol'],
    );
    const kinds = [{ kind: 'TCPRoute' }, { kind: 'HTTPRoute' }];
    const found = compile({ gateways: [gateway('gw', http('a', { allowedRoutes: { kinds } }))] });
    assert.deepEqual(
      [found.listeners[0]!.resolvedRefs?.reason, found.listeners[0]!.kinds],
      ['InvalidRouteKinds', ['HTTPRoute']],
    );
    const https = (certificateRefs: object[]): object =>
      http('a', { protocol: 'HTTPS', port: 443, tls: { certificateRefs } as never });
    assert.deepEqual(reasons([gateway('gw', https([{ name: 'none' }]))]), ['InvalidCertificateRef']);
    assert.deepEqual(reasons([gateway('gw', https([{ name: 'x', namespace: 'apps' }]))]), [
      'RefNotPermitted',
    ]);
    assert.deepEqual(reasons([gateway('gw', https([{ name: 'x', kind: 'ConfigMap' }]))]), [
      'InvalidCertificateRef',
    ]);
    assert.deepEqual(compile({ gateways: [gateway('gw', https([{ name: 'none' }]))] }).model.listeners, []);
  });

  it('a host of a more specific listener is not served by routes of another', () => {
    const gateways = [gateway('gw', http('any'), http('foo', { hostname: 'foo.example.org' }))];
    const parentRefs = [{ name: 'gw', sectionName: 'any' }];
    const { hosts } = compile({
      gateways,
      httpRoutes: [route('r', { parentRefs, hostnames: ['foo.example.org', 'bar.example.org'] })],
    }).model.listeners[0]!;
    assert.deepEqual(hosts.map(({ hostname, rules }) => [hostname, rules.length]).toSorted(), [
      ['', 0],
      ['bar.example.org', 1],
      ['foo.example.org', 0],
    ]);
  });

  it('passthrough by SNI: of two routes with one name the older has it', () => {
    const gateways = [
      gateway('gw', { name: 'tls', port: 443, protocol: 'TLS', tls: { mode: 'Passthrough' } }),
    ];
    const tlsRoutes = ['one', 'two'].map((name) =>
      route(name, { hostnames: ['a.example.org', `${name}.example.org`] }),
    );
    const { model } = compile({ gateways, tlsRoutes });
    assert.deepEqual(
      model.listeners[0]!.passthrough?.map(({ hostname }) => hostname),
      ['a.example.org', 'one.example.org', 'two.example.org'],
    );
    assert.equal(model.backends[0]!.protocol, 'tcp');
  });
});

it('conditions: what was True keeps its time, reasons are those of Gateway API', () => {
  const compiled = compile({ httpRoutes: [route('r', { rules: [{ backendRefs: [backend('none')] }] })] });
  const gw = compiled.gateways[0] as Stored<Gateway>;
  const summary = (status: {
    readonly conditions?: readonly { type: string; status: string; reason: string }[];
  }): string[] => (status.conditions ?? []).map(({ type, status: is, reason }) => `${type}=${is} ${reason}`);
  const first = gatewayStatus(gw, { compiled, addresses: [], time: 't1' });
  assert.deepEqual(summary(first), ['Accepted=True Accepted', 'Programmed=False AddressNotAssigned']);
  const second = gatewayStatus({ ...gw, status: first }, { compiled, addresses: ['192.0.2.1'], time: 't2' });
  assert.deepEqual(second.addresses, [{ type: 'IPAddress', value: '192.0.2.1' }]);
  assert.deepEqual(
    second.conditions?.map(({ lastTransitionTime }) => lastTransitionTime),
    ['t1', 't2'],
  );
  assert.deepEqual(summary(first.listeners![0]!), [
    'Accepted=True Accepted',
    'Programmed=True Programmed',
    'ResolvedRefs=True ResolvedRefs',
    'Conflicted=False NoConflicts',
  ]);
  const foreign = { parentRef: { name: 'x' }, controllerName: 'example.org/other', conditions: [] };
  const parents = routeParents([foreign], { parents: compiled.parents, generation: 3, time: 't1' });
  assert.deepEqual(parents[0], foreign);
  assert.deepEqual(summary(parents[1]!), ['Accepted=True Accepted', 'ResolvedRefs=False BackendNotFound']);
  assert.equal(parents[1]!.conditions[0]!.observedGeneration, 3);
});

it('models are merged by port and host', () => {
  const one = compile({ httpRoutes: [route('a', { hostnames: ['a.example.org'] })] }).model;
  const other = compile({
    httpRoutes: [route('b', { hostnames: ['a.example.org'] })],
    gateways: [gateway('gw', http('http'), http('more', { port: 8080 }))],
  }).model;
  const merged = mergeModels(one, other);
  assert.deepEqual(
    merged.listeners.map(({ port }) => port),
    [80, 8080],
  );
  assert.equal(
    merged.listeners[0]!.hosts.find(({ hostname }) => hostname === 'a.example.org')!.rules.length,
    2,
  );
});

it('regular expressions that PCRE and RE2 understand alike', () => {
  for (const good of ['/a/[0-9]+', String.raw`/v\d{1,3}\.x`, '(?:a|b)*', '/items/2024/x{2}'])
    assert.ok(isSafeRegex(good), good);
  for (const bad of [
    '(',
    '(?i)a',
    '(?=a)',
    String.raw`\u0041`,
    String.raw`(a)\1`,
    '[]',
    '[[:alpha:]]',
    'a{2000}',
    'a\n',
    'a++',
  ])
    assert.ok(!isSafeRegex(bad), bad);
});
