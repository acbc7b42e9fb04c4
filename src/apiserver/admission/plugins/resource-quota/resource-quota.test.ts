import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodSpec, ResourceQuota } from '#api/types.ts';
import { AdmissionBench, type Attempt } from '../../testing/run-plugins.ts';
import { resourceQuota } from './resource-quota.ts';

const QUOTAS = { group: '', resource: 'resourcequotas' };

function quota(
  hard: Record<string, string>,
  changes: { used?: Record<string, string>; spec?: object; name?: string } = {},
): ResourceQuota {
  const zero = Object.fromEntries(Object.keys(hard).map((name) => [name, '0']));
  return {
    metadata: { name: changes.name ?? 'q', namespace: 'red' },
    spec: { hard, ...changes.spec },
    status: { hard, used: { ...zero, ...changes.used } },
  };
}

function bench(...quotas: ResourceQuota[]): AdmissionBench {
  const made = new AdmissionBench(resourceQuota());
  for (const item of quotas) made.internal.put(QUOTAS, item as never);
  return made;
}

const pod = (
  resources: NonNullable<PodSpec['containers'][0]['resources']> = {},
  spec: Partial<PodSpec> = {},
): Attempt & { object: Pod } => ({
  resource: 'pods',
  object: {
    metadata: { name: 'p', namespace: 'red' },
    spec: { containers: [{ name: 'c', resources }], ...spec },
  },
});
const usedOf = (at: AdmissionBench, name = 'q'): Record<string, string> | undefined =>
  (at.internal.get(QUOTAS, { namespace: 'red', name }) as ResourceQuota).status?.used;

test("what fits is charged, what does not is refused in upstream's words", async () => {
  const at = bench(quota({ pods: '2', 'requests.cpu': '1', 'limits.memory': '1Gi' }));
  const small = pod({ requests: { cpu: '600m' }, limits: { memory: '512Mi' } });
  await at.run(small);
  assert.deepEqual(usedOf(at), { pods: '1', 'requests.cpu': '600m', 'limits.memory': '512Mi' });
  await assert.rejects(at.run(small), {
    message:
      'pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1',
  });
  await assert.rejects(at.run(pod({ requests: { cpu: '1m' } })), {
    message: 'pods "p" is forbidden: failed quota: q: must specify limits.memory for: c',
  });
  await at.run({ ...pod({ requests: { cpu: '1m' }, limits: { memory: '1Mi' } }), dryRun: true });
  assert.equal(usedOf(at)?.['pods'], '1');
});

test('many at once never pass the limit', async () => {
  const at = bench(quota({ pods: '7' }));
  const results = await Promise.allSettled(Array.from({ length: 30 }, () => at.run(pod())));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 7);
  assert.equal(usedOf(at)?.['pods'], '7');
});

test("a charge is given back, and one quota's refusal charges no other", async () => {
  const at = bench(quota({ pods: '5' }, { name: 'a' }), quota({ pods: '0' }, { name: 'b' }));
  await assert.rejects(at.run(pod()), /exceeded quota: b/);
  assert.equal(usedOf(at, 'a')?.['pods'], '0');
  const single = bench(quota({ pods: '5' }));
  const attributes = single.attributes(pod());
  await single.runWith(attributes);
  assert.equal(usedOf(single)?.['pods'], '1');
  await single.undo(attributes);
  await single.undo(attributes);
  assert.equal(usedOf(single)?.['pods'], '0');
});

test('scopes', async () => {
  const at = bench(quota({ pods: '0' }, { spec: { scopes: ['BestEffort'] } }));
  await assert.rejects(at.run(pod()), /exceeded quota/);
  await at.run(pod({ requests: { cpu: '1' } }));
  const byClass = bench(
    quota(
      { pods: '0' },
      {
        spec: {
          scopeSelector: {
            matchExpressions: [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }],
          },
        },
      },
    ),
  );
  await byClass.run(pod());
  await assert.rejects(byClass.run(pod({}, { priorityClassName: 'high' })), /exceeded quota/);
  await byClass.run({ resource: 'configmaps', object: { metadata: { name: 'c', namespace: 'red' } } });
  const terminating = bench(quota({ pods: '0' }, { spec: { scopes: ['Terminating'] } }));
  await terminating.run(pod());
  await assert.rejects(terminating.run(pod({}, { activeDeadlineSeconds: 5 })), /exceeded quota/);
});

