import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, ResourceQuota } from '#api/types.ts';
import { inScope, computeUsage } from './quota-usage.ts';

const PODS = { group: '', resource: 'pods' };
const pod = (more: Partial<Pod> = {}, requests: Record<string, string> = { cpu: '1' }): Pod => ({
  metadata: { name: 'p' },
  spec: { containers: [{ name: 'c', resources: { requests } }] },
  ...more,
});
const usage = (object: Pod, nowMs?: number): Record<string, string> =>
  Object.fromEntries(
    [...computeUsage(object, { ...PODS, ...(nowMs === undefined ? {} : { nowMs }) })].map(
      ([name, amount]) => [name, amount.toString()],
    ),
  );

test('a pod counts itself and its requests', () => {
  const counted = { 'count/pods': '1', pods: '1', cpu: '1', 'requests.cpu': '1' };
  assert.deepEqual(usage(pod()), counted);
  assert.deepEqual(usage(pod({ status: { phase: 'Failed' } })), { 'count/pods': '1' });
});

test('a pod past its deletion grace period counts for its existence only', () => {
  const metadata = {
    name: 'p',
    deletionTimestamp: '2026-01-01T00:00:30Z',
    deletionGracePeriodSeconds: 30,
  };
  const dueMs = Date.parse('2026-01-01T00:01:00Z');
  assert.equal(usage(pod({ metadata }), dueMs)['pods'], '1');
  assert.deepEqual(usage(pod({ metadata }), dueMs + 1), { 'count/pods': '1' });
});

test('a pod that is being shrunk counts its allocated resources', () => {
  const status = {
    phase: 'Running',
    containerStatuses: [{ name: 'c', resources: { requests: { cpu: '3' } } }],
  } as unknown as NonNullable<Pod['status']>;
  assert.equal(usage(pod({ status }))['requests.cpu'], '3');
});

test('BestEffort depends on the QoS class: pod-level huge pages alone are best effort', () => {
  const quota: ResourceQuota = { spec: { scopes: ['BestEffort'] } };
  const holds = (object: Pod): boolean => inScope(object, { target: PODS, quota });
  assert.equal(holds(pod({}, {})), true);
  assert.equal(holds(pod()), false);
  const pages = { requests: { 'hugepages-2Mi': '2Mi' }, limits: { 'hugepages-2Mi': '2Mi' } };
  const spec = { containers: [{ name: 'c', resources: { requests: { cpu: '1' } } }], resources: pages };
  assert.equal(holds(pod({ spec })), true);
});
