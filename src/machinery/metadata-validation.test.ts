import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldErrorBody, type FieldError } from './errors.ts';
import { validateObjectMeta, validateObjectMetaUpdate } from './metadata-validation.ts';

const texts = (errors: readonly FieldError[]): string[] =>
  errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`);

test('create', () => {
  assert.deepEqual(
    validateObjectMeta(
      { name: 'a', namespace: 'b', labels: { a: 'b' }, annotations: { 'X/Y': '' }, finalizers: ['a/b'] },
      { namespaced: true },
    ),
    [],
  );
  assert.deepEqual(texts(validateObjectMeta({}, { namespaced: true })), [
    'metadata.name: Required value: name or generateName is required',
    'metadata.namespace: Required value',
  ]);
  assert.deepEqual(texts(validateObjectMeta({ name: 'a', namespace: 'b' }, { namespaced: false })), [
    'metadata.namespace: Forbidden: not allowed on this type',
  ]);
  assert.deepEqual(
    validateObjectMeta(
      { name: 'system:x', generateName: 'x-' },
      { namespaced: false, nameRule: 'path-segment' },
    ),
    [],
  );
  assert.deepEqual(
    texts(
      validateObjectMeta({ name: 'a', annotations: { a: 'x'.repeat(256 * 1024) } }, { namespaced: false }),
    ),
    ['metadata.annotations: Too long: may not be more than 262144 bytes'],
  );
  assert.deepEqual(
    texts(
      validateObjectMeta({ name: 'a', finalizers: ['orphan', 'foregroundDeletion'] }, { namespaced: false }),
    ),
    [
      'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set',
    ],
  );
});

test('owner references', () => {
  const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'a', uid: 'u', controller: true };
  assert.match(
    texts(
      validateObjectMeta(
        { name: 'a', ownerReferences: [owner, { ...owner, name: 'b' }] },
        { namespaced: false },
      ),
    ).join(),
    /Only one reference can have Controller set to true\. Found "true" in references for ReplicaSet\/a and ReplicaSet\/b/,
  );
  assert.deepEqual(
    texts(
      validateObjectMeta(
        { name: 'a', ownerReferences: [{ apiVersion: '', kind: '', name: '', uid: '' }] },
        { namespaced: false },
      ),
    ),
    [
      'metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty',
      'metadata.ownerReferences.kind: Invalid value: "": must not be empty',
      'metadata.ownerReferences.name: Invalid value: "": must not be empty',
      'metadata.ownerReferences.uid: Invalid value: "": must not be empty',
    ],
  );
});

test('update', () => {
  const stored = {
    name: 'a',
    uid: 'u',
    resourceVersion: '1',
    creationTimestamp: '2026-01-01T00:00:00Z',
    generation: 2,
    finalizers: ['x/y'],
  };
  assert.deepEqual(validateObjectMetaUpdate({ ...stored, labels: { a: 'b' } }, stored), []);
  assert.deepEqual(
    texts(validateObjectMetaUpdate({ ...stored, uid: 'v', generation: 1, resourceVersion: '' }, stored)),
    [
      'metadata.resourceVersion: Invalid value: "": must be specified for an update',
      'metadata.generation: Invalid value: 1: must not be decremented',
      'metadata.uid: Invalid value: "v": field is immutable',
    ],
  );
  const deleting = { ...stored, deletionTimestamp: '2026-01-01T00:00:00Z' };
  assert.deepEqual(validateObjectMetaUpdate({ ...deleting, finalizers: [] }, deleting), []);
  assert.deepEqual(
    texts(validateObjectMetaUpdate({ ...deleting, finalizers: ['x/y', 'b/c', 'a/b'] }, deleting)),
    [
      'metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a/b", "b/c"}',
    ],
  );
});
