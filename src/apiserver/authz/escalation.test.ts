import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isStatusError } from '#machinery/errors.ts';
import type { UserInfo } from '#machinery/object.ts';
import { createAuthorization } from './authorization.ts';
import { checkBindingWrite, checkRoleWrite, type EscalationContext } from './escalation.ts';
import { FakeInternal } from './testing/loopback-client.ts';
import { RBAC_GROUP, type PolicyRule } from './rbac-rules.ts';

function contextFor(user: UserInfo, rules: PolicyRule[]): EscalationContext {
  const internal = new FakeInternal();
  internal.put({ group: RBAC_GROUP, resource: 'clusterroles' }, { metadata: { name: 'held' }, rules });
  internal.put(
    { group: RBAC_GROUP, resource: 'clusterroles' },
    {
      metadata: { name: 'secrets' },
      rules: [{ verbs: ['get', 'list'], apiGroups: [''], resources: ['secrets'] }],
    },
  );
  internal.put(
    { group: RBAC_GROUP, resource: 'rolebindings' },
    {
      metadata: { name: 'b', namespace: 'red' },
      roleRef: { kind: 'ClusterRole', name: 'held' },
      subjects: [{ kind: 'User', name: user.name }],
    },
  );
  const { authorizer, rbac, stop } = createAuthorization({ internal });
  stop();
  return { user, authorizer, rbac };
}

const JANE: UserInfo = { name: 'jane', groups: ['devs', 'system:authenticated'] };

test('a role may not hold more than its writer', async () => {
  const context = contextFor(JANE, [{ verbs: ['get'], apiGroups: [''], resources: ['pods', 'configmaps'] }]);
  const role = {
    metadata: { name: 'r', namespace: 'red' },
    rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }],
  };
  await checkRoleWrite(context, { role, resource: 'roles' });
  const greedy = {
    metadata: { name: 'r', namespace: 'red' },
    rules: [
      { verbs: ['get', 'delete', 'watch'], apiGroups: [''], resources: ['pods'] },
      { verbs: ['get'], apiGroups: [''], resources: ['secrets'], resourceNames: ['x'] },
    ],
  };
  await assert.rejects(checkRoleWrite(context, { role: greedy, previous: role, resource: 'roles' }), {
    message:
      'roles.rbac.authorization.k8s.io "r" is forbidden: user "jane" (groups=["devs" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n' +
      '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}\n{APIGroups:[""], Resources:["secrets"], ResourceNames:["x"], Verbs:["get"]}',
  });
  await checkRoleWrite(context, { role: greedy, previous: structuredClone(greedy), resource: 'roles' });
  await assert.rejects(
    checkRoleWrite(context, {
      role: { ...role, metadata: { name: 'r', namespace: 'blue' } },
      resource: 'roles',
    }),
    /not currently held/,
  );
  await checkRoleWrite(
    { ...context, user: { name: 'root', groups: ['system:masters'] } },
    { role: greedy, resource: 'roles' },
  );
});

test('aggregation needs full authority', async () => {
  const context = contextFor(JANE, [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }]);
  const role = {
    metadata: { name: 'all' },
    rules: [],
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: { a: 'b' } }] },
  };
  await assert.rejects(
    checkRoleWrite(context, { role, resource: 'clusterroles' }),
    /must have cluster-admin privileges to use the aggregationRule/,
  );
});

test('a binding may not grant more than its writer holds, unless bind or escalate is held', async () => {
  const binding = {
    metadata: { name: 'rb', namespace: 'red' },
    roleRef: { apiGroup: RBAC_GROUP, kind: 'ClusterRole', name: 'secrets' },
    subjects: [{ kind: 'User', name: 'jane' }],
  };
  const write = { binding, resource: 'rolebindings' } as const;
  await assert.rejects(
    checkBindingWrite(contextFor(JANE, []), write),
    /rolebindings.rbac.authorization.k8s.io "rb" is forbidden: user "jane"/,
  );
  await checkBindingWrite(
    contextFor(JANE, [{ verbs: ['get', 'list'], apiGroups: [''], resources: ['secrets'] }]),
    write,
  );
  await checkBindingWrite(
    contextFor(JANE, [
      { verbs: ['bind'], apiGroups: [RBAC_GROUP], resources: ['clusterroles'], resourceNames: ['secrets'] },
    ]),
    write,
  );
  await assert.rejects(
    checkBindingWrite(
      contextFor(JANE, [
        { verbs: ['bind'], apiGroups: [RBAC_GROUP], resources: ['clusterroles'], resourceNames: ['other'] },
      ]),
      write,
    ),
    /not currently held/,
  );
  await checkRoleWrite(
    contextFor(JANE, [{ verbs: ['escalate'], apiGroups: [RBAC_GROUP], resources: ['roles'] }]),
    {
      role: {
        metadata: { name: 'r', namespace: 'red' },
        rules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
      },
      resource: 'roles',
    },
  );
  const absent = { ...binding, roleRef: { kind: 'Role', name: 'absent' } };
  await assert.rejects(
    checkBindingWrite(contextFor(JANE, []), { binding: absent, resource: 'rolebindings' }),
    (error) => isStatusError(error, 'NotFound'),
  );
});
