import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UserInfo } from '#machinery/object.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import { createAuthorization } from './authorization.ts';
import { bootstrapPolicy, defaultPolicy } from './bootstrap-policy.ts';
import { FakeInternal } from './testing/loopback-client.ts';
import { forbiddenError } from './forbidden.ts';
import { RbacAuthorizer } from './rbac.ts';
import { CompiledRole, RbacIndex, formatResourceKey } from './rbac-index.ts';
import {
  RBAC_GROUP,
  type BindingObject,
  type PolicyRule,
  type RbacSubject,
  type RoleObject,
} from './rbac-rules.ts';

const CLUSTER_ROLES = { group: RBAC_GROUP, resource: 'clusterroles' };
const BINDINGS = { group: RBAC_GROUP, resource: 'clusterrolebindings' };

function request(changes: Partial<AuthorizationAttributes> & { user: UserInfo }): AuthorizationAttributes {
  return {
    verb: 'get',
    isResourceRequest: true,
    group: '',
    version: 'v1',
    resource: 'pods',
    subresource: '',
    namespace: '',
    name: '',
    path: '',
    ...changes,
  };
}

/** mulberry32: small, seeded. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Policy {
  roles: RoleObject[];
  bindings: BindingObject[];
}

/** The definition of RBAC, as plainly as it can be put. */
function reference(policy: Policy, wanted: AuthorizationAttributes): boolean {
  return policy.bindings.some((binding) => {
    const namespace = binding.metadata?.namespace;
    if (namespace !== undefined && (!wanted.isResourceRequest || namespace !== wanted.namespace))
      return false;
    const isSubject = binding.subjects?.some((subject) => {
      if (subject.kind === 'User') return subject.name === wanted.user.name;
      if (subject.kind === 'Group') return wanted.user.groups.includes(subject.name);
      return (
        wanted.user.name === `system:serviceaccount:${subject.namespace ?? namespace ?? '?'}:${subject.name}`
      );
    });
    const role = policy.roles.find(
      (candidate) =>
        candidate.metadata?.name === binding.roleRef?.name &&
        (binding.roleRef?.kind === 'ClusterRole'
          ? candidate.metadata?.namespace === undefined
          : candidate.metadata?.namespace === namespace),
    );
    return isSubject && (role?.rules ?? []).some((rule) => referenceRule(rule, wanted));
  });
}

function referenceRule(rule: PolicyRule, wanted: AuthorizationAttributes): boolean {
  const has = (list: readonly string[] | undefined, value: string): boolean =>
    (list ?? []).some((entry) => entry === '*' || entry === value);
  if (!has(rule.verbs, wanted.verb)) return false;
  if (!wanted.isResourceRequest)
    return (rule.nonResourceURLs ?? []).some((url) =>
      url.endsWith('*') ? wanted.path.startsWith(url.slice(0, -1)) : url === wanted.path,
    );
  const full = wanted.resource + (wanted.subresource ? `/${wanted.subresource}` : '');
  const resourceOk = (rule.resources ?? []).some(
    (entry) =>
      entry === '*' || entry === full || (wanted.subresource !== '' && entry === `*/${wanted.subresource}`),
  );
  const nameOk = !rule.resourceNames?.length || rule.resourceNames.includes(wanted.name);
  return has(rule.apiGroups, wanted.group) && resourceOk && nameOk;
}

