/** Plugins that are off by default, PodTopologyLabels, and the file that configures plugins. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import type { Pod, Service } from '#api/types.ts';
import { startWebhookPeer, type PeerAnswer } from '#testing/webhook-peer.ts';
import { FakeInternal } from '../authz/testing/loopback-client.ts';
import { createAuthorization, type Authorization } from '../authz/authorization.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import { startTestServer } from '../testing/server.ts';
import { createAdmission } from './list.ts';
import { alwaysDeny } from './plugins/always.ts';
import { alwaysPullImages } from './plugins/always-pull-images.ts';
import { readAdmissionConfiguration } from './configuration.ts';
import { denyServiceExternalIPs } from './plugins/deny-service-external-ips.ts';
import { eventRateLimit } from './plugins/event-rate-limit.ts';
import { extendedResourceToleration } from './plugins/extended-resource-toleration.ts';
import { imagePolicyWebhook } from './plugins/image-policy-webhook.ts';
import { limitPodHardAntiAffinityTopology } from './plugins/limit-pod-hard-anti-affinity-topology.ts';
import { namespaceAutoProvision, namespaceExists } from './plugins/namespace-existence.ts';
import { ownerReferencesPermissionEnforcement } from './plugins/owner-references-permission-enforcement.ts';
import { podNodeSelector } from './plugins/pod-node-selector.ts';
import { podTolerationRestriction } from './plugins/pod-toleration-restriction.ts';
import { podTopologyLabels } from './plugins/pod-topology-labels.ts';
import { AdmissionBench } from './testing/run-plugins.ts';
import { impliesToleration, mergeTolerations } from './plugins/tolerations.ts';

const NAMESPACES = { group: '', resource: 'namespaces' };
const pod = (spec: Partial<Pod['spec']> = {}, metadata: Pod['metadata'] = {}): Pod => ({
  metadata: { name: 'p', namespace: 'red', ...metadata },
  spec: { containers: [{ name: 'c', image: 'i' }], ...spec },
});

let dir: string;
before(() => void (dir = mkdtempSync(join(tmpdir(), 'capstan-admission-'))));
after(() => rmSync(dir, { recursive: true, force: true }));

test("they are off unless enabled, stand in upstream's places, and say what they miss", () => {
  const authorization = createAuthorization({ internal: new FakeInternal() });
  const names = (options: Partial<Parameters<typeof createAdmission>[0]> = {}): string[] =>
    createAdmission({ authorization, ...options }).map(({ name }) => name);
  assert.ok(!names().includes('AlwaysPullImages') && names().includes('PodTopologyLabels'));
  const enabled = names({
    enabled: ['AlwaysDeny', 'AlwaysPullImages', 'NamespaceAutoProvision', 'PodNodeSelector', 'LimitRanger'],
  });
  assert.deepEqual(
    [enabled[0], ...enabled.slice(-3)],
    ['NamespaceAutoProvision', 'ResourceQuota', 'HierarchicalResourceQuota', 'AlwaysDeny'],
  );
  assert.equal(enabled[enabled.indexOf('AlwaysPullImages') + 1], 'PodSecurity');
  assert.throws(() => names({ enabled: ['Nope'] }), /admission plugin "Nope" is unknown/);
  assert.throws(
    () => names({ enabled: ['AlwaysDeny'], disabled: ['AlwaysDeny'] }),
    /"AlwaysDeny" is both enabled and disabled/,
  );
  assert.throws(
    () => names({ enabled: ['EventRateLimit'] }),
    /admission plugin EventRateLimit needs its configuration/,
  );
  authorization.stop();
});

test('AlwaysPullImages', async () => {
  const bench = new AdmissionBench(alwaysPullImages);
  const made = await bench.run({
    resource: 'pods',
    object: pod({
      containers: [{ name: 'c', image: 'i', imagePullPolicy: 'Never' }],
      initContainers: [{ name: 'i', image: 'i' }],
      volumes: [{ name: 'v', image: { reference: 'r' } }],
    }),
  });
  assert.deepEqual(
    [
      made.spec?.containers[0]?.imagePullPolicy,
      made.spec?.initContainers?.[0]?.imagePullPolicy,
      made.spec?.volumes?.[0]?.image?.pullPolicy,
    ],
    ['Always', 'Always', 'Always'],
  );
  const old = pod({ containers: [{ name: 'c', image: 'i', imagePullPolicy: 'IfNotPresent' }] });
  assert.equal(
    (await bench.run({ operation: 'UPDATE', resource: 'pods', object: old, oldObject: old })).spec
      ?.containers[0]?.imagePullPolicy,
    'IfNotPresent',
  );
});

test('DenyServiceExternalIPs', async () => {
  const bench = new AdmissionBench(denyServiceExternalIPs);
  const service = (...externalIPs: string[]): Service => ({
    metadata: { name: 's', namespace: 'red' },
    spec: { externalIPs },
  });
  await bench.run({ resource: 'services', object: service() });
  await assert.rejects(bench.run({ resource: 'services', object: service('1.1.1.1') }), {
    message: 'services "s" is forbidden: Use of external IPs is denied by admission control',
  });
  await bench.run({
    operation: 'UPDATE',
    resource: 'services',
    object: service('1.1.1.1'),
    oldObject: service('1.1.1.1', '2.2.2.2'),
  });
  await assert.rejects(
    bench.run({
      operation: 'UPDATE',
      resource: 'services',
      object: service('3.3.3.3'),
      oldObject: service('1.1.1.1'),
    }),
    /external IPs is denied/,
  );
});

test('EventRateLimit', async () => {
  let nowMs = 0;
  const bench = new AdmissionBench(
    eventRateLimit(
      [
        { type: 'Namespace', qps: 1, burst: 2 },
        { type: 'User', qps: 100, burst: 100 },
        { type: 'SourceAndObject', qps: 1, burst: 1, cacheSize: 1 },
      ],
      () => nowMs,
    ),
  );
  const event = (namespace: string, name: string): Promise<unknown> =>
    bench.run({
      resource: 'events',
      object: {
        metadata: { name: 'e', namespace },
        involvedObject: { kind: 'Pod', name },
        source: { component: 'me' },
      },
    });
  await event('red', 'a');
  await event('red', 'b');
  await assert.rejects(event('red', 'b'), (error: { message: string; code: number }) => {
    assert.equal(
      error.message,
      'Too many requests: [limit reached on type Namespace for key red, limit reached on type SourceAndObject for key mePodb]',
    );
    return error.code === 429;
  });
  await event('blue', 'c');
  nowMs = 1000;
  await event('red', 'd');
  await bench.run({
    resource: 'events',
    dryRun: true,
    object: { metadata: { name: 'e', namespace: 'red' } },
  });
});

test('ExtendedResourceToleration', async () => {
  const bench = new AdmissionBench(extendedResourceToleration);
  const made = await bench.run({
    resource: 'pods',
    object: pod({
      containers: [
        { name: 'c', resources: { requests: { 'example.com/gpu': '1', cpu: '1', 'kubernetes.io/x': '1' } } },
      ],
    }),
  });
  assert.deepEqual(made.spec?.tolerations, [
    { key: 'example.com/gpu', operator: 'Exists', effect: 'NoSchedule' },
  ]);
  // A wider one is the pod's own, and stays.
  const wide = { key: 'example.com/gpu', operator: 'Exists' } as const;
  const own = await bench.run({
    resource: 'pods',
    object: pod({
      tolerations: [wide],
      containers: [{ name: 'c', resources: { requests: { 'example.com/gpu': '1' } } }],
    }),
  });
  assert.deepEqual(own.spec?.tolerations, [wide, { ...wide, effect: 'NoSchedule' }]);
  assert.deepEqual(
    (await bench.run({ operation: 'UPDATE', resource: 'pods', object: own, oldObject: own })).spec
      ?.tolerations,
    own.spec?.tolerations,
  );
});

test('LimitPodHardAntiAffinityTopology', async () => {
  const bench = new AdmissionBench(limitPodHardAntiAffinityTopology);
  const spread = (topologyKey: string): Promise<unknown> =>
    bench.run({
      resource: 'pods',
      object: pod({
        affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey }] } },
      }),
    });
  await spread('kubernetes.io/hostname');
  await assert.rejects(
    spread('zone'),
    /has TopologyKey zone but only key kubernetes.io\/hostname is allowed/,
  );
});

test('NamespaceAutoProvision, NamespaceExists, AlwaysDeny', async () => {
  const bench = new AdmissionBench(namespaceAutoProvision, namespaceExists);
  const map = { resource: 'configmaps', object: { metadata: { name: 'a', namespace: 'new' } } };
  await assert.rejects(bench.run({ ...map, dryRun: true }), { message: 'namespaces "new" not found' });
  await bench.run(map);
  assert.ok(bench.internal.get(NAMESPACES, { name: 'new' }));
  await assert.rejects(new AdmissionBench(alwaysDeny).run(map), {
    message: 'configmaps "a" is forbidden: admission control is denying all modifications',
  });
});

test('PodNodeSelector', async () => {
  const bench = new AdmissionBench(
    podNodeSelector({ clusterDefaultNodeSelector: { pool: 'common' }, red: { disk: 'ssd', pool: 'common' } }),
  );
  bench.internal.put(NAMESPACES, { metadata: { name: 'red' } });
  bench.internal.put(NAMESPACES, {
    metadata: {
      name: 'blue',
      annotations: { 'scheduler.alpha.kubernetes.io/node-selector': 'pool=blue, zone = a' },
    },
  });
  const place = async (namespace: string, nodeSelector?: Record<string, string>): Promise<unknown> =>
    (await bench.run({ resource: 'pods', object: pod(nodeSelector ? { nodeSelector } : {}, { namespace }) }))
      .spec?.nodeSelector;
  assert.deepEqual(await place('red', { disk: 'ssd' }), { disk: 'ssd', pool: 'common' });
  assert.deepEqual(await place('blue'), { pool: 'blue', zone: 'a' });
  await assert.rejects(
    place('red', { pool: 'other' }),
    /pod node label selector conflicts with its namespace node label selector/,
  );
  await assert.rejects(
    place('red', { gpu: 'yes' }),
    /pod node label selector labels conflict with its namespace whitelist/,
  );
});

test('PodTolerationRestriction', async () => {
  const bench = new AdmissionBench(
    podTolerationRestriction({
      default: [{ key: 'cluster', operator: 'Exists' }],
      whitelist: [
        { key: 'cluster', operator: 'Exists' },
        { operator: 'Exists', effect: 'NoSchedule' },
      ],
    }),
  );
  bench.internal.put(NAMESPACES, { metadata: { name: 'red' } });
  bench.internal.put(NAMESPACES, {
    metadata: {
      name: 'blue',
      annotations: {
        'scheduler.alpha.kubernetes.io/defaultTolerations':
          '[{"key":"own","operator":"Exists","effect":"NoSchedule"}]',
        'scheduler.alpha.kubernetes.io/tolerationsWhitelist': '[]',
      },
    },
  });
  assert.deepEqual((await bench.run({ resource: 'pods', object: pod() })).spec?.tolerations, [
    { key: 'cluster', operator: 'Exists' },
  ]);
  const burstable = await bench.run({
    resource: 'pods',
    object: pod(
      { containers: [{ name: 'c', resources: { requests: { cpu: '1' } } }] },
      { namespace: 'blue' },
    ),
  });
  assert.deepEqual(
    burstable.spec?.tolerations?.map(({ key }) => key),
    ['own', 'node.kubernetes.io/memory-pressure'],
  );
  await assert.rejects(
    bench.run({
      resource: 'pods',
      object: pod({ tolerations: [{ key: 'x', operator: 'Exists', effect: 'NoExecute' }] }),
    }),
    /conflict with its cluster whitelist/,
  );
  bench.internal.put(NAMESPACES, {
    metadata: {
      name: 'green',
      annotations: {
        'scheduler.alpha.kubernetes.io/tolerationsWhitelist': '[{"key":"own","operator":"Exists"}]',
      },
    },
  });
  await assert.rejects(
    bench.run({
      resource: 'pods',
      object: pod({ tolerations: [{ key: 'x', operator: 'Exists' }] }, { namespace: 'green' }),
    }),
    /conflict with its namespace whitelist/,
  );
  assert.ok(
    !impliesToleration(
      { key: 'a', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 5 },
      { key: 'a', operator: 'Exists', effect: 'NoExecute' },
    ),
  );
  assert.deepEqual(
    mergeTolerations([{ key: 'a', operator: 'Equal', value: 'b' }], [{ operator: 'Exists' }]),
    [{ operator: 'Exists' }],
  );
});

test('PodTopologyLabels', async () => {
  const bench = new AdmissionBench(podTopologyLabels);
  const labels = { 'topology.kubernetes.io/zone': 'z', 'topology.kubernetes.io/region': 'r', other: 'o' };
  bench.internal.put({ group: '', resource: 'nodes' }, { metadata: { name: 'n', labels } });
  const binding = await bench.run<KubeObject>({
    resource: 'pods/binding',
    object: {
      kind: 'Binding',
      metadata: { name: 'p', namespace: 'red' },
      target: { kind: 'Node', name: 'n' },
    },
  });
  assert.deepEqual(binding.metadata?.labels, {
    'topology.kubernetes.io/zone': 'z',
    'topology.kubernetes.io/region': 'r',
  });
  assert.deepEqual(
    (await bench.run({ resource: 'pods', object: pod({ nodeName: 'n' }, { labels: { mine: '1' } }) }))
      .metadata?.labels,
    { mine: '1', ...binding.metadata?.labels },
  );
  assert.equal(
    (await bench.run({ resource: 'pods', object: pod({ nodeName: 'gone' }) })).metadata?.labels,
    undefined,
  );
});

test('OwnerReferencesPermissionEnforcement, in a server', async () => {
  const asked: string[] = [];
  const allowed = new Set<string>();
  const authorize = ({
    user,
    verb,
    resource,
    subresource,
    name,
  }: AuthorizationAttributes): { decision: 'allow' | 'no-opinion'; reason: string } => {
    const question = `${verb} ${resource}${subresource ? `/${subresource}` : ''} ${name}`;
    if (user.name !== 'jane' || verb === 'create') return { decision: 'allow', reason: '' };
    asked.push(question);
    return { decision: allowed.has(question) ? 'allow' : 'no-opinion', reason: 'nobody said so' };
  };
  const server = await startTestServer({
    authorization: () => ({ authorize }) as never,
    admission: () => [ownerReferencesPermissionEnforcement()],
  });
  try {
    await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
    const user = { name: 'jane', groups: [] };
    const owner = {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      name: 'r',
      uid: 'u',
      blockOwnerDeletion: true,
    };
    const create = (reference: object): Promise<{ status: number; body: { message?: string } }> =>
      server.request('POST /api/v1/namespaces/default/configmaps', {
        user,
        body: { metadata: { name: 'a', ownerReferences: [reference] } },
      });
    assert.match(
      (await create(owner)).body.message ?? '',
      /cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: nobody said so, <nil>/,
    );
    assert.match(
      (await create({ ...owner, kind: 'Nothing' })).body.message ?? '',
      /cannot find RESTMapping for APIVersion apps\/v1 Kind Nothing/,
    );
    allowed.add('update replicasets/finalizers r');
    assert.equal((await create(owner)).status, 201);
    assert.ok(
      asked.includes('update replicasets/finalizers r') && !asked.includes('delete configmaps a'),
      'whoever makes it need not be allowed to delete it',
    );
    const change = (): Promise<{ status: number; body: { message?: string } }> =>
      server.request('PUT /api/v1/namespaces/default/configmaps/a', {
        user,
        body: { metadata: { name: 'a', ownerReferences: [{ ...owner, uid: 'v' }] } },
      });
    allowed.add('update configmaps a');
    assert.match(
      (await change()).body.message ?? '',
      /configmaps "a" is forbidden: cannot set an ownerRef on a resource you can't delete: nobody said so, <nil>/,
    );
    allowed.add('delete configmaps a');
    assert.equal((await change()).status, 200);
  } finally {
    await server.stop();
  }
});

describe('ImagePolicyWebhook', () => {
  test('asks by ImageReview, remembers, refuses; defaultAllow decides when nobody answers', async () => {
    let answer: PeerAnswer = { body: { status: { allowed: true } } };
    const peer = await startWebhookPeer(() => answer);
    try {
      const bench = new AdmissionBench(
        imagePolicyWebhook({ kubeConfigFile: peer.kubeconfig, defaultAllow: false, retryBackoffMs: 1 }),
      );
      const run = (image: string): Promise<unknown> =>
        bench.run({
          resource: 'pods',
          object: pod(
            { containers: [{ name: 'c', image }] },
            { annotations: { 'my.image-policy.k8s.io/break-glass': 'yes', other: 'x' } },
          ),
        });
      await run('one');
      await run('one');
      assert.deepEqual(
        peer.calls.map(({ body }) => (body as { spec: unknown }).spec),
        [
          {
            containers: [{ image: 'one' }],
            annotations: { 'my.image-policy.k8s.io/break-glass': 'yes' },
            namespace: 'red',
          },
        ],
      );
      answer = { body: { status: { allowed: false, reason: 'no such image' } } };
      await assert.rejects(run('two'), {
        message:
          'pods "p" is forbidden: image policy webhook backend denied one or more images: no such image',
      });
      answer = { status: 400 };
      await assert.rejects(run('three'), /the server answered 400/);
      const open = new AdmissionBench(
        imagePolicyWebhook({ kubeConfigFile: peer.kubeconfig, defaultAllow: true, retryBackoffMs: 1 }),
      );
      await open.run({ resource: 'pods', object: pod() });
    } finally {
      await peer.stop();
    }
  });
});

describe('AdmissionConfiguration', () => {
  const write = (name: string, content: unknown): string => {
    const path = join(dir, name);
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const configured = (...plugins: object[]): string =>
    write('admission.yaml', {
      apiVersion: 'apiserver.config.k8s.io/v1',
      kind: 'AdmissionConfiguration',
      plugins,
    });

  test('reads every section, in place and from files beside it', () => {
    write(
      'limits.yaml',
      'apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits:\n- {type: Server, qps: 50, burst: 100}\n',
    );
    const read = readAdmissionConfiguration(
      configured(
        { name: 'EventRateLimit', path: 'limits.yaml' },
        {
          name: 'PodSecurity',
          configuration: {
            apiVersion: 'pod-security.admission.config.k8s.io/v1',
            kind: 'PodSecurityConfiguration',
            defaults: { enforce: 'baseline', 'enforce-version': 'v1.30' },
            exemptions: { namespaces: ['kube-system'] },
          },
        },
        {
          name: 'PodNodeSelector',
          configuration: {
            podNodeSelectorPluginConfig: { clusterDefaultNodeSelector: 'a=1', red: 'b=2,c=' },
          },
        },
        {
          name: 'PodTolerationRestriction',
          configuration: {
            apiVersion: 'podtolerationrestriction.admission.k8s.io/v1alpha1',
            kind: 'Configuration',
            default: [{ key: 'a', operator: 'Exists' }],
          },
        },
        {
          name: 'ImagePolicyWebhook',
          configuration: {
            imagePolicy: {
              kubeConfigFile: 'image.kubeconfig',
              allowTTL: 50,
              denyTTL: -1,
              retryBackoff: 500,
              defaultAllow: true,
            },
          },
        },
        {
          name: 'ResourceQuota',
          configuration: {
            apiVersion: 'apiserver.config.k8s.io/v1',
            kind: 'ResourceQuotaConfiguration',
            limitedResources: [
              {
                resource: 'pods',
                matchScopes: [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }],
              },
            ],
          },
        },
      ),
    );
    assert.deepEqual(read.eventRateLimit, [{ type: 'Server', qps: 50, burst: 100 }]);
    assert.deepEqual(
      [
        read.podSecurity?.defaults?.enforce,
        read.podSecurity?.defaults?.warn?.level,
        read.podSecurity?.exemptions?.namespaces,
      ],
      [{ level: 'baseline', version: 'v1.30' }, 'privileged', ['kube-system']],
    );
    assert.deepEqual(read.podNodeSelector, {
      clusterDefaultNodeSelector: { a: '1' },
      red: { b: '2', c: '' },
    });
    assert.deepEqual(read.podTolerationRestriction?.default, [{ key: 'a', operator: 'Exists' }]);
    assert.deepEqual(read.imagePolicy, {
      kubeConfigFile: join(dir, 'image.kubeconfig'),
      allowTtlMs: 50_000,
      denyTtlMs: 0,
      retryBackoffMs: 500,
      defaultAllow: true,
    });
    assert.deepEqual(read.resourceQuota?.limitedResources?.[0]?.matchScopes, [
      { scopeName: 'PriorityClass', operator: 'In', values: ['high'] },
    ]);
  });

  const wrong: readonly { readonly name: string; readonly plugins: object[]; readonly says: RegExp }[] = [
    {
      name: 'another plugin',
      plugins: [{ name: 'LimitRanger', configuration: {} }],
      says: /plugins\[0\]\.name is "LimitRanger", which takes no configuration here/,
    },
    {
      name: 'twice',
      plugins: [
        { name: 'PodNodeSelector', configuration: { podNodeSelectorPluginConfig: {} } },
        { name: 'PodNodeSelector', configuration: {} },
      ],
      says: /plugins\[1\]\.name is "PodNodeSelector" a second time/,
    },
    {
      name: 'an unknown field',
      plugins: [{ name: 'PodNodeSelector', configuration: { x: 1 } }],
      says: /plugins\[0\]\.configuration: strict decoding error: unknown field "x"/,
    },
    {
      name: 'an unknown level',
      plugins: [
        {
          name: 'PodSecurity',
          configuration: {
            apiVersion: 'pod-security.admission.config.k8s.io/v1',
            kind: 'PodSecurityConfiguration',
            defaults: { warn: 'strict' },
          },
        },
      ],
      says: /defaults\.warn is "strict"; it should be one of privileged/,
    },
    {
      name: 'no configuration',
      plugins: [{ name: 'PodSecurity' }],
      says: /plugins\[0\]\.configuration is required, or path/,
    },
    {
      name: 'a file that is not there',
      plugins: [{ name: 'PodSecurity', path: 'gone.yaml' }],
      says: /gone\.yaml cannot be read/,
    },
    {
      name: 'a rate of nothing',
      plugins: [
        {
          name: 'EventRateLimit',
          configuration: {
            apiVersion: 'eventratelimit.admission.k8s.io/v1alpha1',
            kind: 'Configuration',
            limits: [{ type: 'Server', qps: 0, burst: 1 }],
          },
        },
      ],
      says: /limits\[0\]\.qps is 0; it must be positive/,
    },
  ];
  for (const { name, plugins, says } of wrong)
    test(`refuses ${name}`, () =>
      assert.throws(() => readAdmissionConfiguration(configured(...plugins)), says));
  test('refuses another kind, and no YAML', () => {
    assert.throws(
      () => readAdmissionConfiguration(write('kind.yaml', { apiVersion: 'v1', kind: 'Pod' })),
      /no kind "Pod" is registered for version "v1"; it should be AdmissionConfiguration/,
    );
    assert.throws(() => readAdmissionConfiguration(write('bad.yaml', 'a: [')), /is not valid YAML/);
  });

  test('limited resources need a quota that speaks of them', async () => {
    let authorization: Authorization | undefined;
    const limitedResources = [
      { resource: 'pods', matchScopes: [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }] },
      { resource: 'persistentvolumeclaims', matchContains: ['gold.storageclass'] },
    ];
    const server = await startTestServer({
      authorization: ({ internal }) => (authorization = createAuthorization({ internal })).authorizer,
      admission: () =>
        createAdmission({
          authorization: authorization!,
          disabled: ['ServiceAccount'],
          configuration: { resourceQuota: { limitedResources } },
        }),
    });
    try {
      await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
      await server.request('POST /apis/scheduling.k8s.io/v1/priorityclasses', {
        body: { metadata: { name: 'high' }, value: 9 },
      });
      const create = (name: string, priorityClassName?: string): ReturnType<typeof server.request> =>
        server.request('POST /api/v1/namespaces/default/pods', {
          body: {
            metadata: { name },
            spec: {
              containers: [{ name: 'c', image: 'i' }],
              ...(priorityClassName ? { priorityClassName } : {}),
            },
          },
        });
      assert.equal((await create('low')).status, 201);
      assert.match(
        (await create('high', 'high')).body.message,
        /insufficient quota to match these scopes: \[\{PriorityClass In \[high\]\}\]/,
      );
      const claim = await server.request('POST /api/v1/namespaces/default/persistentvolumeclaims', {
        body: {
          metadata: { name: 'c' },
          spec: {
            storageClassName: 'gold',
            accessModes: ['ReadWriteOnce'],
            resources: { requests: { storage: '1Gi' } },
          },
        },
      });
      assert.match(
        claim.body.message,
        /insufficient quota to consume: gold\.storageclass\.storage\.k8s\.io\/persistentvolumeclaims,gold\.storageclass\.storage\.k8s\.io\/requests\.storage/,
      );
      await server.request('POST /api/v1/namespaces/default/resourcequotas', {
        body: {
          metadata: { name: 'q' },
          spec: {
            hard: { pods: '1' },
            scopeSelector: {
              matchExpressions: [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }],
            },
          },
        },
      });
      await server.request('PATCH /api/v1/namespaces/default/resourcequotas/q/status', {
        body: { status: { hard: { pods: '1' }, used: { pods: '0' } } },
        headers: { 'content-type': 'application/merge-patch+json' },
      });
      assert.equal((await create('high', 'high')).status, 201);
    } finally {
      authorization?.stop();
      await server.stop();
    }
  });
});
