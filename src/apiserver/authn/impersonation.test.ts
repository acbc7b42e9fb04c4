/** Impersonation, plain and constrained: who may become whom for what, and who they are then. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { createAuthorization, type Authorization } from '../authz/authorization.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

const RBAC = 'rbac.authorization.k8s.io';
const user = (name: string, ...groups: string[]): UserInfo => ({
  name,
  groups: [...groups, 'system:authenticated'],
});
const AGENT: UserInfo = {
  ...user('system:serviceaccount:kube-system:agent', 'system:serviceaccounts'),
  extra: {
    'authentication.kubernetes.io/node-name': ['n1'],
    'authentication.kubernetes.io/pod-name': ['agent-x'],
  },
};

/** Who holds which rules. */
const GRANTS: Readonly<Record<string, readonly object[]>> = {
  admin: [
    { apiGroups: [''], resources: ['users', 'groups', 'serviceaccounts'], verbs: ['impersonate'] },
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['userextras/scopes', 'uids'],
      verbs: ['impersonate'],
    },
  ],
  'only-jane': [{ apiGroups: [''], resources: ['users'], resourceNames: ['jane'], verbs: ['impersonate'] }],
  lister: [
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['users'],
      resourceNames: ['jane'],
      verbs: ['impersonate:user-info'],
    },
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['groups'],
      resourceNames: ['devs'],
      verbs: ['impersonate:user-info'],
    },
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['userextras/example.com/team'],
      resourceNames: ['a'],
      verbs: ['impersonate:user-info'],
    },
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['selfsubjectreviews'],
      verbs: ['impersonate-on:user-info:create'],
    },
  ],
  masterful: [
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['users', 'groups'],
      verbs: ['impersonate:user-info'],
    },
    { apiGroups: ['*'], resources: ['*'], verbs: ['impersonate-on:user-info:create'] },
  ],
  deputy: [
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['serviceaccounts'],
      resourceNames: ['app'],
      verbs: ['impersonate:serviceaccount'],
    },
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['selfsubjectreviews'],
      verbs: ['impersonate-on:serviceaccount:create'],
    },
  ],
  'node-admin': [
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['nodes'],
      resourceNames: ['n1'],
      verbs: ['impersonate:arbitrary-node'],
    },
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['selfsubjectreviews'],
      verbs: ['impersonate-on:arbitrary-node:create'],
    },
  ],
  [AGENT.name]: [
    { apiGroups: ['authentication.k8s.io'], resources: ['nodes'], verbs: ['impersonate:associated-node'] },
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['selfsubjectreviews'],
      verbs: ['impersonate-on:associated-node:create'],
    },
  ],
};

let server: TestServer;
let authorization: Authorization;
before(async () => {
  server = await startTestServer({
    authentication: () => ({ authenticator: { authenticate: () => undefined } }),
    authorization: ({ internal }) => (authorization = createAuthorization({ internal })).authorizer,
    bootstrap: async (internal) => {
      const create = (resource: string, object: object): Promise<KubeObject> =>
        internal.create({ group: RBAC, resource }, { apiVersion: `${RBAC}/v1`, ...object } as KubeObject);
      await create('clusterroles', {
        kind: 'ClusterRole',
        metadata: { name: 'self-review' },
        rules: [
          { apiGroups: ['authentication.k8s.io'], resources: ['selfsubjectreviews'], verbs: ['create'] },
        ],
      });
      await create('clusterrolebindings', {
        kind: 'ClusterRoleBinding',
        metadata: { name: 'self-review' },
        roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'self-review' },
        subjects: ['system:authenticated', 'system:unauthenticated'].map((name) => ({
          apiGroup: RBAC,
          kind: 'Group',
          name,
        })),
      });
      for (const [holder, rules] of Object.entries(GRANTS)) {
        const name = holder.replaceAll(':', '.');
        await create('clusterroles', { kind: 'ClusterRole', metadata: { name }, rules });
        await create('clusterrolebindings', {
          kind: 'ClusterRoleBinding',
          metadata: { name },
          roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name },
          subjects: [{ apiGroup: RBAC, kind: 'User', name: holder }],
        });
      }
    },
  });
  await server.server.ready();
});
after(async () => {
  authorization.stop();
  await server.stop();
});

interface Answer {
  readonly status: number;
  readonly message: string;
  readonly userInfo: {
    readonly username: string;
    readonly groups?: readonly string[];
    readonly uid?: string;
    readonly extra?: Readonly<Record<string, readonly string[]>>;
  };
}

