import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noExecuteTaints, toleratedSeconds, tolerates } from './tolerations.ts';
import { zoneState } from './node-zones.ts';

const taint = { key: 'k', value: 'v', effect: 'NoExecute' };

test('a toleration tolerates by key, value and effect', () => {
  assert.equal(tolerates({ key: 'k', value: 'v' }, taint), true);
  assert.equal(tolerates({ key: 'k', value: 'w' }, taint), false);
  assert.equal(tolerates({ key: 'k', operator: 'Exists' }, taint), true);
  assert.equal(tolerates({ operator: 'Exists' }, taint), true);
  assert.equal(tolerates({ operator: 'Exists', effect: 'NoSchedule' }, taint), false);
  assert.equal(tolerates({ key: 'other', operator: 'Exists' }, taint), false);
  assert.equal(tolerates({ key: 'k', operator: 'Gt', value: '10' }, { ...taint, value: '11' }), true);
  assert.equal(tolerates({ key: 'k', operator: 'Lt', value: '10' }, { ...taint, value: '11' }), false);
  assert.equal(tolerates({ key: 'k', operator: 'Gt', value: 'x' }, { ...taint, value: '11' }), false);
});

test('the shortest toleration that is used counts', () => {
  const other = { key: 'o', effect: 'NoExecute' };
  assert.equal(toleratedSeconds([taint, other], [{ key: 'k', operator: 'Exists' }]), 0);
  assert.equal(toleratedSeconds([taint, other], [{ operator: 'Exists' }]), Infinity);
  assert.equal(
    toleratedSeconds(
      [taint, other],
      [
        { operator: 'Exists', tolerationSeconds: 60 },
        { key: 'o', operator: 'Exists', tolerationSeconds: 30 },
      ],
    ),
    30,
  );
  assert.equal(toleratedSeconds([taint], [{ operator: 'Exists', tolerationSeconds: -5 }]), 0);
  assert.deepEqual(noExecuteTaints([taint, { key: 'x', effect: 'NoSchedule' }]), [taint]);
});

test('zones are judged by the share of nodes that are lost', () => {
  const nodes = (ready: number, lost: number): boolean[] => [
    ...Array.from({ length: ready }, () => true),
    ...Array.from({ length: lost }, () => false),
  ];
  assert.equal(zoneState(nodes(3, 0)), 'Normal');
  assert.equal(zoneState(nodes(0, 1)), 'FullDisruption');
  assert.equal(zoneState(nodes(1, 2)), 'Normal');
  assert.equal(zoneState(nodes(2, 3)), 'PartialDisruption');
  assert.equal(zoneState(nodes(5, 3)), 'Normal');
});
