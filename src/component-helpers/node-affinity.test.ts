import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeSelectorRequirement } from '#api/types.ts';
import {
  matchesNodeSelectorTerm,
  matchesNodeSelectorTerms,
  matchesRequiredNodeAffinity,
} from './node-affinity.ts';

const node = (labels: Record<string, string>): { name: string; labels: Record<string, string> } => ({
  name: 'n1',
  labels,
});
const matches = (requirement: NodeSelectorRequirement, labels: Record<string, string>): boolean =>
  matchesNodeSelectorTerm({ matchExpressions: [requirement] }, node(labels));

test('each operator', () => {
  assert.equal(matches({ key: 'k', operator: 'In', values: ['a', 'b'] }, { k: 'b' }), true);
  assert.equal(matches({ key: 'k', operator: 'In', values: ['a'] }, {}), false);
  assert.equal(matches({ key: 'k', operator: 'NotIn', values: ['a'] }, {}), true);
  assert.equal(matches({ key: 'k', operator: 'NotIn', values: ['a'] }, { k: 'a' }), false);
  assert.equal(matches({ key: 'k', operator: 'Exists' }, { k: '' }), true);
  assert.equal(matches({ key: 'k', operator: 'DoesNotExist' }, { k: '' }), false);
  assert.equal(matches({ key: 'constructor', operator: 'Exists' }, {}), false);
});

test('Gt and Lt compare 64-bit integers exactly, as ParseInt reads them', () => {
  const compares = (operator: string, bound: string, label: string): boolean =>
    matches({ key: 'k', operator, values: [bound] }, { k: label });
  assert.equal(compares('Gt', '6', '007'), true);
  assert.equal(compares('Lt', '007', '6'), true);
  assert.equal(compares('Gt', '9007199254740992', '9007199254740993'), true);
  assert.equal(compares('Lt', '9007199254740992', '9007199254740993'), false);
  // Values beyond 64 bits never compare.
  assert.equal(compares('Gt', '1', '9223372036854775808'), false);
  assert.equal(compares('Lt', '9223372036854775808', '1'), false);
  assert.equal(compares('Gt', '1', '1.5'), false);
});

test('an empty or invalid term matches no node, the others still may', () => {
  const bad = { matchExpressions: [{ key: 'k', operator: 'Gt', values: ['x'] }] };
  const unknown = { matchExpressions: [{ key: 'k', operator: 'Near', values: ['x'] }] };
  const good = { matchExpressions: [{ key: 'k', operator: 'Exists' }] };
  assert.equal(matchesNodeSelectorTerms([{}, bad, unknown], node({ k: '5' })), false);
  assert.equal(matchesNodeSelectorTerms([{}, bad, unknown, good], node({ k: '5' })), true);
  assert.equal(matchesNodeSelectorTerms([], node({})), false);
});

test('matchFields supports metadata.name with one value', () => {
  const byName = (values: string[], operator = 'In'): boolean =>
    matchesNodeSelectorTerm({ matchFields: [{ key: 'metadata.name', operator, values }] }, node({}));
  assert.equal(byName(['n1']), true);
  assert.equal(byName(['n2']), false);
  assert.equal(byName(['n2'], 'NotIn'), true);
  assert.equal(byName(['n1', 'n2']), false);
  assert.equal(byName(['n1'], 'Exists'), false);
  const other = { matchFields: [{ key: 'spec.nodeName', operator: 'NotIn', values: ['n1'] }] };
  assert.equal(matchesNodeSelectorTerm(other, node({})), true);
});

test("a pod's nodeSelector and required affinity must both hold", () => {
  const required = { nodeSelectorTerms: [{ matchExpressions: [{ key: 'b', operator: 'Exists' }] }] };
  const spec = {
    containers: [],
    nodeSelector: { a: '1' },
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } },
  };
  assert.equal(matchesRequiredNodeAffinity(spec, node({ a: '1', b: '' })), true);
  assert.equal(matchesRequiredNodeAffinity(spec, node({ a: '1' })), false);
  assert.equal(matchesRequiredNodeAffinity(spec, node({ b: '' })), false);
  assert.equal(matchesRequiredNodeAffinity(undefined, node({})), true);
});
