/** The webhook authorizer and AuthorizationConfiguration against real HTTPS servers. */
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { startWebhookPeer, type PeerAnswer, type PeerCall, type WebhookPeer } from '#testing/webhook-peer.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';
import { createKubeconfigClient } from '../webhooks/kubeconfig-client.ts';
import { createAuthorization, type Authorization } from './authorization.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import { FakeInternal } from './testing/loopback-client.ts';
import { AuthorizationMetrics } from './metrics.ts';
import { WebhookAuthorizer, type WebhookOptions } from './webhook.ts';

interface Review {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec: Record<string, unknown>;
}
const reviewOf = (call: PeerCall | undefined): Review => call?.body as Review;
const answer =
  (status: object, version = 'v1') =>
  (): PeerAnswer => ({
    body: { apiVersion: `authorization.k8s.io/${version}`, kind: 'SubjectAccessReview', status },
  });

const PODS: AuthorizationAttributes = {
  user: { name: 'jane', groups: ['devs'], uid: 'u1', extra: { team: ['a'] } },
  verb: 'list',
  isResourceRequest: true,
  group: '',
  version: 'v1',
  resource: 'pods',
  subresource: '',
  namespace: 'blue',
  name: '',
  path: '/api/v1/namespaces/blue/pods',
};
const HEALTH: AuthorizationAttributes = {
  ...PODS,
  verb: 'get',
  isResourceRequest: false,
  version: '',
  resource: '',
  namespace: '',
  path: '/healthz',
};

let peer: WebhookPeer;
const opened: { close(): void }[] = [];
beforeEach(async () => {
  peer = await startWebhookPeer(answer({ allowed: true }));
});
afterEach(async () => {
  for (const one of opened.splice(0)) one.close();
  await peer.stop();
});

function webhook(changes: Partial<WebhookOptions> = {}): {
  readonly authorizer: WebhookAuthorizer;
  readonly metrics: AuthorizationMetrics;
  readonly clock: FakeClock;
} {
  const metrics = new AuthorizationMetrics();
  const clock = new FakeClock();
  const authorizer = new WebhookAuthorizer({
    name: 'hook',
    client: createKubeconfigClient({ file: peer.kubeconfig }),
    version: 'v1',
    authorizedTtlMs: 300_000,
    unauthorizedTtlMs: 30_000,
    timeoutMs: 30_000,
    failurePolicy: 'NoOpinion',
    metrics,
    log: silentLogger,
    clock: Object.assign(clock, { sleep: () => Promise.resolve() }),
    ...changes,
  });
  opened.push(authorizer);
  return { authorizer, metrics, clock };
}

test('what is sent: everything of the request, selectors too', async () => {
  const { authorizer } = webhook();
  assert.equal(
    (
      await authorizer.authorize({
        ...PODS,
        fieldSelector: [{ key: 'spec.nodeName', operator: 'In', values: ['n1'] }],
        labelSelector: [
          { key: 'app', operator: 'NotIn', values: ['x'] },
          { key: 'tier', operator: 'Exists', values: [] },
          { key: 'n', operator: 'Gt', values: ['1'] },
        ],
      })
    ).decision,
    'allow',
  );
  assert.deepEqual(peer.calls.at(-1)?.body, {
    kind: 'SubjectAccessReview',
    apiVersion: 'authorization.k8s.io/v1',
    metadata: {},
    spec: {
      resourceAttributes: {
        namespace: 'blue',
        verb: 'list',
        version: 'v1',
        resource: 'pods',
        fieldSelector: { requirements: [{ key: 'spec.nodeName', operator: 'In', values: ['n1'] }] },
        labelSelector: {
          requirements: [
            { key: 'app', operator: 'NotIn', values: ['x'] },
            { key: 'tier', operator: 'Exists' },
          ],
        },
      },
      user: 'jane',
      groups: ['devs'],
      extra: { team: ['a'] },
      uid: 'u1',
    },
    status: { allowed: false },
  });
  await authorizer.authorize(HEALTH);
  assert.deepEqual(reviewOf(peer.calls.at(-1)).spec['nonResourceAttributes'], {
    path: '/healthz',
    verb: 'get',
  });
});

test('version v1beta1 has group, and no selectors', async () => {
  peer.answer(answer({ allowed: true }, 'v1beta1'));
  const { authorizer } = webhook({ version: 'v1beta1' });
  assert.equal(
    (await authorizer.authorize({ ...PODS, fieldSelector: [{ key: 'a', operator: 'In', values: ['b'] }] }))
      .decision,
    'allow',
  );
  assert.deepEqual(reviewOf(peer.calls.at(-1)), {
    kind: 'SubjectAccessReview',
    apiVersion: 'authorization.k8s.io/v1beta1',
    metadata: {},
    status: { allowed: false },
    spec: {
      resourceAttributes: { namespace: 'blue', verb: 'list', version: 'v1', resource: 'pods' },
      user: 'jane',
      group: ['devs'],
      extra: { team: ['a'] },
      uid: 'u1',
    },
  });
});