test('2,000 random policies × requests agree with the reference evaluator, also while bindings come and go', () => {
  const seed = 20260115;
  const next = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const some = <T>(list: readonly T[], most: number): T[] =>
    Array.from({ length: 1 + Math.floor(next() * most) }, () => pick(list));
  const users = ['jane', 'system:serviceaccount:red:bot', 'system:serviceaccount:blue:bot'];
  const groups = ['devs', 'ops', 'system:authenticated'];
  const namespaces = ['red', 'blue'];
  const rule = (): PolicyRule =>
    next() < 0.15
      ? {
          verbs: some(['get', 'post', '*'], 2),
          nonResourceURLs: some(['/healthz', '/healthz/*', '/metrics', '*'], 2),
        }
      : {
          verbs: some(['get', 'list', 'create', '*'], 2),
          apiGroups: some(['', 'apps', '*'], 2),
          resources: some(['pods', 'pods/log', '*/scale', 'deployments', '*', 'deployments/scale'], 2),
          ...(next() < 0.3 ? { resourceNames: some(['a', 'b'], 1) } : {}),
        };
  const subject = (): RbacSubject => {
    const roll = next();
    if (roll < 0.4) return { kind: 'User', name: pick(users) };
    if (roll < 0.7) return { kind: 'Group', name: pick(groups) };
    return { kind: 'ServiceAccount', name: 'bot', ...(next() < 0.7 ? { namespace: pick(namespaces) } : {}) };
  };
  let allowed = 0;
  for (let policyNumber = 0; policyNumber < 200; policyNumber++) {
    const roles: RoleObject[] = [
      ...['c1', 'c2'].map((name) => ({ metadata: { name }, rules: [rule(), rule()] })),
      ...namespaces.map((namespace) => ({ metadata: { name: 'local', namespace }, rules: [rule()] })),
    ];
    const bindings: BindingObject[] = Array.from({ length: 4 }, (_, index) => {
      const namespace = next() < 0.5 ? pick(namespaces) : undefined;
      const roleRef =
        namespace && next() < 0.5
          ? { kind: 'Role', name: 'local' }
          : { kind: 'ClusterRole', name: pick(['c1', 'c2', 'absent']) };
      return {
        metadata: { name: `b${index}`, ...(namespace ? { namespace } : {}) },
        subjects: some([0], 2).map(subject),
        roleRef,
      };
    });
    const index = new RbacIndex();
    const rbac = new RbacAuthorizer(index);
    for (const role of roles) index.setRole(role);
    for (const binding of bindings) index.setBinding(binding);
    for (let requestNumber = 0; requestNumber < 10; requestNumber++) {
      if (requestNumber === 5) index.deleteBinding(bindings.pop()!);
      const user: UserInfo = { name: pick(users), groups: some(groups, 2) };
      const wanted = request({
        user,
        verb: pick(['get', 'list', 'create', 'post']),
        isResourceRequest: next() < 0.85,
        group: pick(['', 'apps']),
        resource: pick(['pods', 'deployments']),
        subresource: pick(['', '', 'log', 'scale']),
        namespace: pick(['', 'red', 'blue']),
        name: pick(['', 'a', 'c']),
        path: pick(['/healthz', '/healthz/etcd', '/metrics', '/other']),
      });
      const expected = reference({ roles, bindings }, wanted);
      const decision = rbac.authorize(wanted);
      allowed += expected ? 1 : 0;
      assert.equal(
        decision.decision,
        expected ? 'allow' : 'no-opinion',
        `seed ${seed} policy ${policyNumber} request ${requestNumber}: ${JSON.stringify({ wanted, roles, bindings })}`,
      );
    }
  }
  assert.ok(
    allowed > 200 && allowed < 1800,
    `the matrix must exercise both answers, ${allowed} of 2000 were allowed`,
  );
});

test('reasons name the binding, or the role that is missing', () => {
  const index = new RbacIndex();
  const rbac = new RbacAuthorizer(index);
  const jane: UserInfo = { name: 'jane', groups: ['devs'] };
  index.setRole({
    metadata: { name: 'reader' },
    rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }],
  });
  index.setBinding({
    metadata: { name: 'devs-read', namespace: 'red' },
    subjects: [{ kind: 'Group', name: 'devs' }],
    roleRef: { kind: 'ClusterRole', name: 'reader' },
  });
  assert.deepEqual(rbac.authorize(request({ user: jane, namespace: 'red' })), {
    decision: 'allow',
    reason: 'RBAC: allowed by RoleBinding "devs-read/red" of ClusterRole "reader" to Group "devs"',
  });
  index.setBinding({
    metadata: { name: 'gone' },
    subjects: [{ kind: 'User', name: 'jane' }],
    roleRef: { kind: 'ClusterRole', name: 'absent' },
  });
  const refused = rbac.authorize(request({ user: jane, namespace: 'blue', verb: 'list' }));
  assert.equal(refused.reason, 'RBAC: clusterrole.rbac.authorization.k8s.io "absent" not found');
  assert.equal(
    forbiddenError(request({ user: jane, namespace: 'blue', verb: 'list' }), refused.reason).message,
    'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "blue": RBAC: clusterrole.rbac.authorization.k8s.io "absent" not found',
  );
  assert.equal(
    forbiddenError(request({ user: jane, isResourceRequest: false, path: '/metrics' }), '').message,
    'forbidden: User "jane" cannot get path "/metrics"',
  );
  assert.equal(
    forbiddenError(
      request({
        user: jane,
        resource: 'deployments',
        group: 'apps',
        subresource: 'scale',
        name: 'web',
        verb: 'update',
      }),
      '',
    ).message,
    'deployments.apps "web" is forbidden: User "jane" cannot update resource "deployments/scale" in API group "apps" at the cluster scope',
  );
});

