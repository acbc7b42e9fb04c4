import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONTROLLER_ROLES, GATED_CONTROLLER_ROLES } from './bootstrap-policy-data.ts';
import { controllerServiceAccount, NAMESPACED_ACCOUNTS } from './controller-accounts.ts';

/** Upstream's names, as in kube-controller-manager --controllers, of all that have an account of their own. */
const CONTROLLERS = [
  'bootstrap-signer-controller',
  'certificatesigningrequest-approving-controller',
  'certificatesigningrequest-cleaner-controller',
  'certificatesigningrequest-signing-controller',
  'clusterrole-aggregation-controller',
  'cronjob-controller',
  'daemonset-controller',
  'deployment-controller',
  'device-taint-eviction-controller',
  'disruption-controller',
  'endpoints-controller',
  'endpointslice-controller',
  'endpointslice-mirroring-controller',
  'ephemeral-volume-controller',
  'garbage-collector-controller',
  'horizontal-pod-autoscaler-controller',
  'job-controller',
  'legacy-serviceaccount-token-cleaner-controller',
  'namespace-controller',
  'node-ipam-controller',
  'node-lifecycle-controller',
  'node-route-controller',
  'persistentvolume-attach-detach-controller',
  'persistentvolume-binder-controller',
  'persistentvolume-expander-controller',
  'persistentvolume-protection-controller',
  'persistentvolumeclaim-protection-controller',
  'pod-garbage-collector-controller',
  'replicaset-controller',
  'replicationcontroller-controller',
  'resourceclaim-controller',
  'resourcequota-controller',
  'root-ca-certificate-publisher-controller',
  'selinux-warning-controller',
  'service-cidr-controller',
  'service-lb-controller',
  'serviceaccount-controller',
  'statefulset-controller',
  'storage-version-migrator-controller',
  'taint-eviction-controller',
  'token-cleaner-controller',
  'ttl-after-finished-controller',
  'ttl-controller',
  'validatingadmissionpolicy-status-controller',
  'volumeattributesclass-protection-controller',
];

test('every controller has an account that the default policy knows, and every account a controller', () => {
  const accounts = CONTROLLERS.map((name) => {
    const account = controllerServiceAccount(name);
    assert.ok(account, name);
    return account;
  });
  assert.deepEqual(
    [...new Set(accounts)].toSorted(),
    [
      ...Object.keys(CONTROLLER_ROLES),
      ...Object.keys(GATED_CONTROLLER_ROLES),
      ...NAMESPACED_ACCOUNTS,
    ].toSorted(),
  );
  assert.equal(controllerServiceAccount('no-such-controller'), undefined);
  assert.equal(controllerServiceAccount('constructor'), undefined);
});
