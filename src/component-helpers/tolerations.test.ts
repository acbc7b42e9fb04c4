import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Toleration } from '#api/types.ts';
import { findUntoleratedTaint, minTolerationSeconds, toleratesTaint } from './tolerations.ts';

const taint = { key: 'k', value: 'v', effect: 'NoExecute' };

test('a toleration tolerates by key, value and effect', () => {
  assert.equal(toleratesTaint({ key: 'k', value: 'v' }, taint), true);
  assert.equal(toleratesTaint({ key: 'k', value: 'v', operator: '' }, taint), true);
  assert.equal(toleratesTaint({ key: 'k', value: 'w' }, taint), false);
  assert.equal(toleratesTaint({ key: 'k', operator: 'Exists' }, taint), true);
  assert.equal(toleratesTaint({ operator: 'Exists' }, taint), true);
  assert.equal(toleratesTaint({ operator: 'Exists', effect: 'NoSchedule' }, taint), false);
  assert.equal(toleratesTaint({ key: 'other', operator: 'Exists' }, taint), false);
});

test('Gt and Lt compare 64-bit integers exactly, as ParseInt reads them', () => {
  const compares = (operator: string, tolerated: string, tainted: string): boolean =>
    toleratesTaint({ key: 'k', operator, value: tolerated }, { ...taint, value: tainted });
  assert.equal(compares('Gt', '10', '11'), true);
  assert.equal(compares('Lt', '10', '11'), false);
  assert.equal(compares('Gt', '10', '10'), false);
  assert.equal(compares('Gt', '6', '007'), true);
  assert.equal(compares('Lt', '007', '6'), true);
  assert.equal(compares('Gt', '9007199254740992', '9007199254740993'), true);
  assert.equal(compares('Lt', '9007199254740993', '9007199254740992'), true);
  assert.equal(compares('Gt', '0', '9223372036854775807'), true);
  for (const bad of ['x', '', '1.5', '0x10', ' 1', '9223372036854775808']) {
    assert.equal(compares('Gt', bad, '11'), false, bad);
    assert.equal(compares('Lt', '11', bad), false, bad);
  }
});

test('the first untolerated taint of the given effects', () => {
  const soft = { key: 's', effect: 'PreferNoSchedule' };
  const effects = ['NoSchedule', 'NoExecute'];
  const find = (tolerations: Toleration[] | undefined): unknown =>
    findUntoleratedTaint([soft, taint], { tolerations, effects });
  assert.equal(find(undefined), taint);
  assert.equal(find([{ operator: 'Exists' }]), undefined);
  assert.equal(findUntoleratedTaint(undefined, { tolerations: [], effects }), undefined);
});

test('the shortest matching tolerationSeconds applies', () => {
  const other = { key: 'o', effect: 'NoExecute' };
  assert.equal(minTolerationSeconds([taint, other], [{ key: 'k', operator: 'Exists' }]), 0);
  assert.equal(minTolerationSeconds([taint, other], [{ operator: 'Exists' }]), Infinity);
  const both = [
    { operator: 'Exists', tolerationSeconds: 60 },
    { key: 'o', operator: 'Exists', tolerationSeconds: 30 },
  ];
  assert.equal(minTolerationSeconds([taint, other], both), 30);
  assert.equal(minTolerationSeconds([taint], [{ operator: 'Exists', tolerationSeconds: -5 }]), 0);
});