/** Who am I, acting as somebody? */
async function whoami(as: UserInfo, headers: Readonly<Record<string, string>>): Promise<Answer> {
  const { status, body } = await server.request('POST /apis/authentication.k8s.io/v1/selfsubjectreviews', {
    user: as,
    headers,
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
  });
  return { status, message: body.message as string, userInfo: body.status?.userInfo as Answer['userInfo'] };
}

describe('who they are then', () => {
  const cases: readonly {
    readonly name: string;
    readonly as: UserInfo;
    readonly headers: Readonly<Record<string, string>>;
    readonly is: Answer['userInfo'];
  }[] = [
    {
      name: 'a user',
      as: user('admin'),
      headers: { 'impersonate-user': 'jane' },
      is: { username: 'jane', groups: ['system:authenticated'] },
    },
    {
      name: 'with groups, uid and extra',
      as: user('admin'),
      headers: {
        'impersonate-user': 'jane',
        'impersonate-group': 'devs, ops',
        'impersonate-uid': 'u-1',
        'impersonate-extra-scopes': 'view, edit',
      },
      is: {
        username: 'jane',
        groups: ['devs', 'ops', 'system:authenticated'],
        uid: 'u-1',
        extra: { scopes: ['view', 'edit'] },
      },
    },
    {
      name: 'a service account',
      as: user('admin'),
      headers: { 'impersonate-user': 'system:serviceaccount:blue:app' },
      is: {
        username: 'system:serviceaccount:blue:app',
        groups: ['system:serviceaccounts', 'system:serviceaccounts:blue', 'system:authenticated'],
      },
    },
    {
      name: 'nobody known',
      as: user('admin'),
      headers: { 'impersonate-user': 'system:anonymous' },
      is: { username: 'system:anonymous', groups: ['system:unauthenticated'] },
    },
    {
      name: 'an unauthenticated user',
      as: user('admin'),
      headers: { 'impersonate-user': 'jane', 'impersonate-group': 'system:unauthenticated' },
      is: { username: 'jane', groups: ['system:unauthenticated'] },
    },
    {
      name: 'a node, plainly, has only the groups it was given',
      as: user('admin'),
      headers: { 'impersonate-user': 'system:node:n1' },
      is: { username: 'system:node:n1', groups: ['system:authenticated'] },
    },
    {
      name: 'constrained: a user with a group and extra',
      as: user('lister'),
      headers: {
        'impersonate-user': 'jane',
        'impersonate-group': 'devs',
        'impersonate-extra-example.com%2fteam': 'a',
      },
      is: {
        username: 'jane',
        groups: ['devs', 'system:authenticated'],
        extra: { 'example.com/team': ['a'] },
      },
    },
    {
      name: 'constrained: a service account',
      as: user('deputy'),
      headers: { 'impersonate-user': 'system:serviceaccount:blue:app' },
      is: {
        username: 'system:serviceaccount:blue:app',
        groups: ['system:serviceaccounts', 'system:serviceaccounts:blue', 'system:authenticated'],
      },
    },
    {
      name: 'constrained: a node',
      as: user('node-admin'),
      headers: { 'impersonate-user': 'system:node:n1' },
      is: { username: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] },
    },
    {
      name: "constrained: the node of one's pod",
      as: AGENT,
      headers: { 'impersonate-user': 'system:node:n1' },
      is: { username: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] },
    },
  ];
  for (const { name, as, headers, is } of cases) {
    test(name, async () => {
      const { status, userInfo, message } = await whoami(as, headers);
      assert.equal(status, 201, message);
      assert.deepEqual(userInfo, is);
    });
  }
});

