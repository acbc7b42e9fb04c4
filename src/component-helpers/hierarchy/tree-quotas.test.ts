/** Limits and usage of trees, of those of single namespaces. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseResourceList } from '../pod-resources.ts';
import { Forest } from './forest.ts';
import { quotaStatus, strictestLimits, subtreeUsage, textOf, type NamespaceUsage } from './tree-quotas.ts';

const usage = (amounts: Record<string, string>, ...uncounted: string[]): NamespaceUsage => ({
  used: parseResourceList(amounts),
  uncounted: new Set(uncounted),
});

describe('quotas of trees', () => {
  it('limits by the strictest', () => {
    const limits = strictestLimits([{ cpu: '2', pods: '5' }, undefined, { cpu: '1500m', memory: '1Gi' }]);
    assert.deepEqual(textOf(limits), { cpu: '1500m', pods: '5', memory: '1Gi' });
  });

  it('sums upwards, and knows what is not counted everywhere', () => {
    const parents = { a: undefined, b: 'a', c: 'b', other: undefined };
    const forest = new Forest(
      Object.entries(parents).map(([name, parent]) => ({ name, parent, labels: {} })),
    );
    const sums = subtreeUsage(
      forest,
      new Map([
        ['a', usage({ pods: '1' })],
        ['b', usage({ pods: '2' }, 'secrets')],
        ['c', usage({ pods: '3', secrets: '1' })],
      ]),
    );
    assert.deepEqual(textOf(sums.get('a')!.used), { pods: '6', secrets: '1' });
    assert.deepEqual([...sums.get('a')!.uncounted], ['secrets']);
    assert.equal(sums.get('c')!.uncounted.size, 0);
    assert.equal(sums.get('other')!.used.size, 0);
    const quota = { spec: { hard: { pods: 9, secrets: '5', 'limits.cpu': '1' } } };
    const { used, ...status } = quotaStatus(quota, sums.get('a'));
    assert.deepEqual(used, { pods: '6', 'limits.cpu': '0' });
    assert.deepEqual(status, {
      hard: { pods: '9', secrets: '5', 'limits.cpu': '1' },
      requestsSummary: 'pods: 6/9, secrets: 0/5',
      limitsSummary: 'limits.cpu: 0/1',
    });
    const charged = { ...quota, status: { used: { secrets: '4' } } };
    assert.equal(quotaStatus(charged, sums.get('a')).used?.['secrets'], '4');
  });
});
