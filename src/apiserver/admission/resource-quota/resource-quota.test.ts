import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodSpec, ResourceQuota } from '#api/types.ts';
import { AdmissionBench, type Attempt } from '../testing.ts';
import { resourceQuota } from './resource-quota.ts';

const QUOTAS = { group: '', resource: 'resourcequotas' };

function quota(hard: Record<string, string>, changes: { used?: Record<string, string>; spec?: object; name?: string } = {}): ResourceQuota {
  const zero = Object.fromEntries(Object.keys(hard).map((name) => [name, '0']));
  return { metadata: { name: changes.name ?? 'q', namespace: 'red' }, spec: { hard, ...changes.spec }, status: { hard, used: { ...zero, ...changes.used } } };
}

function bench(...quotas: ResourceQuota[]): AdmissionBench {
  const made = new AdmissionBench(resourceQuota());
  for (const item of quotas) made.internal.put(QUOTAS, item as never);
  return made;
}

const pod = (resources: NonNullable<PodSpec['containers'][0]['resources']> = {}, spec: Partial<PodSpec> = {}): Attempt & { object: Pod } =>
  ({ resource: 'pods', object: { metadata: { name: 'p', namespace: 'red' }, spec: { containers: [{ name: 'c', resources }], ...spec } } });
const usedOf = (at: AdmissionBench, name = 'q'): Record<string, string> | undefined => (at.internal.get(QUOTAS, { namespace: 'red', name }) as ResourceQuota).status?.used;

test('what fits is charged, what does not is refused in upstream\'s words', async () => {
  const at = bench(quota({ pods: '2', 'requests.cpu': '1', 'limits.memory': '1Gi' }));
  const small = pod({ requests: { cpu: '600m' }, limits: { memory: '512Mi' } });
  await at.run(small);
  assert.deepEqual(usedOf(at), { pods: '1', 'requests.cpu': '600m', 'limits.memory': '512Mi' });
  await assert.rejects(at.run(small), { message: 'pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1' });
  await assert.rejects(at.run(pod({ requests: { cpu: '1m' } })), { message: 'pods "p" is forbidden: failed quota: q: must specify limits.memory for: c' });
  await at.run({ ...pod({ requests: { cpu: '1m' }, limits: { memory: '1Mi' } }), dryRun: true });
  assert.equal(usedOf(at)?.['pods'], '1');
});

test('many at once never pass the limit', async () => {
  const at = bench(quota({ pods: '7' }));
  const results = await Promise.allSettled(Array.from({ length: 30 }, () => at.run(pod())));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 7);
  assert.equal(usedOf(at)?.['pods'], '7');
});

test('a charge is given back, and one quota\'s refusal charges no other', async () => {
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
  const byClass = bench(quota({ pods: '0' }, { spec: { scopeSelector: { matchExpressions: [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }] } } }));
  await byClass.run(pod());
  await assert.rejects(byClass.run(pod({}, { priorityClassName: 'high' })), /exceeded quota/);
  await byClass.run({ resource: 'configmaps', object: { metadata: { name: 'c', namespace: 'red' } } });
  const terminating = bench(quota({ pods: '0' }, { spec: { scopes: ['Terminating'] } }));
  await terminating.run(pod());
  await assert.rejects(terminating.run(pod({}, { activeDeadlineSeconds: 5 })), /exceeded quota/);
});

test('services, claims, and counts of anything', async () => {
  const at = bench(quota({ 'services.nodeports': '2', 'requests.storage': '3Gi', 'fast.storageclass.storage.k8s.io/requests.storage': '1Gi', 'count/deployments.apps': '0', secrets: '1' }));
  const service = (count: number): Attempt => ({ resource: 'services', object: { metadata: { name: 's', namespace: 'red' }, spec: { type: 'NodePort', ports: Array.from({ length: count }, () => ({ port: 1 })) } } });
  await at.run(service(1));
  await assert.rejects(at.run(service(2)), /requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2/);
  await at.run({ ...service(2), operation: 'UPDATE', oldObject: service(1).object! });
  assert.equal(usedOf(at)?.['services.nodeports'], '2');
  const claim = (storage: string, storageClassName: string): Attempt => ({ resource: 'persistentvolumeclaims', object: { metadata: { name: 'c', namespace: 'red' }, spec: { storageClassName, resources: { requests: { storage } } } } });
  await at.run(claim('2Gi', 'slow'));
  await assert.rejects(at.run(claim('1.5Gi', 'fast')), /fast.storageclass.storage.k8s.io\/requests.storage/);
  await assert.rejects(at.run({ resource: 'deployments.apps', object: { metadata: { name: 'd', namespace: 'red' } } }), /count\/deployments.apps/);
  await at.run({ resource: 'secrets', object: { metadata: { name: 'd', namespace: 'red' } } });
  await at.run({ resource: 'events', object: { metadata: { name: 'd', namespace: 'red' } } });
});

test('a quota nobody has counted yet refuses', async () => {
  const at = bench({ metadata: { name: 'q', namespace: 'red' }, spec: { hard: { pods: '5' } } });
  await assert.rejects(at.run(pod()), { message: 'pods "p" is forbidden: status unknown for quota: q, resources: pods' });
});
