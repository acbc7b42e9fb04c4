import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { UserInfo } from '#machinery/object.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';
import { bootstrapFlowObjects } from './bootstrap-objects.ts';

const FLOW = '/apis/flowcontrol.apiserver.k8s.io/v1';
const JANE: UserInfo = { name: 'jane', groups: ['system:authenticated'] };

async function start(
  t: TestContext,
  options: Parameters<typeof startTestServer>[0] = {},
): Promise<TestServer> {
  const server = await startTestServer({ bootstrapObjects: true, ...options });
  t.after(() => server.stop());
  await server.server.ready();
  return server;
}

/** Waits until the condition holds; each turn lets everything that is ready run. */
async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  for (let turn = 0; !(await condition()); turn++) {
    assert.ok(turn < 10_000, 'the state was waited for too long');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

interface Schema {
  metadata: { name: string; uid: string; annotations?: Record<string, string> };
  spec: Record<string, unknown>;
  status?: { conditions?: { type: string; status: string; reason: string; message: string }[] };
}

async function schema(server: TestServer, name: string): Promise<Schema> {
  return (await server.request(`GET ${FLOW}/flowschemas/${name}`)).body as Schema;
}

async function danglingOf(server: TestServer, name: string): Promise<string | undefined> {
  return (await schema(server, name)).status?.conditions?.find(({ type }) => type === 'Dangling')?.status;
}

test("a new cluster has upstream's schemas and levels, none of them dangling", async (t) => {
  const server = await start(t);
  const { body } = await server.request(`GET ${FLOW}/flowschemas`);
  const rows = (body.items as Schema[]).map(({ metadata, spec }) =>
    [
      spec['matchingPrecedence'],
      metadata.name,
      (spec['priorityLevelConfiguration'] as { name: string }).name,
      (spec['distinguisherMethod'] as { type: string } | undefined)?.type ?? '<none>',
    ].join(' '),
  );
  assert.deepEqual(
    rows.toSorted((left, right) => parseInt(left) - parseInt(right) || (left < right ? -1 : 1)),
    [
      '1 exempt exempt <none>',
      '2 probes exempt <none>',
      '100 system-leader-election leader-election ByUser',
      '400 system-node-high node-high ByUser',
      '500 system-nodes system ByUser',
      '800 kube-controller-manager workload-high ByNamespace',
      '800 kube-scheduler workload-high ByNamespace',
      '900 kube-system-service-accounts workload-high ByNamespace',
      '9000 service-accounts workload-low ByUser',
      '9900 global-default global-default ByUser',
      '10000 catch-all catch-all ByUser',
    ],
  );
  for (const { metadata } of body.items as Schema[])
    await until(async () => (await danglingOf(server, metadata.name)) === 'False');
  const metrics = (await server.request('GET /metrics')).text;
  for (const [level, seats] of Object.entries({
    system: 74,
    'node-high': 98,
    'leader-election': 25,
    'workload-high': 98,
    'workload-low': 245,
    'global-default': 49,
    'catch-all': 13,
    exempt: 0,
  })) {
    assert.ok(
      metrics.includes(`apiserver_flowcontrol_nominal_limit_seats{priority_level="${level}"} ${seats}\n`),
      `${level} has ${seats} of 600 seats`,
    );
  }
});

test('requests go to the schema that matches first, and answers say which', async (t) => {
  const server = await start(t);
  const uids = new Map<string, string>();
  for (const { metadata } of (await server.request(`GET ${FLOW}/flowschemas`)).body.items as Schema[])
    uids.set(metadata.uid, metadata.name);
  const matched = async (target: string, user: UserInfo): Promise<string | undefined> =>
    uids.get((await server.request(target, { user })).headers['x-kubernetes-pf-flowschema-uid'] ?? '');
  const account = (namespace: string, name: string): UserInfo => ({
    name: `system:serviceaccount:${namespace}:${name}`,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
  });
  const node: UserInfo = { name: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] };
  const manager: UserInfo = { name: 'system:kube-controller-manager', groups: ['system:authenticated'] };
  assert.equal(await matched('GET /api/v1/pods', { name: 'root', groups: ['system:masters'] }), 'exempt');
  assert.equal(await matched('GET /readyz', JANE), 'probes');
  assert.equal(await matched('GET /version', JANE), 'global-default');
  assert.equal(await matched('GET /api/v1/namespaces/default/pods', JANE), 'global-default');
  assert.equal(await matched('GET /api/v1/nodes/n1', node), 'system-node-high');
  assert.equal(
    await matched('GET /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1', node),
    'system-node-high',
  );
  assert.equal(await matched('GET /api/v1/pods', node), 'system-nodes');
  assert.equal(
    await matched('GET /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x', manager),
    'system-leader-election',
  );
  assert.equal(
    await matched('GET /apis/coordination.k8s.io/v1/namespaces/kube-system/leases', manager),
    'kube-controller-manager',
    'a list is no part of locking',
  );
  assert.equal(
    await matched('GET /api/v1/pods', account('kube-system', 'x')),
    'kube-system-service-accounts',
  );
  assert.equal(await matched('GET /api/v1/pods', account('default', 'x')), 'service-accounts');
  assert.equal(
    await matched('GET /api/v1/pods', { name: 'stranger', groups: [] }),
    'catch-all',
    'who is in neither group of everyone',
  );
});

