/** Upstream's conformance behaviours about discovery and OpenAPI, each a test: with plain requests as they are made, and with the stock kubectl. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { runCommand, until, type CommandResult } from '#testing/cluster.ts';
import { ask, type Answer, type ResourceRef } from '#testing/extension-server.ts';
import { foreignTools } from '#testing/foreign-tools.ts';
import { startSimulatedCluster, type SimulatedCluster } from '#testing/simulated-cluster.ts';

const CRDS: ResourceRef = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};
const aggregated = (version = 'v2'): string =>
  `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;

let cluster: SimulatedCluster;
before(async () => {
  cluster = await startSimulatedCluster({ nodes: 0 });
});
after(() => cluster?.stop());

function get(path: string, { method = 'GET', ...headers }: Record<string, string> = {}): Promise<Answer> {
  return ask({
    url: `${cluster.url}${path}`,
    ca: cluster.pki.ca.certificatePem,
    client: cluster.pki.clients.admin,
    method,
    headers,
  });
}

// oxlint-disable-next-line no-explicit-any
async function json(path: string, headers: Record<string, string> = {}): Promise<any> {
  const { status, text } = await get(path, headers);
  assert.equal(status, 200, `${path}: ${text}`);
  return JSON.parse(text);
}

interface Names {
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
  readonly versions: readonly string[];
  readonly schema?: object;
}

async function define({
  group,
  plural,
  kind,
  versions,
  schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
}: Names): Promise<string> {
  const name = `${plural}.${group}`;
  await cluster.api.create(CRDS, {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural, kind, singular: kind.toLowerCase() },
      versions: versions.map((version, i) => ({
        name: version,
        served: true,
        storage: i === 0,
        schema: { openAPIV3Schema: schema },
      })),
    },
  } as KubeObject);
  await until(`${name} is established`, async () =>
    (
      (await cluster.api.get(CRDS, { name }))['status'] as
        | { conditions?: { type: string; status: string }[] }
        | undefined
    )?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True'),
  );
  return name;
}

describe('aggregated discovery', () => {
  const builtin = [
    'apps',
    'batch',
    'autoscaling',
    'networking.k8s.io',
    'rbac.authorization.k8s.io',
    'storage.k8s.io',
    'apiextensions.k8s.io',
    'apiregistration.k8s.io',
    'admissionregistration.k8s.io',
    'flowcontrol.apiserver.k8s.io',
  ];

  it('interface: built-in resources are all there', async () => {
    const { items } = await json('/apis', { accept: aggregated() });
    for (const group of builtin)
      assert.ok(
        items.some(({ metadata }: { metadata: { name: string } }) => metadata.name === group),
        group,
      );
    const core = await json('/api', { accept: aggregated() });
    assert.deepEqual(
      core.items.map(
        ({ metadata, versions }: { metadata: { name?: string }; versions: { version: string }[] }) => [
          metadata.name ?? '',
          versions.map(({ version }) => version),
        ],
      ),
      [['', ['v1']]],
    );
    assert.ok(
      core.items[0].versions[0].resources.some(({ resource }: { resource: string }) => resource === 'pods'),
    );
  });

  it('accept headers: the first form that is known counts, and is named in the answer', async () => {
    const cases: [string, string][] = [
      [`${aggregated()},${aggregated('v2beta1')},application/json`, aggregated()],
      [`${aggregated('v2beta1')},application/json`, 'application/json'],
      ['application/json', 'application/json'],
      [`application/json;q=0.5,${aggregated()}`, aggregated()],
      [
        'application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json',
        'application/json',
      ],
    ];
    for (const [accept, expected] of cases)
      assert.equal((await get('/apis', { accept })).headers['content-type'], expected, accept);
    assert.doesNotMatch(
      (await get('/apis', { accept: 'application/yaml' })).text,
      /[&*]a1/,
      'YAML without anchors',
    );
    const { headers, text } = await get('/apis', { accept: aggregated() });
    assert.equal(headers['vary'], 'Accept');
    const again = await get('/apis', { accept: aggregated(), 'if-none-match': headers.etag! });
    assert.deepEqual([again.status, again.text], [304, '']);
    const head = await get('/apis', { accept: aggregated(), method: 'HEAD' });
    assert.deepEqual(
      [head.status, head.text, head.headers['content-length']],
      [200, '', String(Buffer.byteLength(text))],
    );
  });

  it('CRDs: a definition appears in both forms, and leaves both', async () => {
    const before = (await get('/apis', { accept: aggregated() })).headers.etag;
    const name = await define({
      group: 'discovered.example.com',
      plural: 'finds',
      kind: 'Find',
      versions: ['v1'],
    });
    const { items } = await json('/apis', { accept: aggregated() });
    const found = items.find(
      ({ metadata }: { metadata: { name: string } }) => metadata.name === 'discovered.example.com',
    );
    assert.deepEqual(
      found.versions.map(
        ({
          version,
          freshness,
          resources,
        }: {
          version: string;
          freshness: string;
          resources: { resource: string }[];
        }) => [version, freshness, resources.map(({ resource }) => resource)],
      ),
      [['v1', 'Current', ['finds']]],
    );
    assert.notEqual((await get('/apis', { accept: aggregated() })).headers.etag, before);
    assert.ok(
      (await json('/apis')).groups.some((group: { name: string }) => group.name === 'discovered.example.com'),
    );
    await cluster.api.delete(CRDS, { name });
    await until(
      'it is gone',
      async () => !(await get('/apis', { accept: aggregated() })).text.includes('discovered.example.com'),
    );
  });
});

describe('discovery', () => {
  it('every group prefers a version it has, and every version has a list with resources in it', async () => {
    for (const { name, preferredVersion, versions } of (await json('/apis')).groups) {
      assert.equal(
        (await json(`/apis/${name}`)).preferredVersion.groupVersion,
        preferredVersion.groupVersion,
      );
      assert.ok(
        versions.some(
          ({ groupVersion }: { groupVersion: string }) => groupVersion === preferredVersion.groupVersion,
        ),
      );
      const list = await json(`/apis/${preferredVersion.groupVersion}`);
      assert.equal(list.groupVersion, preferredVersion.groupVersion);
      assert.ok(list.resources.length > 0);
    }
  });

  it('has definitions of custom resources', async () => {
    assert.ok(
      (await json('/apis')).groups.some(
        ({ name, versions }: { name: string; versions: { version: string }[] }) =>
          name === 'apiextensions.k8s.io' && versions.some(({ version }) => version === 'v1'),
      ),
    );
    assert.ok(
      (await json('/apis/apiextensions.k8s.io')).versions.some(
        ({ groupVersion }: { groupVersion: string }) => groupVersion === 'apiextensions.k8s.io/v1',
      ),
    );
    assert.ok(
      (await json('/apis/apiextensions.k8s.io/v1')).resources.some(
        ({ name }: { name: string }) => name === 'customresourcedefinitions',
      ),
    );
  });

  it('the API groups that conformance names have their resources, with every verb', async () => {
    const everything = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
    const named: Readonly<Record<string, readonly string[]>> = {
      'apiregistration.k8s.io/v1': ['apiservices', 'apiservices/status'],
      'admissionregistration.k8s.io/v1': [
        'mutatingwebhookconfigurations',
        'validatingwebhookconfigurations',
        'validatingadmissionpolicies',
        'validatingadmissionpolicybindings',
      ],
      'flowcontrol.apiserver.k8s.io/v1': [
        'flowschemas',
        'flowschemas/status',
        'prioritylevelconfigurations',
        'prioritylevelconfigurations/status',
      ],
      'certificates.k8s.io/v1': [
        'certificatesigningrequests',
        'certificatesigningrequests/approval',
        'certificatesigningrequests/status',
      ],
      'discovery.k8s.io/v1': ['endpointslices'],
      'networking.k8s.io/v1': [
        'ingresses',
        'ingresses/status',
        'ingressclasses',
        'ipaddresses',
        'servicecidrs',
        'servicecidrs/status',
      ],
      'node.k8s.io/v1': ['runtimeclasses'],
      'storage.k8s.io/v1': ['csistoragecapacities'],
    };
    for (const [gv, names] of Object.entries(named)) {
      const { resources } = await json(`/apis/${gv}`);
      for (const name of names) {
        const found = resources.find((resource: { name: string }) => resource.name === name);
        assert.ok(found, `${gv} ${name}`);
        if (!name.includes('/')) assert.deepEqual(found.verbs, everything, `${gv} ${name}`);
      }
    }
  });

  it('what is off stays off; plain handlers take any method, routes only GET', async () => {
    for (const path of [
      '/logs',
      '/logs/',
      '/logs/kube.log',
      '/apis/none',
      '/apis/apps/v9',
      '/openapi/v3/apis/none/v1',
    ])
      assert.equal((await get(path)).status, 404, path);
    for (const path of [
      '/version',
      '/api',
      '/api/v1',
      '/apis/apps/v1',
      '/openid/v1/jwks',
      '/api/v1/namespaces',
      '/api/v1/namespaces/default',
    ]) {
      for (const method of ['HEAD', 'OPTIONS']) assert.equal((await get(path, { method })).status, 405, path);
    }
    for (const path of [
      '/nope',
      '/apis/nope',
      '/apis/nope/v1/things',
      '/healthz/',
      '/livez/nope',
      '/metrics/',
    ]) {
      const { status, text, headers } = await get(path, { method: 'GET' });
      assert.deepEqual(
        [status, text, headers['content-type']],
        [404, '404 page not found\n', 'text/plain; charset=utf-8'],
        path,
      );
    }
    for (const path of ['/api/v9', '/apis/apps/v9', '/apis/apps/v1/nope'])
      assert.match(
        (await get(path)).text,
        /"message":"the server could not find the requested resource"/,
        path,
      );
    for (const path of [
      '/apis',
      '/apis/apps',
      '/openapi/v2',
      '/openapi/v3',
      '/openapi/v3/apis/apps/v1',
      '/healthz',
      '/livez/ping',
      '/metrics',
    ]) {
      const { status, text, headers } = await get(path, { method: 'HEAD' });
      assert.deepEqual([status, text], [200, ''], path);
      assert.ok(headers['content-type'], path);
    }
    assert.equal((await get('/apis', { method: 'POST' })).status, 200);
    const refused = await get('/api/v1/namespaces', { accept: 'application/xml' });
    assert.deepEqual(
      [refused.status, JSON.parse(refused.text).message],
      [
        406,
        '406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch',
      ],
    );
    const version = await json('/version');
    assert.deepEqual(Object.keys(version).sort(), [
      'buildDate',
      'compiler',
      'emulationMajor',
      'emulationMinor',
      'gitCommit',
      'gitTreeState',
      'gitVersion',
      'goVersion',
      'major',
      'minCompatibilityMajor',
      'minCompatibilityMinor',
      'minor',
      'platform',
    ]);
  });

  it("health has upstream's checks, one by one, and leaves out what it is asked to", async () => {
    const { text } = await get('/readyz?verbose');
    for (const check of [
      'ping',
      'log',
      'etcd',
      'etcd-readiness',
      'informer-sync',
      'poststarthook/rbac/bootstrap-roles',
      'poststarthook/scheduling/bootstrap-system-priority-classes',
      'poststarthook/start-service-ip-repair-controllers',
      'poststarthook/apiservice-registration-controller',
      'autoregister-completion',
      'shutdown',
    ]) {
      assert.match(text, new RegExp(`^\\[\\+\\]${check} ok$`, 'm'));
      assert.deepEqual(
        [(await get(`/readyz/${check}`)).status, (await get(`/readyz/${check}`)).text],
        [200, 'ok'],
        check,
      );
    }
    assert.match(
      (await get('/livez?verbose&exclude=etcd&exclude=none')).text,
      /\[\+\]etcd excluded: ok\n[^]*warn: some health checks cannot be excluded: no matches for "none"/,
    );
  });
});

describe('OpenAPI', () => {
  it('is distinguished by ETags, varies by form, and is cached for ever by hash', async () => {
    for (const [accept, contentType] of [
      ['application/json', 'application/json'],
      [
        'application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
        'application/com.github.proto-openapi.spec.v2.v1.0+protobuf',
      ],
    ] as const) {
      const { headers } = await get('/openapi/v2', { accept });
      assert.deepEqual([headers['content-type'], headers['vary']?.includes('Accept')], [contentType, true]);
      assert.equal((await get('/openapi/v2', { accept, 'if-none-match': headers.etag! })).status, 304);
    }
    assert.equal((await get('/openapi/v2', { accept: 'text/html' })).status, 406);
    const { paths } = await json('/openapi/v3');
    const url = paths['apis/apps/v1'].serverRelativeURL as string;
    const document = await get(url);
    assert.match(document.headers['cache-control'] ?? '', /immutable/);
    assert.equal((await get(url, { 'if-none-match': document.headers.etag! })).status, 304);
    const old = await get('/openapi/v3/apis/apps/v1?hash=OLD');
    assert.deepEqual([old.status, old.headers.location], [301, url]);
    assert.equal((await get('/openapi/v3')).headers['content-type'], 'text/plain; charset=utf-8');
  });

  const definitionOf = async (group: string, version: string, kind: string): Promise<object | undefined> => {
    const { definitions } = await json('/openapi/v2');
    return definitions[`${group.split('.').toReversed().join('.')}.${version}.${kind}`] as object | undefined;
  };

  it('publishes custom resources of several groups, versions and kinds', async () => {
    const all: Names[] = [
      { group: 'one.example.com', plural: 'foos', kind: 'Foo', versions: ['v1', 'v2'] },
      { group: 'two.example.com', plural: 'foos', kind: 'Foo', versions: ['v1'] },
      { group: 'two.example.com', plural: 'bars', kind: 'Bar', versions: ['v1'] },
    ];
    for (const names of all) await define(names);
    for (const { group, kind, versions } of all) {
      for (const version of versions) {
        assert.ok(await definitionOf(group, version, kind), `${group}/${version} ${kind}`);
        const { components } = await json(
          (await json('/openapi/v3')).paths[`apis/${group}/${version}`].serverRelativeURL as string,
        );
        assert.ok(
          Object.keys(components.schemas as object).some((name) => name.endsWith(`.${kind}`)),
          kind,
        );
      }
    }
  });

  it('forgets a version that is no longer served, and follows one that is renamed', async () => {
    const name = await define({
      group: 'moving.example.com',
      plural: 'foos',
      kind: 'Foo',
      versions: ['v1', 'v2'],
    });
    assert.ok(await definitionOf('moving.example.com', 'v2', 'Foo'));
    const version = (of: string, storage: boolean, served = true): object => ({
      name: of,
      served,
      storage,
      schema: { openAPIV3Schema: { type: 'object' } },
    });
    await cluster.api.patch(
      CRDS,
      { name },
      { type: 'merge', patch: { spec: { versions: [version('v1', true), version('v2', false, false)] } } },
    );
    await until('v2 is gone', async () => !(await definitionOf('moving.example.com', 'v2', 'Foo')));
    await cluster.api.patch(
      CRDS,
      { name },
      { type: 'merge', patch: { spec: { versions: [version('v1', true), version('v3', false)] } } },
    );
    await until('v3 is there', async () => definitionOf('moving.example.com', 'v3', 'Foo'));
    assert.ok(await definitionOf('moving.example.com', 'v1', 'Foo'));
  });
});

for (const minor of [35, 32] as const) {
  const tools = foreignTools(minor);
  describe(`kubectl 1.${minor} and custom resources`, { skip: 'missing' in tools && tools.missing }, () =>
    kubectlSuite('missing' in tools ? '' : tools.kubectl, minor),
  );
}

function kubectlSuite(kubectl: string, minor: number): void {
  let home: string;
  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'capstan-kubectl-'));
  });
  after(() => rm(home, { recursive: true, force: true }));
  const run = (...words: string[]): Promise<CommandResult> =>
    runCommand([kubectl, ...words], {
      timeoutMs: 60_000,
      env: { KUBECONFIG: cluster.kubeconfig, HOME: home },
    });
  const ok = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(...words);
    assert.equal(code, 0, `kubectl ${words.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };
  const refused = async (...words: string[]): Promise<string> => {
    const { code, stderr } = await run(...words);
    assert.notEqual(code, 0, words.join(' '));
    return stderr;
  };
  const file = async (name: string, object: object): Promise<string> => {
    const path = join(home, `${name}.json`);
    await writeFile(path, JSON.stringify(object));
    return path;
  };
  const group = `k${minor}.example.com`;
  const object = (kind: string, more: object): object => ({
    apiVersion: `${group}/v1`,
    kind,
    metadata: { name: 'test' },
    ...more,
  });

  it('a validation schema: what fits passes, what does not is refused, all is explained', async () => {
    const schema = {
      type: 'object',
      description: 'Foo CRD for Testing',
      properties: {
        spec: {
          type: 'object',
          description: 'Specification of Foo',
          properties: {
            bars: {
              type: 'array',
              description: 'List of Bars and their specs.',
              items: {
                type: 'object',
                required: ['name'],
                properties: {
                  name: { type: 'string', description: 'Name of Bar.' },
                  age: { type: 'string', description: 'Age of Bar.' },
                  feeling: { type: 'string', enum: ['Great', 'Down'] },
                },
              },
            },
          },
        },
      },
    };
    await define({ group, plural: 'foos', kind: 'Foo', versions: ['v1'], schema });
    const good = await file(
      'good',
      object('Foo', { spec: { bars: [{ name: 'test-bar', age: '10', feeling: 'Great' }] } }),
    );
    for (const verb of ['create', 'apply']) {
      await ok(verb, '-f', good);
      await ok('delete', '-f', good);
    }
    const bad = [
      [object('Foo', { spec: { bars: [{ name: 'x', unknown: 1 }] } }), /unknown field/],
      [object('Foo', { spec: { bars: [{ age: '10' }] } }), /name.*[Rr]equired|missing required field "name"/],
      [
        object('Foo', { spec: { bars: [{ name: 'x', feeling: 'Meh' }] } }),
        /supported values|Unsupported value/,
      ],
    ] as const;
    for (const [body, complaint] of bad) {
      const path = await file('bad', body);
      for (const verb of ['create', 'apply']) assert.match(await refused(verb, '-f', path), complaint);
    }
    assert.match(await ok('explain', `foos.${group}`), /Foo CRD for Testing/);
    assert.match(await ok('explain', `foos.${group}.metadata`), /ObjectMeta/);
    assert.match(await ok('explain', `foos.${group}.spec`), /Specification of Foo/);
    assert.match(await ok('explain', `foos.${group}.spec.bars`), /Name of Bar/);
    assert.match(
      await ok('explain', `foos.${group}.spec.bars`, '--output=plaintext-openapiv2'),
      /List of Bars/,
    );
    assert.match(await refused('explain', `foos.${group}.spec.bars2`), /field "bars2" does not exist/);
  });

  it('unknown fields pass where they are to be kept: at the root, in an object, in an embedded object', async () => {
    await define({
      group,
      plural: 'roots',
      kind: 'Root',
      versions: ['v1'],
      schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
    });
    await define({
      group,
      plural: 'inners',
      kind: 'Inner',
      versions: ['v1'],
      schema: {
        type: 'object',
        description: 'Preserve what is inside',
        properties: {
          spec: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
          status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        },
      },
    });
    await define({
      group,
      plural: 'embeds',
      kind: 'Embed',
      versions: ['v1'],
      schema: {
        type: 'object',
        properties: {
          spec: {
            type: 'object',
            description: 'Holds another object',
            'x-kubernetes-embedded-resource': true,
            'x-kubernetes-preserve-unknown-fields': true,
          },
        },
      },
    });
    const bodies: [string, object][] = [
      ['Root', { a: { b: ['c'] }, dummy: 1 }],
      ['Inner', { spec: { b: [{ c: 'd' }] } }],
      ['Embed', { spec: { apiVersion: 'v1', kind: 'Thing', metadata: { name: 'x' }, more: { d: 1 } } }],
    ];
    for (const [kind, more] of bodies) {
      const path = await file(kind, object(kind, more));
      await ok('create', '-f', path);
      await ok('apply', '-f', path);
      await ok('delete', '-f', path);
      assert.match(await ok('explain', `${kind.toLowerCase()}s.${group}`), new RegExp(`KIND:\\s+${kind}`));
    }
    assert.match(await ok('explain', `inners.${group}`), /DESCRIPTION:\s+Preserve what is inside/);
    assert.match(await ok('explain', `embeds.${group}.spec`), /Holds another object/);
  });
}