describe('who may not', () => {
  const cases: readonly {
    readonly name: string;
    readonly as: UserInfo;
    readonly headers: Readonly<Record<string, string>>;
    readonly status?: number;
    readonly says: RegExp;
  }[] = [
    {
      name: 'without any right: the first refusal is reported',
      as: user('joe'),
      headers: { 'impersonate-user': 'jane' },
      says: /User "joe" cannot impersonate-on:user-info:create resource "selfsubjectreviews" in API group "authentication\.k8s\.io" at the cluster scope/,
    },
    {
      name: 'another user',
      as: user('only-jane'),
      headers: { 'impersonate-user': 'joe' },
      says: /cannot impersonate/,
    },
    {
      name: 'with a group',
      as: user('only-jane'),
      headers: { 'impersonate-user': 'jane', 'impersonate-group': 'system:masters' },
      says: /cannot impersonate/,
    },
    {
      name: 'with a uid',
      as: user('only-jane'),
      headers: { 'impersonate-user': 'jane', 'impersonate-uid': '1' },
      says: /cannot impersonate/,
    },
    {
      name: 'with extra',
      as: user('admin'),
      headers: { 'impersonate-user': 'jane', 'impersonate-extra-other': '1' },
      says: /cannot impersonate/,
    },
    {
      name: 'groups without a user',
      as: user('admin'),
      headers: { 'impersonate-group': 'devs' },
      status: 400,
      says: /without impersonating a user name/,
    },
    {
      name: 'an empty user',
      as: user('admin'),
      headers: { 'impersonate-user': '' },
      status: 400,
      says: /without impersonating a user name/,
    },
    {
      name: 'extra without a user',
      as: user('admin'),
      headers: { 'impersonate-extra-scopes': 'x' },
      status: 400,
      says: /without impersonating a user name/,
    },
    {
      name: 'constrained: another user',
      as: user('lister'),
      headers: { 'impersonate-user': 'joe' },
      says: /User "lister" cannot impersonate:user-info resource "users" in API group "authentication\.k8s\.io"/,
    },
    {
      name: 'constrained: another group',
      as: user('lister'),
      headers: { 'impersonate-user': 'jane', 'impersonate-group': 'ops' },
      says: /cannot impersonate:user-info resource "groups"/,
    },
    {
      name: 'constrained: system:masters never',
      as: user('masterful'),
      headers: { 'impersonate-user': 'jane', 'impersonate-group': 'system:masters' },
      says: /impersonating the system:masters group is not allowed/,
    },
    {
      name: 'constrained: a bad key of extra',
      as: user('masterful'),
      headers: { 'impersonate-user': 'jane', 'impersonate-extra-team': 'a' },
      says: /impersonating an invalid key in extra is not allowed/,
    },
    {
      name: 'constrained: a service account is no user-info',
      as: user('masterful'),
      headers: { 'impersonate-user': 'system:serviceaccount:kube-system:admin' },
      says: /cannot impersonate/,
    },
    {
      name: 'constrained: a node is no user-info',
      as: user('masterful'),
      headers: { 'impersonate-user': 'system:node:n1' },
      says: /cannot impersonate/,
    },
    {
      name: 'constrained: another service account',
      as: user('deputy'),
      headers: { 'impersonate-user': 'system:serviceaccount:blue:other' },
      says: /cannot impersonate:serviceaccount resource "serviceaccounts"/,
    },
    {
      name: 'constrained: a service account with groups',
      as: user('deputy'),
      headers: {
        'impersonate-user': 'system:serviceaccount:blue:app',
        'impersonate-group': 'system:masters',
      },
      says: /cannot impersonate/,
    },
    {
      name: 'constrained: another node',
      as: user('node-admin'),
      headers: { 'impersonate-user': 'system:node:n2' },
      says: /cannot impersonate:arbitrary-node resource "nodes"/,
    },
    {
      name: "constrained: not the node of one's pod",
      as: AGENT,
      headers: { 'impersonate-user': 'system:node:n2' },
      says: /cannot impersonate/,
    },
    {
      name: 'constrained: a user that only says it is on the node',
      as: { ...AGENT, name: 'agent' },
      headers: { 'impersonate-user': 'system:node:n1' },
      says: /cannot impersonate/,
    },
  ];
  for (const { name, as, headers, status = 403, says } of cases) {
    test(name, async () => {
      const answer = await whoami(as, headers);
      assert.equal(answer.status, status, answer.message);
      assert.match(answer.message, says);
    });
  }

  test('constrained: another request than the one granted', async () => {
    const { status, body } = await server.request('GET /api/v1/namespaces', {
      user: user('lister'),
      headers: { 'impersonate-user': 'jane' },
    });
    assert.equal(status, 403);
    assert.match(
      body.message as string,
      /User "lister" cannot impersonate:user-info resource|User "lister" cannot impersonate-on:user-info:list resource "namespaces"/,
    );
  });
});

test('without the feature ConstrainedImpersonation only the verb impersonate counts', async () => {
  const tests = await startTestServer({
    constrainedImpersonation: false,
    authentication: () => ({ authenticator: { authenticate: () => undefined } }),
    authorization: () =>
      ({
        authorize: ({ verb }: { readonly verb: string }) => ({
          decision: verb === 'impersonate' ? 'none' : 'allow',
          reason: '',
        }),
        rulesFor: () => Promise.resolve({ resourceRules: [], nonResourceRules: [], incomplete: false }),
      }) as never,
  });
  try {
    for (const name of ['jane', 'system:serviceaccount:blue:app', 'system:node:n1']) {
      const { status, body } = await tests.request('GET /api/v1/namespaces', {
        user: user('lister'),
        headers: { 'impersonate-user': name },
      });
      assert.equal(status, 403);
      assert.match(
        body.message as string,
        /User "lister" cannot impersonate resource "(users|serviceaccounts)"/,
      );
    }
  } finally {
    await tests.stop();
  }
});