test('a pod that gets a deadline moves to the quotas of those that end', async () => {
  const at = bench(
    quota({ pods: '1', 'requests.cpu': '1' }, { name: 'ending', spec: { scopes: ['Terminating'] } }),
    quota({ pods: '1' }, { name: 'lasting', spec: { scopes: ['NotTerminating'] } }),
  );
  const lasting = pod({ requests: { cpu: '1' } }),
    ending = pod({ requests: { cpu: '1' } }, { activeDeadlineSeconds: 5 });
  await at.run({ ...lasting, operation: 'UPDATE', oldObject: lasting.object });
  assert.deepEqual(
    [usedOf(at, 'ending'), usedOf(at, 'lasting')],
    [{ pods: '0', 'requests.cpu': '0' }, { pods: '0' }],
  );
  await at.run({ ...ending, operation: 'UPDATE', oldObject: lasting.object });
  assert.deepEqual(usedOf(at, 'ending'), { pods: '1', 'requests.cpu': '1' });
  await assert.rejects(at.run(ending), /exceeded quota: ending/);
});

test('services, claims, and counts of anything', async () => {
  const at = bench(
    quota({
      'services.nodeports': '2',
      'requests.storage': '3Gi',
      'fast.storageclass.storage.k8s.io/requests.storage': '1Gi',
      'count/deployments.apps': '0',
      secrets: '1',
    }),
  );
  const service = (count: number): Attempt => ({
    resource: 'services',
    object: {
      metadata: { name: 's', namespace: 'red' },
      spec: { type: 'NodePort', ports: Array.from({ length: count }, () => ({ port: 1 })) },
    },
  });
  await at.run(service(1));
  await assert.rejects(
    at.run(service(2)),
    /requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2/,
  );
  await at.run({ ...service(2), operation: 'UPDATE', oldObject: service(1).object! });
  assert.equal(usedOf(at)?.['services.nodeports'], '2');
  const claim = (storage: string, storageClassName: string): Attempt => ({
    resource: 'persistentvolumeclaims',
    object: {
      metadata: { name: 'c', namespace: 'red' },
      spec: { storageClassName, resources: { requests: { storage } } },
    },
  });
  await at.run(claim('2Gi', 'slow'));
  await assert.rejects(at.run(claim('1.5Gi', 'fast')), /fast.storageclass.storage.k8s.io\/requests.storage/);
  await assert.rejects(
    at.run({ resource: 'deployments.apps', object: { metadata: { name: 'd', namespace: 'red' } } }),
    /count\/deployments.apps/,
  );
  await at.run({ resource: 'secrets', object: { metadata: { name: 'd', namespace: 'red' } } });
  await at.run({ resource: 'events', object: { metadata: { name: 'd', namespace: 'red' } } });
});

test('a quota nobody has counted yet refuses', async () => {
  const at = bench({ metadata: { name: 'q', namespace: 'red' }, spec: { hard: { pods: '5' } } });
  await assert.rejects(at.run(pod()), {
    message: 'pods "p" is forbidden: status unknown for quota: q, resources: pods',
  });
});

test('every scope: whom it speaks of', async () => {
  const selector = (scopeName: string, operator: string, ...values: string[]): object => ({
    scopeSelector: { matchExpressions: [{ scopeName, operator, ...(values.length > 0 ? { values } : {}) }] },
  });
  const term = { topologyKey: 'zone', labelSelector: {} };
  const affinity = (more: object): Partial<PodSpec> => ({
    affinity: {
      podAntiAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 1, podAffinityTerm: { ...term, ...more } },
        ],
      },
    },
  });
  const guaranteed = pod({ requests: { cpu: '1' } });
  const cases: readonly {
    readonly scope: object;
    readonly inside: readonly Attempt[];
    readonly outside: readonly Attempt[];
  }[] = [
    { scope: { scopes: ['Terminating'] }, inside: [pod({}, { activeDeadlineSeconds: 0 })], outside: [pod()] },
    {
      scope: { scopes: ['NotTerminating'] },
      inside: [pod()],
      outside: [pod({}, { activeDeadlineSeconds: 5 })],
    },
    {
      scope: { scopes: ['BestEffort'] },
      inside: [pod(), pod({ requests: { 'example.com/gpu': '1' } })],
      outside: [guaranteed, pod({}, { resources: { limits: { memory: '1' } } })],
    },
    { scope: { scopes: ['NotBestEffort'] }, inside: [guaranteed], outside: [pod()] },
    {
      scope: { scopes: ['NotBestEffort', 'NotTerminating'] },
      inside: [guaranteed],
      outside: [pod(), pod({ requests: { cpu: '1' } }, { activeDeadlineSeconds: 5 })],
    },
    {
      scope: { scopes: ['PriorityClass'] },
      inside: [pod({}, { priorityClassName: 'any' })],
      outside: [pod()],
    },
    {
      scope: selector('PriorityClass', 'NotIn', 'low'),
      inside: [pod({}, { priorityClassName: 'high' }), pod()],
      outside: [pod({}, { priorityClassName: 'low' })],
    },
    {
      scope: selector('PriorityClass', 'DoesNotExist'),
      inside: [pod()],
      outside: [pod({}, { priorityClassName: 'low' })],
    },
    {
      scope: { scopes: ['CrossNamespacePodAffinity'] },
      inside: [pod({}, affinity({ namespaces: ['blue'] })), pod({}, affinity({ namespaceSelector: {} }))],
      outside: [pod(), pod({}, affinity({}))],
    },
  ];
  for (const { scope, inside, outside } of cases) {
    for (const attempt of inside)
      await assert.rejects(
        bench(quota({ pods: '0' }, { spec: scope })).run(attempt),
        /exceeded quota/,
        JSON.stringify(scope),
      );
    for (const attempt of outside) await bench(quota({ pods: '0' }, { spec: scope })).run(attempt);
  }
});