test('the default policy is made once, completed when reduced, and left alone when protected', async () => {
  const internal = new FakeInternal();
  await bootstrapPolicy(internal, { clusterAdminGroups: ['kubeadm:cluster-admins'] });
  const made = internal.writes;
  assert.ok(made > 120);
  await bootstrapPolicy(internal, { clusterAdminGroups: ['kubeadm:cluster-admins'] });
  assert.equal(internal.writes, made, 'a second start writes nothing');

  await internal.modify(CLUSTER_ROLES, { name: 'system:kube-dns' }, (role) => {
    role['rules'] = [{ verbs: ['get'], apiGroups: ['x'], resources: ['y'] }];
  });
  await internal.modify(CLUSTER_ROLES, { name: 'system:kube-scheduler' }, (role) => {
    role['rules'] = [];
    role.metadata.annotations = { 'rbac.authorization.kubernetes.io/autoupdate': 'false' };
  });
  await internal.modify(BINDINGS, { name: 'system:node-proxier' }, (binding) => {
    binding['subjects'] = [{ kind: 'User', name: 'other' }];
  });
  await internal.modify(BINDINGS, { name: 'system:discovery' }, (binding) => {
    binding['roleRef'] = { kind: 'ClusterRole', name: 'cluster-admin' };
  });
  await bootstrapPolicy(internal);
  assert.equal((internal.get(CLUSTER_ROLES, { name: 'system:kube-dns' }) as RoleObject).rules?.length, 5);
  assert.deepEqual((internal.get(CLUSTER_ROLES, { name: 'system:kube-scheduler' }) as RoleObject).rules, []);
  assert.deepEqual(
    (internal.get(BINDINGS, { name: 'system:node-proxier' }) as BindingObject).subjects?.map(
      (subject) => subject.name,
    ),
    ['other', 'system:kube-proxy'],
  );
  assert.equal(
    (internal.get(BINDINGS, { name: 'system:discovery' }) as BindingObject).roleRef?.name,
    'system:discovery',
  );
});

test('the default policy works as upstream describes it', async () => {
  const internal = new FakeInternal();
  const { authorizer, stop } = createAuthorization({ internal });
  await bootstrapPolicy(internal, { clusterAdminGroups: ['kubeadm:cluster-admins'] });
  internal.put(
    { group: RBAC_GROUP, resource: 'rolebindings' },
    {
      metadata: { name: 'edit', namespace: 'red' },
      roleRef: { kind: 'ClusterRole', name: 'edit' },
      subjects: [{ kind: 'User', name: 'jane' }],
    },
  );
  const may = async (user: UserInfo, changes: Partial<AuthorizationAttributes>): Promise<boolean> =>
    (await authorizer.authorize(request({ user, ...changes }))).decision === 'allow';
  const jane = { name: 'jane', groups: ['system:authenticated'] };
  assert.equal(
    await may(jane, { verb: 'create', resource: 'deployments', group: 'apps', namespace: 'red' }),
    true,
  );
  assert.equal(
    await may(jane, { verb: 'list', resource: 'pods', namespace: 'red' }),
    true,
    'view is aggregated into edit',
  );
  assert.equal(
    await may(jane, { verb: 'create', resource: 'deployments', group: 'apps', namespace: 'blue' }),
    false,
  );
  assert.equal(
    await may(jane, { verb: 'create', resource: 'roles', group: RBAC_GROUP, namespace: 'red' }),
    false,
  );
  assert.equal(
    await may(jane, { verb: 'create', resource: 'selfsubjectaccessreviews', group: 'authorization.k8s.io' }),
    true,
  );
  assert.equal(
    await may(
      { name: 'x', groups: ['system:unauthenticated'] },
      { isResourceRequest: false, path: '/readyz' },
    ),
    true,
  );
  assert.equal(
    await may({ name: 'x', groups: ['system:unauthenticated'] }, { isResourceRequest: false, path: '/api' }),
    false,
  );
  assert.equal(
    await may(
      { name: 'kubernetes-admin', groups: ['kubeadm:cluster-admins'] },
      { verb: 'delete', resource: 'nodes' },
    ),
    true,
  );
  assert.equal(
    await may(
      { name: 'system:serviceaccount:kube-system:deployment-controller', groups: [] },
      { verb: 'create', resource: 'replicasets', group: 'apps', namespace: 'red' },
    ),
    true,
  );
  stop();
});

