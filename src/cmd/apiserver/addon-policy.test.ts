/** Roles of Capstan's parts at a start: what an earlier version made is completed, what an administrator added or protected stays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AUTO_UPDATE_ANNOTATION } from '#apiserver/authz/reconcile-policy.ts';
import { RBAC_GROUP, type BindingObject, type RoleObject } from '#apiserver/authz/rbac-rules.ts';
import { FakeInternal } from '#apiserver/authz/testing/loopback-client.ts';
import { uncoveredRules } from '#apiserver/authz/rule-sets.ts';
import { addonPolicy } from './addon-policy.ts';

const ROLES = { group: RBAC_GROUP, resource: 'clusterroles' };
const BINDINGS = { group: RBAC_GROUP, resource: 'clusterrolebindings' };
const DNS = { name: 'system:coredns' };
const OWN = { verbs: ['get'], apiGroups: ['example.org'], resources: ['records'] };

test('roles and bindings of an earlier version are completed, and a second start writes nothing', async () => {
  const internal = new FakeInternal();
  await addonPolicy(internal);
  const { rules: all = [] } = internal.get(ROLES, DNS) as RoleObject;
  // As an earlier version made it: without the annotation, and with less; an administrator added a rule.
  await internal.modify(ROLES, DNS, (role) => {
    delete role.metadata.annotations;
    Object.assign(role, { rules: [all![0], OWN] });
  });
  await internal.modify(BINDINGS, DNS, (binding) => {
    Object.assign(binding, { subjects: [{ kind: 'User', name: 'other' }] });
  });
  await addonPolicy(internal);
  const role = internal.get(ROLES, DNS) as RoleObject;
  assert.deepEqual(role.rules?.slice(0, 2), [all![0], OWN]);
  assert.deepEqual(uncoveredRules(role.rules ?? [], all ?? []).rules, []);
  assert.equal(role.metadata?.annotations?.[AUTO_UPDATE_ANNOTATION], 'true');
  assert.deepEqual(
    (internal.get(BINDINGS, DNS) as BindingObject).subjects?.map(({ name }) => name),
    ['other', 'coredns'],
  );
  const { writes } = internal;
  await addonPolicy(internal);
  assert.equal(internal.writes, writes);
});

test("what is protected stays as it is, and so do kubeadm's bindings", async () => {
  const internal = new FakeInternal();
  await addonPolicy(internal);
  await internal.modify(ROLES, DNS, (role) => {
    Object.assign(role, { rules: [] });
    role.metadata.annotations = { [AUTO_UPDATE_ANNOTATION]: 'false' };
  });
  const kubeadm = { name: 'kubeadm:node-autoapprove-bootstrap' };
  await internal.modify(BINDINGS, kubeadm, (binding) => {
    Object.assign(binding, { roleRef: { kind: 'ClusterRole', name: 'view' }, subjects: [] });
  });
  await addonPolicy(internal);
  assert.deepEqual((internal.get(ROLES, DNS) as RoleObject).rules, []);
  assert.equal((internal.get(BINDINGS, kubeadm) as BindingObject).roleRef?.name, 'view');
  assert.equal(internal.get(BINDINGS, kubeadm)?.metadata?.annotations, undefined);
});
