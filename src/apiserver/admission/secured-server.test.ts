/** Authentication, authorization and admission together in a real server over the memory store. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { createAuthentication } from '../authn/authentication.ts';
import { createAuthorization, type Authorization } from '../authz/authorization.ts';
import { bootstrapPolicy } from '../authz/bootstrap-policy.ts';
import { startTestServer, type TestRequestOptions, type TestServer } from '../testing/server.ts';
import { createAdmission } from './list.ts';

const ADMIN: UserInfo = {
  name: 'kubernetes-admin',
  groups: ['kubeadm:cluster-admins', 'system:authenticated'],
};
const JANE: UserInfo = { name: 'jane', groups: ['system:authenticated'] };

async function securedServer(): Promise<TestServer> {
  const signingKeyPem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
  let authorization: Authorization | undefined;
  const made = await startTestServer({
    authentication: ({ internal, clock }) =>
      createAuthentication({ internal, nowMs: () => clock.now(), serviceAccounts: { signingKeyPem } }),
    authorization: ({ internal, log }) => (authorization = createAuthorization({ internal, log })).authorizer,
    admission: () => createAdmission({ authorization: authorization! }),
  });
  await bootstrapPolicy(made.server.internal, { clusterAdminGroups: ['kubeadm:cluster-admins'] });
  return {
    ...made,
    stop: async () => {
      authorization?.stop();
      await made.stop();
    },
  };
}

async function withServer(
  work: (
    server: TestServer,
    as: (
      user: UserInfo,
      target: string,
      options?: TestRequestOptions,
    ) => Promise<{ status: number; body: KubeObject & { message?: string } }>,
  ) => Promise<void>,
): Promise<void> {
  const server = await securedServer();
  const json = { 'content-type': 'application/json' };
  try {
    await work(server, (user, target, options = {}) =>
      server.request(target, { ...options, user, headers: { ...json, ...options.headers } }),
    );
  } finally {
    await server.stop();
  }
}

const namespace = (name: string, labels = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels },
});
const pod = (name: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { containers: [{ name: 'c', image: 'i' }] },
});
const account = (name: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name },
});

test('who one is decides what one may', () =>
  withServer(async ({ request }, as) => {
    const refused = await request('GET /api/v1/namespaces/red/pods');
    assert.equal(refused.status, 403);
    assert.equal(
      refused.body.message,
      'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "red"',
    );
    assert.equal((await request('GET /api/v1/pods', { headers: { authorization: 'Bearer x' } })).status, 401);
    assert.equal((await request('GET /version')).status, 200);
    assert.equal((await as(JANE, 'GET /apis')).status, 200);
    assert.equal((await as(ADMIN, 'POST /api/v1/namespaces', { body: namespace('red') })).status, 201);
    assert.equal((await as(JANE, 'POST /api/v1/namespaces', { body: namespace('blue') })).status, 403);
  }));

test("a pod gets its account's token, and the token what RBAC says, until the pod goes", () =>
  withServer(async ({ request }, as) => {
    await as(ADMIN, 'POST /api/v1/namespaces', { body: namespace('red') });
    await as(ADMIN, 'POST /api/v1/namespaces/red/serviceaccounts', { body: account('default') });
    const made = await as(ADMIN, 'POST /api/v1/namespaces/red/pods', { body: pod('web') });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    const spec = made.body['spec'] as {
      serviceAccountName: string;
      volumes: { projected: unknown }[];
      tolerations: unknown[];
      priority: number;
    };
    assert.deepEqual(
      [spec.serviceAccountName, spec.volumes.length, spec.tolerations.length, spec.priority],
      ['default', 1, 2, 0],
    );
    const asked = await as(ADMIN, 'POST /api/v1/namespaces/red/serviceaccounts/default/token', {
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: {
          expirationSeconds: 3607,
          boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: 'web', uid: made.body.metadata?.uid },
        },
      },
    });
    assert.equal(asked.status, 201, JSON.stringify(asked.body));
    const headers = {
      authorization: `Bearer ${(asked.body['status'] as { token: string }).token}`,
      'content-type': 'application/json',
    };
    const own = await request('POST /apis/authentication.k8s.io/v1/selfsubjectreviews', {
      headers,
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
    });
    assert.equal(own.body.status.userInfo.username, 'system:serviceaccount:red:default');
    assert.deepEqual(own.body.status.userInfo.extra['authentication.kubernetes.io/pod-name'], ['web']);
    assert.equal((await request('GET /api/v1/namespaces/red/pods', { headers })).status, 403);
    const binding = {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'view' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
      subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: 'red' }],
    };
    assert.equal(
      (
        await as(ADMIN, 'POST /apis/rbac.authorization.k8s.io/v1/namespaces/red/rolebindings', {
          body: binding,
        })
      ).status,
      201,
    );
    assert.equal((await request('GET /api/v1/namespaces/red/pods', { headers })).status, 200);
    assert.equal(
      (await as(ADMIN, 'DELETE /api/v1/namespaces/red/pods/web?gracePeriodSeconds=0')).status,
      200,
    );
    assert.equal((await request('GET /api/v1/namespaces/red/pods', { headers })).status, 401);
  }));

test('nobody grants what they do not hold', () =>
  withServer(async (_, as) => {
    await as(ADMIN, 'POST /api/v1/namespaces', { body: namespace('red') });
    const group = 'rbac.authorization.k8s.io';
    const binding = (name: string, role: string, user: string): KubeObject => ({
      apiVersion: `${group}/v1`,
      kind: 'RoleBinding',
      metadata: { name },
      roleRef: { apiGroup: group, kind: 'ClusterRole', name: role },
      subjects: [{ kind: 'User', name: user, apiGroup: group }],
    });
    const url = `/apis/${group}/v1/namespaces/red/rolebindings`;
    assert.equal((await as(ADMIN, `POST ${url}`, { body: binding('a', 'admin', 'jane') })).status, 201);
    const greedy = await as(JANE, `POST ${url}`, { body: binding('b', 'cluster-admin', 'jane') });
    assert.equal(greedy.status, 403);
    assert.match(
      greedy.body.message ?? '',
      /^rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "jane" \(groups=\["system:authenticated"\]\) is attempting to grant RBAC permissions not currently held:\n/,
    );
    assert.equal((await as(JANE, `POST ${url}`, { body: binding('b', 'view', 'joe') })).status, 201);
  }));

test('namespaces end, levels hold, quotas are charged and given back', () =>
  withServer(async ({ server }, as) => {
    await as(ADMIN, 'POST /api/v1/namespaces', {
      body: namespace('red', {
        'pod-security.kubernetes.io/warn': 'restricted',
        'pod-security.kubernetes.io/enforce': 'baseline',
      }),
    });
    await as(ADMIN, 'POST /api/v1/namespaces/red/serviceaccounts', { body: account('default') });
    const privileged = structuredClone(pod('bad')) as KubeObject & { spec: Record<string, unknown> };
    privileged.spec['hostNetwork'] = true;
    const refused = await as(ADMIN, 'POST /api/v1/namespaces/red/pods', { body: privileged });
    assert.equal(
      refused.body.message,
      'pods "bad" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)',
    );
    const quota = {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'q', namespace: 'red' },
      spec: { hard: { pods: '1' } },
      status: { hard: { pods: '1' }, used: { pods: '0' } },
    };
    const stored = await server.internal.create({ group: '', resource: 'resourcequotas' }, quota);
    await server.internal.update(
      { group: '', resource: 'resourcequotas' },
      { ...structuredClone(stored), status: quota.status },
      { subresource: 'status' },
    );
    const used = (): string | undefined =>
      (
        server.internal.get({ group: '', resource: 'resourcequotas' }, { namespace: 'red', name: 'q' })?.[
          'status'
        ] as { used: Record<string, string> } | undefined
      )?.used['pods'];
    assert.equal(
      (await as(ADMIN, 'POST /api/v1/namespaces/red/pods?dryRun=All', { body: pod('a') })).status,
      201,
    );
    assert.equal(used(), '0');
    assert.equal((await as(ADMIN, 'POST /api/v1/namespaces/red/pods', { body: pod('a') })).status, 201);
    assert.equal(used(), '1');
    assert.equal(
      (await as(ADMIN, 'POST /api/v1/namespaces/red/pods', { body: pod('b') })).body.message,
      'pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
    );
    await server.internal.modify(
      { group: '', resource: 'resourcequotas' },
      { namespace: 'red', name: 'q' },
      (object) => {
        object['spec'] = { hard: { pods: '2' } };
      },
    );
    const current = structuredClone(
      server.internal.get({ group: '', resource: 'resourcequotas' }, { namespace: 'red', name: 'q' })!,
    );
    await server.internal.update(
      { group: '', resource: 'resourcequotas' },
      { ...current, status: { hard: { pods: '2' }, used: { pods: '1' } } },
      { subresource: 'status' },
    );
    assert.equal((await as(ADMIN, 'POST /api/v1/namespaces/red/pods', { body: pod('a') })).status, 409);
    assert.equal(used(), '1', 'what did not come to be is not charged');
    assert.equal((await as(ADMIN, 'DELETE /api/v1/namespaces/red')).status, 200);
    const late = await as(ADMIN, 'POST /api/v1/namespaces/red/configmaps', {
      body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' } },
    });
    assert.equal(
      late.body.message,
      'configmaps "c" is forbidden: unable to create new content in namespace red because it is being terminated',
    );
  }));
