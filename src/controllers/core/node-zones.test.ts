import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zoneState } from './node-zones.ts';

test('the state of a zone depends on the fraction of unhealthy nodes', () => {
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