test('what is answered', async () => {
  const decide = async (status: object): Promise<unknown> => {
    peer.answer(answer(status));
    return webhook().authorizer.authorize(PODS);
  };
  assert.deepEqual(await decide({ allowed: true, reason: 'friend' }), {
    decision: 'allow',
    reason: 'friend',
  });
  assert.deepEqual(await decide({ allowed: false, reason: 'stranger' }), {
    decision: 'no-opinion',
    reason: 'stranger',
  });
  assert.deepEqual(await decide({ allowed: false, denied: true, reason: 'foe' }), {
    decision: 'deny',
    reason: 'foe',
  });
  assert.deepEqual(await decide({ allowed: true, denied: true }), {
    decision: 'deny',
    reason: '',
    error: 'webhook subject access review returned both allow and deny response',
  });
});

test('answers are remembered for as long as each may be, those of long requests are not, and the same question goes out once', async () => {
  const { authorizer, clock } = webhook();
  await Promise.all([authorizer.authorize(PODS), authorizer.authorize(PODS)]);
  await authorizer.authorize(PODS);
  assert.equal(peer.calls.length, 1);
  clock.advanceSync(300_001);
  peer.answer(answer({ allowed: false }));
  assert.equal((await authorizer.authorize(PODS)).decision, 'no-opinion');
  clock.advanceSync(29_000);
  await authorizer.authorize(PODS);
  assert.equal(peer.calls.length, 2);
  clock.advanceSync(1001);
  await authorizer.authorize(PODS);
  assert.equal(peer.calls.length, 3);
  const long = { ...HEALTH, path: `/${'x'.repeat(10_000)}` };
  await authorizer.authorize(long);
  await authorizer.authorize(long);
  assert.equal(peer.calls.length, 5);
  const { authorizer: forgetful } = webhook({ authorizedTtlMs: 0, unauthorizedTtlMs: 0 });
  await forgetful.authorize(PODS);
  await forgetful.authorize(PODS);
  assert.equal(peer.calls.length, 7);
});

