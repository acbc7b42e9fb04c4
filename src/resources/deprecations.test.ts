import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findDeprecation } from './deprecations.ts';

test('deprecated versions cause warnings', () => {
  for (const [apiVersion, kind, warning] of [
    [
      'resource.k8s.io/v1beta1',
      'ResourceClaim',
      'resource.k8s.io/v1beta1 ResourceClaim is deprecated in v1.35+, unavailable in v1.38+',
    ],
    [
      'storage.k8s.io/v1beta1',
      'VolumeAttributesClass',
      'storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass',
    ],
    ['resource.k8s.io/v1alpha3', 'ResourcePoolStatusRequest', undefined],
    ['apps/v1', 'Deployment', undefined],
  ] as const)
    assert.equal(findDeprecation(apiVersion, kind), warning);
});