test('conformance: schemas and levels by every verb; a schema without its level dangles and matches nothing', async (t) => {
  const server = await start(t);
  const spec = {
    priorityLevelConfiguration: { name: 'mine' },
    matchingPrecedence: 700,
    distinguisherMethod: { type: 'ByUser' },
    rules: [
      {
        subjects: [{ kind: 'User', user: { name: 'jane' } }],
        resourceRules: [
          { verbs: ['get', 'list'], apiGroups: [''], resources: ['pods'], namespaces: ['red'] },
        ],
      },
    ],
  };
  const made = await server.request(`POST ${FLOW}/flowschemas`, {
    body: { metadata: { name: 'janes', labels: { a: 'b' } }, spec },
  });
  assert.equal(made.status, 201, made.text);
  await until(async () => (await danglingOf(server, 'janes')) === 'True');
  const condition = (await schema(server, 'janes')).status!.conditions![0]!;
  assert.deepEqual(
    [condition.reason, condition.message],
    [
      'NotFound',
      'This FlowSchema references the PriorityLevelConfiguration object named "mine" but there is no such object',
    ],
  );
  const matched = async (target: string): Promise<string | undefined> =>
    (await server.request(target, { user: JANE })).headers['x-kubernetes-pf-flowschema-uid'];
  const { uid } = made.body.metadata as { uid: string };
  assert.notEqual(await matched('GET /api/v1/namespaces/red/pods'), uid);

  const level = {
    metadata: { name: 'mine' },
    spec: { type: 'Limited', limited: { nominalConcurrencyShares: 2, limitResponse: { type: 'Reject' } } },
  };
  assert.equal(
    (await server.request(`POST ${FLOW}/prioritylevelconfigurations`, { body: level })).status,
    201,
  );
  await until(async () => (await danglingOf(server, 'janes')) === 'False');
  assert.equal(await matched('GET /api/v1/namespaces/red/pods'), uid);
  assert.notEqual(await matched('GET /api/v1/namespaces/blue/pods'), uid, 'another namespace');
  assert.notEqual(await matched('GET /api/v1/pods'), uid, 'all namespaces');
  assert.notEqual(await matched('GET /api/v1/namespaces/red/pods/x/log'), uid, 'a subresource');

  const patch = (path: string, body: unknown): ReturnType<TestServer['request']> =>
    server.request(`PATCH ${FLOW}/${path}`, {
      body,
      headers: { 'content-type': 'application/merge-patch+json' },
    });
  assert.equal(
    (await patch('flowschemas/janes', { spec: { matchingPrecedence: 9999 } })).body.spec.matchingPrecedence,
    9999,
  );
  await until(async () => (await matched('GET /api/v1/namespaces/red/pods')) !== uid);
  const status = await patch('flowschemas/janes/status', {
    status: { conditions: [{ type: 'Patched', status: 'True' }] },
  });
  assert.equal(status.status, 200);
  await until(async () => (await danglingOf(server, 'janes')) === 'False');
  assert.equal(
    (
      await patch('prioritylevelconfigurations/mine/status', {
        status: { conditions: [{ type: 'Patched', status: 'True', reason: 'Test', message: 'x' }] },
      })
    ).status,
    200,
  );
  assert.equal((await server.request(`DELETE ${FLOW}/flowschemas?labelSelector=a%3Db`)).status, 200);
  assert.equal((await server.request(`DELETE ${FLOW}/prioritylevelconfigurations/mine`)).status, 200);
  const dump = await server.request('GET /debug/api_priority_and_fairness/dump_priority_levels');
  assert.match(
    dump.text,
    /^PriorityLevelName, +ActiveQueues, +IsIdle, +IsQuiescing, +WaitingRequests, +ExecutingRequests, +DispatchedRequests, +RejectedRequests, +TimedoutRequests, +CancelledRequests\n/,
  );
  assert.doesNotMatch(dump.text, /^mine,/m, 'an idle level goes with its object');
});

