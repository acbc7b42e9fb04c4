import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findController, controllerReference, isControlledBy } from './owner-references.ts';

const owner = { metadata: { name: 'o', uid: 'u1' } };
const kind = { group: 'apps', version: 'v1', kind: 'ReplicaSet' };

test('returns the controller among the owners', () => {
  const reference = controllerReference(owner, kind);
  assert.deepEqual(reference, {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    name: 'o',
    uid: 'u1',
    controller: true,
    blockOwnerDeletion: true,
  });
  const other = { apiVersion: 'v1', kind: 'ConfigMap', name: 'c', uid: 'u2' };
  const object = { metadata: { ownerReferences: [other, reference] } };
  assert.equal(findController(object), reference);
  assert.equal(isControlledBy(object, owner), true);
  assert.equal(findController({ metadata: { ownerReferences: [other] } }), undefined);
});
