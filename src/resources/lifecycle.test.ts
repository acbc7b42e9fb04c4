import assert from 'node:assert/strict';
import { test } from 'node:test';
import { existsIn, resourceExistsIn } from './lifecycle.ts';
import { RESOURCES } from './registry.ts';
import { storedFor, upstreamStorageVersion } from './storage-version.ts';

const v = (minor: number): { major: number; minor: number } => ({ major: 1, minor });
const found = (group: string, plural: string): (typeof RESOURCES)[number] =>
  RESOURCES.find((resource) => resource.group === group && resource.plural === plural)!;

test('introductions agree with the storage versions that upstream 1.36 has in discovery, compatible with 1.35', () => {
  for (const resource of RESOURCES.filter(({ virtual }) => !virtual))
    assert.equal(
      upstreamStorageVersion(resource, v(35)),
      upstreamStorageVersion(resource),
      `${resource.group}/${resource.plural}`,
    );
});

test('storage versions that an older or newer server shares', () => {
  const policies = found('admissionregistration.k8s.io', 'mutatingadmissionpolicies');
  const claims = found('resource.k8s.io', 'resourceclaims');
  const cases = [
    [policies, 36, 'admissionregistration.k8s.io/v1'],
    [policies, 35, 'admissionregistration.k8s.io/v1beta1'],
    [policies, 33, 'admissionregistration.k8s.io/v1alpha1'],
    [claims, 34, 'resource.k8s.io/v1'],
    [claims, 33, 'resource.k8s.io/v1beta2'],
    [found('events.k8s.io', 'events'), 33, 'v1'],
    // Unknown to 1.33 in any version.
    [found('scheduling.k8s.io', 'workloads'), 33, 'scheduling.k8s.io/v1alpha2'],
  ] as const;
  for (const [resource, minor, expected] of cases)
    assert.equal(upstreamStorageVersion(resource, v(minor)), expected);
  const hash = (minor: number): string | undefined =>
    storedFor(policies, v(minor)).served('v1')?.storageVersionHash;
  assert.equal(hash(35), policies.served('v1')?.storageVersionHash);
  assert.notEqual(hash(36), hash(35));
});

test('what a version has: introduced and not yet removed', () => {
  const cases: readonly (readonly [minor: number, apiVersion: string, kind: string, exists: boolean])[] = [
    [35, 'admissionregistration.k8s.io/v1', 'MutatingAdmissionPolicy', false],
    [36, 'admissionregistration.k8s.io/v1', 'MutatingAdmissionPolicy', true],
    [33, 'admissionregistration.k8s.io/v1', 'ValidatingAdmissionPolicy', true],
    [36, 'storage.k8s.io/v1beta1', 'VolumeAttributesClass', true],
    [37, 'storage.k8s.io/v1beta1', 'VolumeAttributesClass', false],
    [33, 'apps/v1', 'Deployment', true],
  ];
  for (const [minor, apiVersion, kind, exists] of cases)
    assert.equal(existsIn(v(minor), apiVersion, kind), exists, `${apiVersion} ${kind} in 1.${minor}`);
  const scheduling = { group: 'scheduling.k8s.io', version: 'v1alpha2', resource: '' };
  assert.deepEqual([resourceExistsIn(v(35), scheduling), resourceExistsIn(v(36), scheduling)], [false, true]);
});