test("suggested objects are put right, unless they are said to be someone else's; leftovers of other versions go", async (t) => {
  const clock = new FakeClock();
  const server = await start(t, { clock });
  const patch = (path: string, body: unknown): ReturnType<TestServer['request']> =>
    server.request(`PATCH ${FLOW}/${path}`, {
      body,
      headers: { 'content-type': 'application/merge-patch+json' },
    });
  const key = 'apf.kubernetes.io/autoupdate-spec';
  await patch('flowschemas/service-accounts', { spec: { matchingPrecedence: 8000 } });
  await patch('flowschemas/global-default', {
    metadata: { annotations: { [key]: 'false' } },
    spec: { matchingPrecedence: 8001 },
  });
  await patch('flowschemas/probes', {
    metadata: { annotations: { [key]: null } },
    spec: { matchingPrecedence: 3 },
  });
  await server.request(`DELETE ${FLOW}/flowschemas/kube-scheduler`);
  await server.request(`POST ${FLOW}/prioritylevelconfigurations`, {
    body: {
      metadata: { name: 'old', annotations: { [key]: 'true' } },
      spec: { type: 'Limited', limited: { limitResponse: { type: 'Reject' } } },
    },
  });
  await clock.advance(60_000);
  await until(
    async () => (await server.request(`GET ${FLOW}/prioritylevelconfigurations/old`)).status === 404,
  );
  const precedence = async (name: string): Promise<unknown> =>
    (await schema(server, name)).spec['matchingPrecedence'];
  assert.deepEqual(
    [
      await precedence('service-accounts'),
      await precedence('global-default'),
      await precedence('probes'),
      await precedence('kube-scheduler'),
    ],
    [9000, 8001, 3, 800],
  );
  assert.equal(
    (await schema(server, 'probes')).metadata.annotations?.[key],
    'false',
    'changed by someone and without the annotation: it is theirs',
  );
  assert.equal(bootstrapFlowObjects().length, 19);
});