describe('failures', () => {
  test('are tried again, then no opinion with the error', async () => {
    peer.answer(() => ({ status: 500 }));
    const { authorizer, metrics } = webhook();
    const { decision, error } = await authorizer.authorize(PODS);
    assert.equal(decision, 'no-opinion');
    assert.match(error ?? '', /the server answered 500/);
    assert.equal(peer.calls.length, 5);
    assert.equal(metrics.webhookEvaluations.get('name="hook",result="error"'), 5);
    assert.equal(metrics.webhookFailOpen.get('name="hook",result="error"'), 1);
    peer.answer(answer({ allowed: true }));
    assert.equal((await authorizer.authorize(PODS)).decision, 'allow', 'a failure is not remembered');
  });
  test('are a denial where the policy says so', async () => {
    peer.answer(() => ({ status: 403 }));
    const { authorizer, metrics } = webhook({ failurePolicy: 'Deny' });
    assert.equal((await authorizer.authorize(PODS)).decision, 'deny');
    assert.equal(metrics.webhookFailOpen.get('name="hook",result="error"'), 0);
  });
  test('silence is a timeout', async () => {
    peer.answer(() => new Promise(() => {}));
    const { authorizer, metrics } = webhook({ timeoutMs: 50 });
    assert.match((await authorizer.authorize(PODS)).error ?? '', /context deadline exceeded/);
    assert.equal(metrics.webhookEvaluations.get('name="hook",result="timeout"'), 1);
  });
  for (const [name, body] of [
    ['no review', { hello: 1 }],
    [
      'another version',
      { apiVersion: 'authorization.k8s.io/v2', kind: 'SubjectAccessReview', status: { allowed: true } },
    ],
    [
      'a text for a yes',
      { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', status: { allowed: 'true' } },
    ],
    ['a list', []],
  ] as const) {
    test(`${name} is not believed`, async () => {
      peer.answer(() => ({ body }));
      const { decision, error } = await webhook().authorizer.authorize(PODS);
      assert.equal(decision, 'no-opinion');
      assert.match(error ?? '', /the webhook's answer is not a SubjectAccessReview/);
    });
  }
});

test('a failing webhook in front of RBAC: who RBAC allows goes on, others are answered 500; metrics', async () => {
  let authorization: Authorization | undefined;
  let server: TestServer | undefined;
  try {
    server = await startTestServer({
      authentication: () => ({
        authenticator: {
          authenticate: ({ headers }) => ({ user: { name: headers['x-user'] ?? '', groups: [] } }),
        },
      }),
      authorization: ({ internal }) =>
        (authorization = createAuthorization({
          internal,
          modes: ['Webhook', 'RBAC'],
          webhook: { configFile: peer.kubeconfig, version: 'v1' },
        })).authorizer,
      bootstrap: async (internal) => {
        await internal.create({ group: 'rbac.authorization.k8s.io', resource: 'clusterroles' }, {
          apiVersion: 'rbac.authorization.k8s.io/v1',
          kind: 'ClusterRole',
          metadata: { name: 'reader' },
          rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['list'] }],
        } as never);
        await internal.create({ group: 'rbac.authorization.k8s.io', resource: 'clusterrolebindings' }, {
          apiVersion: 'rbac.authorization.k8s.io/v1',
          kind: 'ClusterRoleBinding',
          metadata: { name: 'readers' },
          roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'reader' },
          subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'jane' }],
        } as never);
      },
    });
    await server.server.ready();
    const as = (name: string): Promise<{ readonly status: number; readonly text: string }> =>
      server!.request('GET /api/v1/nodes', { headers: { 'x-user': name } });
    peer.answer(() => ({ status: 404 }));
    assert.equal((await as('jane')).status, 200);
    const joe = await as('joe');
    assert.equal(joe.status, 500, joe.text);
    assert.match(joe.text, /the server answered 404/);
    peer.answer(answer({ allowed: false, reason: 'not on the list' }));
    const denied = await as('kim');
    assert.equal(denied.status, 403);
    assert.match(
      denied.text,
      /User \\"kim\\" cannot list resource \\"nodes\\" in API group \\"\\" at the cluster scope: not on the list/,
    );
    assert.match(
      authorization!.metrics.render(),
      /^apiserver_authorization_decisions_total\{decision="allowed",name="rbac",type="RBAC"\} 1$/m,
    );
    assert.match(
      authorization!.metrics.render(),
      /^apiserver_authorization_webhook_duration_seconds_count\{name="default",result="error"\} 2$/m,
    );
  } finally {
    authorization?.stop();
    await server?.stop();
  }
});

test('a silent webhook stalls only those whom nobody in front of it lets through', async (t) => {
  let answerNow = (): void => {};
  peer.answer(
    () =>
      new Promise((resolve) => {
        answerNow = () =>
          resolve({
            body: {
              apiVersion: 'authorization.k8s.io/v1',
              kind: 'SubjectAccessReview',
              status: { allowed: true },
            },
          });
      }),
  );
  const path = join(peer.dir, 'policies');
  writeFileSync(path, '{"user": "jane"}\n');
  const authorization = createAuthorization({
    internal: new FakeInternal(),
    modes: ['ABAC', 'Webhook'],
    policyFile: path,
    webhook: { configFile: peer.kubeconfig, version: 'v1' },
  });
  t.after(() => authorization.stop());
  const waiting = Promise.resolve(
    authorization.authorizer.authorize({ ...PODS, user: { name: 'joe', groups: [] } }),
  );
  const jane = authorization.authorizer.authorize({ ...PODS, user: { name: 'jane', groups: [] } });
  assert.ok(!(jane instanceof Promise), 'answered at once');
  assert.equal(jane.decision, 'allow');
  for (const { calls } = peer; calls.length === 0;) await new Promise((resolve) => setImmediate(resolve));
  answerNow();
  assert.equal((await waiting).decision, 'allow');
});