test('VolumeAttributesClass: a claim counts for what it asks, has and gets', async () => {
  const scope = {
    scopeSelector: {
      matchExpressions: [{ scopeName: 'VolumeAttributesClass', operator: 'In', values: ['gold'] }],
    },
  };
  const claim = (
    volumeAttributesClassName: string | undefined,
    status: object = {},
  ): Attempt & { object: object } => ({
    resource: 'persistentvolumeclaims',
    object: {
      metadata: { name: 'c', namespace: 'red' },
      spec: {
        resources: { requests: { storage: '1Gi' } },
        ...(volumeAttributesClassName ? { volumeAttributesClassName } : {}),
      },
      status,
    } as never,
  });
  const at = (): AdmissionBench => bench(quota({ persistentvolumeclaims: '0' }, { spec: scope }));
  await assert.rejects(at().run(claim('gold')), /exceeded quota/);
  for (const status of [
    { currentVolumeAttributesClassName: 'gold' },
    { modifyVolumeStatus: { targetVolumeAttributesClassName: 'gold', status: 'Pending' } },
  ])
    await assert.rejects(at().run(claim('silver', status)), /exceeded quota/);
  await at().run(claim('silver'));
  await at().run(claim(undefined));
  // A claim that moves into the scope is charged then.
  await assert.rejects(
    at().run({ ...claim('gold'), operation: 'UPDATE', oldObject: claim('silver').object }),
    /exceeded quota/,
  );
});

test('devices of claims, by their class', async () => {
  const gpus = 'gpu.deviceclass.resource.k8s.io/devices';
  const claim = (...requests: object[]): Attempt => ({
    resource: 'resourceclaims.resource.k8s.io',
    object: { metadata: { name: 'c', namespace: 'red' }, spec: { devices: { requests } } },
  });
  const at = bench(quota({ [gpus]: '5' }));
  await at.run(
    claim(
      { name: 'a', exactly: { deviceClassName: 'gpu', allocationMode: 'ExactCount', count: 2 } },
      { name: 'b', exactly: { deviceClassName: 'nic' } },
    ),
  );
  assert.deepEqual(usedOf(at), { [gpus]: '2' });
  await at.run(
    claim({
      name: 'a',
      firstAvailable: [
        { name: 'x', deviceClassName: 'gpu', count: 1 },
        { name: 'y', deviceClassName: 'gpu', count: 2 },
      ],
    }),
  );
  assert.deepEqual(usedOf(at), { [gpus]: '4' });
  await assert.rejects(
    at.run(claim({ name: 'a', exactly: { deviceClassName: 'gpu', allocationMode: 'All' } })),
    /requested: gpu.deviceclass.resource.k8s.io\/devices=32, used: gpu.deviceclass.resource.k8s.io\/devices=4/,
  );
});

test('custom resources and built-in ones are counted by count/NAME.GROUP', async () => {
  const at = bench(quota({ 'count/widgets.example.com': '1', 'count/pods': '1' }));
  const widget: Attempt = {
    resource: 'widgets.example.com',
    object: { metadata: { name: 'w', namespace: 'red' } },
  };
  await at.run(widget);
  await assert.rejects(at.run(widget), /count\/widgets.example.com/);
  await at.run(pod());
  await assert.rejects(at.run(pod()), /count\/pods=1/);
});