test('the mandatory objects keep their specs; hands that a hash cannot deal are refused', async (t) => {
  const server = await start(t);
  const patch = (path: string, spec: unknown): ReturnType<TestServer['request']> =>
    server.request(`PATCH ${FLOW}/${path}`, {
      body: { spec },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
  const refused = await patch('flowschemas/catch-all', { matchingPrecedence: 9999 });
  assert.equal(refused.status, 422);
  assert.match(refused.body.message, /spec: Invalid value: .*spec of 'catch-all' must equal the fixed value/);
  assert.match(
    (await patch('prioritylevelconfigurations/catch-all', { limited: { nominalConcurrencyShares: 50 } })).body
      .message,
    /spec of 'catch-all' must equal the fixed value/,
  );
  const exempt = await patch('prioritylevelconfigurations/exempt', {
    exempt: { nominalConcurrencyShares: 5 },
  });
  assert.deepEqual(
    [exempt.status, exempt.body.spec],
    [200, { type: 'Exempt', exempt: { nominalConcurrencyShares: 5, lendablePercent: 0 } }],
  );
  const wide = await patch('prioritylevelconfigurations/system', {
    limited: { limitResponse: { queuing: { queues: 1024, handSize: 7 } } },
  });
  assert.match(
    wide.body.message,
    /spec\.limited\.limitResponse\.queuing\.handSize: Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should not be greater than 60/,
  );
});

test('a flood is refused with 429 and Retry-After once its queues are full; the modest and the exempt get through', async (t) => {
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  const hold = {
    authorize: async ({ user }: { readonly user: UserInfo }) => {
      if (user.name.startsWith('slow')) await gate;
      return { decision: 'allow' as const, reason: '' };
    },
  };
  const server = await start(t, {
    requestLimits: { maxRequestsInFlight: 20, maxMutatingRequestsInFlight: 10 },
    authorization: () => hold,
  });
  // Each status that is still to be written would have seats divided anew, by the flood's demand.
  for (const { metadata } of (await server.request(`GET ${FLOW}/flowschemas`)).body.items as Schema[])
    await until(async () => (await danglingOf(server, metadata.name)) === 'False');
  const get = (name: string): ReturnType<TestServer['request']> =>
    server.request('GET /api/v1/namespaces/default', { user: { name, groups: ['system:authenticated'] } });
  const flood = Array.from({ length: 400 }, () => get('slow'));
  const answers = flood.map((answer) =>
    answer.then(({ status, headers, text }) => ({
      status,
      retryAfter: headers['retry-after'],
      text,
      uid: headers['x-kubernetes-pf-prioritylevel-uid'],
    })),
  );
  const dump = (
    await server.request('GET /debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1')
  ).text;
  assert.match(
    dump,
    /global-default, +global-default, +\d+, +49, +slow, .*slow, +get, +\/api\/v1\/namespaces\/default/,
    'the flood waits in its queues',
  );
  const modest = get('modest');
  open();
  assert.equal((await modest).status, 200);
  const settled = await Promise.all(answers);
  const refused = settled.filter(({ status }) => status === 429);
  assert.ok(refused.length > 50, `${refused.length} of 400 were refused`);
  assert.ok(settled.every(({ status }) => status === 200 || status === 429));
  assert.deepEqual(
    [refused[0]!.retryAfter, refused[0]!.text],
    ['1', 'Too many requests, please try again later.\n'],
  );
  assert.ok(refused[0]!.uid, 'a refused request says its level, too');
  assert.match(
    (await server.request('GET /metrics')).text,
    /apiserver_flowcontrol_rejected_requests_total\{flow_schema="global-default",priority_level="global-default",reason="queue-full"\} \d+/,
  );
});

test('--enable-priority-and-fairness=false: plain limits, masters pass', async (t) => {
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  const server = await start(t, {
    requestLimits: { priorityAndFairness: false, maxRequestsInFlight: 2, maxMutatingRequestsInFlight: 1 },
    authorization: () => ({
      authorize: async ({ user }) => {
        if (user.name === 'jane') await gate;
        return { decision: 'allow', reason: '' };
      },
    }),
  });
  const answers = Array.from({ length: 3 }, () => server.request('GET /version', { user: JANE }));
  assert.equal((await answers[2])!.status, 429);
  assert.equal((await server.request('GET /version')).status, 200);
  assert.equal((await server.request('GET /version')).headers['x-kubernetes-pf-flowschema-uid'], undefined);
  open();
  assert.deepEqual(
    await Promise.all(answers.slice(0, 2).map(async (answer) => (await answer).status)),
    [200, 200],
  );
});

test('a request that takes too long is 504, and keeps its seat until it is over', async (t) => {
  const clock = new FakeClock();
  let open = (): void => {};
  const server = await start(t, {
    clock,
    requestLimits: { requestTimeoutMs: 5000 },
    authorization: () => ({
      authorize: ({ user }) =>
        user.name === 'slow'
          ? new Promise((resolve) => (open = () => resolve({ decision: 'allow', reason: '' })))
          : { decision: 'allow', reason: '' },
    }),
  });
  const slow: UserInfo = { name: 'slow', groups: ['system:authenticated'] };
  const executing = async (): Promise<string | undefined> =>
    /apiserver_flowcontrol_current_executing_requests\{flow_schema="global-default",[^}]*\} (\d+)/.exec(
      (await server.request('GET /metrics')).text,
    )?.[1];
  const answer = server.request('GET /version', { user: slow });
  await clock.advance(4999);
  assert.equal(await executing(), '1');
  await clock.advance(1);
  const { status, body } = await answer;
  assert.equal(status, 504);
  assert.deepEqual(
    [body.reason, body.message, body.code],
    [
      'Timeout',
      'Timeout: request did not complete within requested timeout - context deadline exceeded',
      504,
    ],
  );
  assert.equal(await executing(), '1', 'it still runs');
  open();
  await until(async () => (await executing()) === '0');
  const shorter = server.request('GET /version?timeout=2s', { user: slow });
  await clock.advance(2000);
  assert.equal((await shorter).status, 504);
  open();
  const bad = await server.request('GET /version?timeout=soon', { user: JANE });
  assert.deepEqual(
    [bad.status, bad.body.message],
    [400, 'invalid timeout specified in the request URL - time: invalid duration "soon"'],
  );
});

test('a bad ?timeout= of a request that waits is 400, however the wait ends', async (t) => {
  let fail = (_why: Error): void => {};
  const server = await start(t, {
    authentication: () => ({
      authenticator: { authenticate: () => new Promise((_, reject) => (fail = reject)) },
    }),
  });
  const { status } = await server.request('GET /version?timeout=soon');
  assert.equal(status, 400);
  fail(new Error('refused later'));
  await new Promise((resolve) => setImmediate(resolve));
});

test('a watch holds its seat only while it begins', async (t) => {
  const server = await start(t);
  const watch = await server.watch(
    '/api/v1/namespaces?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true',
    { user: JANE },
  );
  for (let i = 0; i < 5; i++) await watch.next();
  const { text } = await server.request('GET /metrics');
  assert.match(
    text,
    /current_executing_requests\{flow_schema="global-default",priority_level="global-default"\} 0/,
  );
  assert.match(
    text,
    /request_execution_seconds_count\{flow_schema="global-default",priority_level="global-default",type="watch"\} 1/,
  );
  watch.close();
});

test('a long answer keeps its seat until it is sent, a short one does not; a reader that never comes loses it', async (t) => {
  const clock = new FakeClock();
  const server = await start(t, {
    clock,
    requestLimits: { priorityAndFairness: false, maxRequestsInFlight: 1, maxMutatingRequestsInFlight: 1 },
  });
  const maps = '/api/v1/namespaces/long/configmaps',
    user = { name: 'jane', groups: ['system:authenticated'] };
  assert.equal(
    (
      await server.request(`POST ${maps}`, {
        user,
        body: { metadata: { name: 'long' }, data: { k: 'x'.repeat(70_000) } },
      })
    ).status,
    201,
  );
  let sent = (): void => {};
  const read = async (path: string): Promise<number> =>
    (
      await server.server.handler({
        method: 'GET',
        path,
        query: '',
        headers: {},
        remoteAddress: '127.0.0.1',
        onAbort() {},
        body: () => Promise.resolve(Buffer.alloc(0)),
        user,
        onSent: (callback) => void (sent = callback),
      })
    ).status;
  assert.equal(await read('/api/v1/namespaces/none/configmaps'), 200);
  assert.equal(await read(maps), 200);
  assert.equal(await read(maps), 429);
  sent();
  assert.equal(await read(maps), 200);
  assert.equal(await read(maps), 429);
  await clock.advance(30_000);
  assert.equal(await read(maps), 200);
});