describe('AuthorizationConfiguration', () => {
  const write = (path: string, authorizers: readonly object[]): void => {
    writeFileSync(
      `${path}.new`,
      JSON.stringify({
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'AuthorizationConfiguration',
        authorizers,
      }),
    );
    renameSync(`${path}.new`, path);
  };
  const hook = (name: string, file: string, ...expressions: readonly string[]): object => ({
    type: 'Webhook',
    name,
    webhook: {
      timeout: '2s',
      subjectAccessReviewVersion: 'v1',
      matchConditionSubjectAccessReviewVersion: 'v1',
      failurePolicy: 'Deny',
      connectionInfo: { type: 'KubeConfigFile', kubeConfigFile: file },
      matchConditions: expressions.map((expression) => ({ expression })),
    },
  });

  test('several webhooks in order, each for what its conditions say; reloaded, and a bad file keeps the old', async (t) => {
    const second = await startWebhookPeer(answer({ allowed: true, reason: 'second' }));
    t.after(() => second.stop());
    const path = join(peer.dir, 'authorization.json');
    write(path, [
      hook(
        'first.example',
        peer.kubeconfig,
        'has(request.resourceAttributes)',
        "request.resourceAttributes.namespace == 'blue'",
      ),
      hook('second.example', second.kubeconfig, "!request.user.startsWith('system:')"),
    ]);
    const clock = new FakeClock();
    const authorization = createAuthorization({
      internal: new FakeInternal(),
      configFile: path,
      clock: Object.assign(clock, { sleep: () => Promise.resolve() }),
    });
    t.after(() => authorization.stop());
    const { authorizer, metrics } = authorization;
    peer.answer(answer({ allowed: false, denied: true, reason: 'blue is closed' }));
    assert.deepEqual(await authorizer.authorize(PODS), { decision: 'deny', reason: 'blue is closed' });
    assert.deepEqual(await authorizer.authorize({ ...PODS, namespace: 'red' }), {
      decision: 'allow',
      reason: 'second',
    });
    assert.equal(
      (await authorizer.authorize({ ...PODS, namespace: 'red', user: { name: 'system:x', groups: [] } }))
        .decision,
      'no-opinion',
    );
    assert.equal(
      (await authorizer.authorize({ ...PODS, user: { name: 'root', groups: ['system:masters'] } })).decision,
      'allow',
    );
    assert.equal(metrics.matchExclusions.get('name="first.example",type="Webhook"'), 2);
    assert.match(
      metrics.render(),
      /decisions_total\{decision="denied",name="first\.example",type="Webhook"\} 1\n/,
    );

    writeFileSync(path, 'not: [yaml');
    assert.equal(await changed(() => metrics.render().includes('automatic_reloads_total{'), clock), true);
    assert.match(
      metrics.render(),
      /automatic_reloads_total\{apiserver_id_hash="sha256:[0-9a-f]{64}",status="failure"\} 1/,
    );
    assert.equal(
      (await authorizer.authorize({ ...PODS, namespace: 'green' })).decision,
      'allow',
      'the old configuration stays',
    );

    write(path, [
      { type: 'AlwaysDeny', name: 'alwaysdeny' },
      { type: 'RBAC', name: 'rbac' },
    ]);
    assert.equal(await changed(() => metrics.render().includes('status="success"'), clock), true);
    assert.deepEqual(await authorizer.authorize({ ...PODS, namespace: 'yellow' }), {
      decision: 'no-opinion',
      reason: 'Everything is forbidden.',
    });
    assert.match(
      metrics.render(),
      /last_config_info\{apiserver_id_hash="sha256:[0-9a-f]{64}",hash="sha256:[0-9a-f]{64}"\} 1/,
    );
  });

  /** The file is looked at every minute, whatever the kernel tells. */
  async function changed(check: () => boolean, clock: FakeClock): Promise<boolean> {
    for (let i = 0; i < 5 && !check(); i++) await clock.advance(60_000);
    return check();
  }

  test('a file that is bad at the start is an error', () => {
    const path = join(peer.dir, 'bad.json');
    write(path, [{ type: 'Webhook', name: 'x' }]);
    assert.throws(
      () => createAuthorization({ internal: new FakeInternal(), configFile: path }),
      /authorizers\[0\]\.webhook: Required value: required when type=Webhook/,
    );
    assert.throws(
      () => createAuthorization({ internal: new FakeInternal(), configFile: '/nonexistent/c' }),
      /--authorization-config \/nonexistent\/c cannot be read/,
    );
    write(path, [hook('empty.example', path)]);
    assert.throws(
      () => createAuthorization({ internal: new FakeInternal(), configFile: path }),
      /no cluster is configured/,
    );
  });
});

test('modes and what they need', () => {
  const make = (options: object) => (): Authorization =>
    createAuthorization({ internal: new FakeInternal(), ...options });
  assert.throws(make({ modes: ['ABAC'] }), /authorization-mode ABAC's authorization policy file not passed/);
  assert.throws(
    make({ modes: ['Webhook'] }),
    /authorization-mode Webhook's authorization config file not passed/,
  );
  assert.throws(
    make({ policyFile: 'x' }),
    /cannot specify --authorization-policy-file without authorization-mode ABAC/,
  );
  assert.throws(
    make({ webhook: { configFile: 'x' } }),
    /cannot specify --authorization-webhook-config-file without authorization-mode Webhook/,
  );
  assert.throws(make({ modes: [] }), /at least one authorization-mode must be passed/);
  assert.throws(make({ modes: ['rbac'] }), /authorization-mode "rbac" is not a valid mode/);
});