test('roles that gather others follow them', async () => {
  const internal = new FakeInternal();
  const { stop } = createAuthorization({ internal });
  await bootstrapPolicy(internal);
  const rulesOf = (name: string): readonly PolicyRule[] =>
    (internal.get(CLUSTER_ROLES, { name }) as RoleObject).rules ?? [];
  const before = rulesOf('admin').length;
  internal.put(CLUSTER_ROLES, {
    metadata: { name: 'crontabs', labels: { 'rbac.authorization.k8s.io/aggregate-to-view': 'true' } },
    rules: [{ verbs: ['get'], apiGroups: ['example.org'], resources: ['crontabs'] }],
  });
  while (rulesOf('admin').length === before) await new Promise((resolve) => setImmediate(resolve));
  for (const name of ['view', 'edit', 'admin'])
    assert.ok(
      rulesOf(name).some((rule) => rule.resources?.includes('crontabs')),
      name,
    );
  internal.remove(CLUSTER_ROLES, { name: 'crontabs' });
  while (rulesOf('admin').length !== before) await new Promise((resolve) => setImmediate(resolve));
  stop();
});

test('nothing of a downstream distribution is in the default policy', () => {
  assert.doesNotMatch(JSON.stringify(defaultPolicy()), /openshift|service-ca/);
});

test('modes that are not supported are refused by name', () => {
  assert.throws(
    () => createAuthorization({ internal: new FakeInternal(), modes: ['Node', 'LDAP'] }),
    /authorization-mode "LDAP" is not a valid mode/,
  );
  assert.throws(
    () => createAuthorization({ internal: new FakeInternal(), modes: ['RBAC', 'RBAC'] }),
    /has mode specified more than once/,
  );
});

test('a rule of 100,000 groups and as many resources is matched, and its table is not made', () => {
  const names = (prefix: string): string[] => Array.from({ length: 100_000 }, (_, i) => `${prefix}${i}`);
  const role = new CompiledRole([
    { verbs: ['get'], apiGroups: names('g'), resources: [...names('r'), 'pods/log'] },
    { verbs: ['get'], nonResourceURLs: [`/${'*'.repeat(1_000_000)}a*`] },
  ]);
  const asked = request({ user: { name: 'u', groups: [] }, group: 'g7' });
  const allows = (changes: Partial<AuthorizationAttributes>): boolean => {
    const wanted = { ...asked, ...changes };
    return role.allows(wanted, formatResourceKey(wanted));
  };
  assert.equal(allows({ resource: 'r99' }), true);
  assert.equal(allows({ resource: 'r100000' }), false);
  assert.equal(allows({ resource: 'r99', verb: 'list' }), false);
  assert.equal(allows({ resource: 'pods', subresource: 'log' }), true);
  assert.equal(allows({ isResourceRequest: false, path: '/healthz' }), false);
});

test('roles have rules of a feature gate with it only', () => {
  const shown = (...gates: string[]): Map<string, string> =>
    new Map(
      defaultPolicy(new Set(gates)).clusterRoles.map((role) => [
        role.metadata?.name ?? '',
        JSON.stringify(role),
      ]),
    );
  const [off, on] = [shown(), shown('GenericWorkload')];
  const changed = [...on].flatMap(([name, role]) => (off.get(name) === role ? [] : name));
  assert.deepEqual(changed.toSorted(), [
    'admin',
    'edit',
    'system:aggregate-to-edit',
    'system:aggregate-to-view',
    'system:controller:podgroup-protection-controller',
    'system:kube-scheduler',
    'view',
  ]);
});
