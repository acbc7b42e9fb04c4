import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { createLogger, silentLogger } from '#stdx/log.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { encodeObject } from '#machinery/codec/protobuf.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import { startWebhookPeer } from '#testing/webhook-peer.ts';
import { podSecurity } from '../admission/plugins/pod-security/pod-security.ts';
import type { ApiRequest } from '../http/request.ts';
import { ADMIN, startTestServer, type TestServer } from '../testing/server.ts';
import { openAudit, type Audit, type AuditSettings, type DeliverySettings } from './audit.ts';
import type { AuditEvent } from './event.ts';

const BLOCKING: DeliverySettings = {
  mode: 'blocking',
  batch: { bufferSize: 10_000, maxBatchSize: 1, maxWaitMs: 0 },
};
const NO_ROTATION = { maxSizeBytes: 0, maxAgeMs: 0, maxBackups: 0, compress: false };

interface Started {
  readonly server: TestServer;
  readonly audit: Audit;
  readonly dir: string;
  events(): AuditEvent[];
}

interface StartOptions {
  readonly rules: string;
  readonly settings?: Partial<AuditSettings> | undefined;
  readonly server?: Parameters<typeof startTestServer>[0];
  readonly clock?: Clock;
}

async function start(
  t: TestContext,
  { rules, settings, server: serverOptions, clock = realClock }: StartOptions,
): Promise<Started> {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-audit-'));
  const policyFile = join(dir, 'policy.yaml'),
    path = join(dir, 'audit.log');
  writeFileSync(policyFile, `apiVersion: audit.k8s.io/v1\nkind: Policy\n${rules}`);
  const audit = openAudit(
    { policyFile, log: { ...BLOCKING, path, format: 'json', rotation: NO_ROTATION }, ...settings },
    { clock, log: silentLogger },
  );
  const server = await startTestServer({ audit: audit.sink, clock, ...serverOptions });
  t.after(async () => {
    await server.stop();
    await audit.close();
    rmSync(dir, { recursive: true });
  });
  await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
  return {
    server,
    audit,
    dir,
    events: () =>
      readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as AuditEvent)
        .filter(({ objectRef }) => objectRef?.resource !== 'namespaces'),
  };
}

const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';

test('events to the field: levels, stages, who, from where, what, how it ended', async (t) => {
  const { server, events } = await start(t, {
    rules: 'rules: [{level: Metadata, resources: [{resources: [secrets]}]}, {level: RequestResponse}]',
  });
  const headers = {
    'audit-id': 'my-id',
    'user-agent': 'test/1',
    'x-forwarded-for': '10.1.1.1, 10.2.2.2',
    'content-type': 'application/json',
  };
  const made = await server.request(`POST ${CONFIG_MAPS}?fieldManager=me`, {
    body: { metadata: { name: 'a' }, data: { k: 'v' } },
    headers,
  });
  assert.equal(made.headers['audit-id'], 'my-id');
  const [received, complete, ...others] = events();
  assert.deepEqual(others, []);
  const { requestReceivedTimestamp, stageTimestamp, responseObject, ...rest } = complete!;
  assert.match(requestReceivedTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.match(stageTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.deepEqual(rest, {
    kind: 'Event',
    apiVersion: 'audit.k8s.io/v1',
    level: 'RequestResponse',
    auditID: 'my-id',
    stage: 'ResponseComplete',
    requestURI: `${CONFIG_MAPS}?fieldManager=me`,
    verb: 'create',
    user: { username: 'admin', groups: ['system:masters', 'system:authenticated'] },
    sourceIPs: ['10.1.1.1', '10.2.2.2', '127.0.0.1'],
    userAgent: 'test/1',
    objectRef: { resource: 'configmaps', namespace: 'default', name: 'a', apiVersion: 'v1' },
    responseStatus: { metadata: {}, code: 201 },
    requestObject: { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'a' }, data: { k: 'v' } },
    annotations: { 'authorization.k8s.io/decision': 'allow', 'authorization.k8s.io/reason': '' },
  });
  assert.deepEqual(responseObject, made.body);
  assert.deepEqual(Object.keys(complete!), [
    'kind',
    'apiVersion',
    'level',
    'auditID',
    'stage',
    'requestURI',
    'verb',
    'user',
    'sourceIPs',
    'userAgent',
    'objectRef',
    'responseStatus',
    'requestObject',
    'responseObject',
    'requestReceivedTimestamp',
    'stageTimestamp',
    'annotations',
  ]);
  assert.deepEqual(
    [
      received!.stage,
      received!.requestObject,
      received!.responseStatus,
      received!.objectRef?.name,
      received!.stageTimestamp,
    ],
    ['RequestReceived', undefined, undefined, undefined, received!.requestReceivedTimestamp],
  );
});

test('errors, patches, deletes, generated names, protobuf and lists', async (t) => {
  const { server, events } = await start(t, {
    rules: 'omitStages: [RequestReceived]\nomitManagedFields: true\nrules: [{level: RequestResponse}]',
  });
  const last = (): AuditEvent => events().at(-1)!;
  await server.request(`GET ${CONFIG_MAPS}/none`);
  assert.deepEqual(
    [last().responseStatus, (last().responseObject as KubeObject).kind],
    [
      {
        metadata: {},
        status: 'Failure',
        message: 'configmaps "none" not found',
        reason: 'NotFound',
        details: { name: 'none', kind: 'configmaps' },
        code: 404,
      },
      'Status',
    ],
  );
  await server.request(`POST ${CONFIG_MAPS}`, {
    body: { metadata: { generateName: 'g-' } },
    headers: { 'content-type': 'application/json' },
  });
  assert.match(last().objectRef!.name!, /^g-.{5}$/);
  await server.request(`POST ${CONFIG_MAPS.replace('configmaps', 'secrets')}`, {
    body: { metadata: { name: 's' } },
    headers: { 'content-type': 'application/json' },
  });
  assert.deepEqual(
    last().requestObject,
    { kind: 'Secret', apiVersion: 'v1', metadata: { name: 's' }, type: 'Opaque' },
    'what was left out is shown as it is meant',
  );
  const applied = await server.request(`PATCH ${CONFIG_MAPS}/a?fieldManager=me`, {
    body: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n',
    headers: { 'content-type': 'application/apply-patch+yaml' },
  });
  assert.equal(applied.status, 201, applied.text);
  assert.deepEqual(last().requestObject, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'a' },
    data: { k: 'v' },
  });
  assert.ok(applied.body.metadata.managedFields);
  assert.equal((last().responseObject as KubeObject).metadata!.managedFields, undefined);
  const schema = schemaForKind({ group: '', version: 'v1', kind: 'ConfigMap' })!;
  const protobuf = {
    'content-type': 'application/vnd.kubernetes.protobuf',
    accept: 'application/vnd.kubernetes.protobuf',
  };
  await server.request(`PUT ${CONFIG_MAPS}/a`, {
    body: encodeObject(
      { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'a' }, data: { k: 'w' } },
      schema,
    ),
    headers: protobuf,
  });
  assert.deepEqual(
    [(last().requestObject as { data: unknown }).data, (last().responseObject as { data: unknown }).data],
    [{ k: 'w' }, { k: 'w' }],
  );
  await server.request(`PATCH ${CONFIG_MAPS}/a`, {
    body: [{ op: 'add', path: '/data/j', value: '1' }],
    headers: { 'content-type': 'application/json-patch+json' },
  });
  assert.deepEqual(
    [last().requestObject, last().verb],
    [[{ op: 'add', path: '/data/j', value: '1' }], 'patch'],
  );
  await server.request(`GET ${CONFIG_MAPS}`, { headers: protobuf });
  const list = last().responseObject as { kind: string; items: KubeObject[] };
  assert.deepEqual(
    [list.kind, list.items.length, list.items.some(({ metadata }) => metadata?.managedFields)],
    ['ConfigMapList', 2, false],
  );
  await server.request(`DELETE ${CONFIG_MAPS}/a`, {
    body: { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds: 0 },
    headers: { 'content-type': 'application/json' },
  });
  assert.deepEqual(
    [
      last().responseStatus?.status,
      last().responseStatus?.code,
      (last().requestObject as { gracePeriodSeconds: number }).gracePeriodSeconds,
    ],
    ['Success', 200, 0],
  );
});

test('a watch has a beginning and an end; impersonation and refusals are told', async (t) => {
  const bob: UserInfo = { name: 'bob', groups: ['system:authenticated'] };
  const { server, events } = await start(t, {
    rules: 'rules: [{level: Metadata}]',
    server: {
      authorization: () => ({
        authorize: ({ user, verb }) =>
          user.name === 'bob' && verb !== 'watch'
            ? { decision: 'no-opinion', reason: 'no rule' }
            : { decision: 'allow', reason: 'a rule' },
      }),
    },
  });
  const watch = await server.watch(`${CONFIG_MAPS}?watch=1`, { user: bob });
  assert.deepEqual(
    events().map(({ stage, responseStatus }) => [stage, responseStatus?.code]),
    [
      ['RequestReceived', undefined],
      ['ResponseStarted', 200],
    ],
  );
  watch.close();
  assert.deepEqual(events().at(-1)!.stage, 'ResponseComplete');
  assert.equal(
    (await server.request(`GET ${CONFIG_MAPS}/x`, { user: ADMIN, headers: { 'impersonate-user': 'bob' } }))
      .status,
    403,
  );
  const refused = events().at(-1)!;
  assert.deepEqual(
    [refused.user.username, refused.impersonatedUser, refused.annotations, refused.responseStatus?.reason],
    [
      'admin',
      { username: 'bob', groups: ['system:authenticated'] },
      { 'authorization.k8s.io/decision': 'forbid', 'authorization.k8s.io/reason': 'no rule' },
      'Forbidden',
    ],
  );
});

test('a connection that becomes a stream is followed to its end; one that is refused is reported, too', async (t) => {
  const { server, events } = await start(t, {
    rules: 'omitStages: [RequestReceived]\nrules: [{level: Metadata, resources: [{resources: [pods/*]}]}]',
    server: {
      connect: {
        request: () => Promise.reject(new Error('not asked')),
        upgrade: ({ info }, { socket }) => {
          if (info.subresource === 'attach') return Promise.reject(statusErrors.badRequest('no tty'));
          socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n');
          return Promise.resolve();
        },
      },
    },
  });
  await server.request('POST /api/v1/namespaces/default/pods', {
    body: { metadata: { name: 'p' }, spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i' }] } },
    headers: { 'content-type': 'application/json' },
  });
  const upgrade = async (subresource: string): Promise<Duplex> => {
    const written: Buffer[] = [];
    const socket = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        written.push(chunk);
        done();
      },
    });
    server.server.upgrade(
      {
        method: 'GET',
        path: `/api/v1/namespaces/default/pods/p/${subresource}`,
        query: 'command=ls&stdout=true',
        headers: { upgrade: 'websocket' },
        remoteAddress: '127.0.0.1',
        onAbort: () => {},
        body: () => Promise.resolve(Buffer.alloc(0)),
      } as ApiRequest,
      socket,
      Buffer.alloc(0),
    );
    while (written.length === 0) await new Promise((resolve) => setImmediate(resolve));
    return socket;
  };
  const ofPods = (): (readonly [string, number | undefined, string | undefined])[] =>
    events()
      .filter(({ objectRef }) => objectRef?.subresource)
      .map(({ stage, responseStatus, objectRef }) => [stage, responseStatus?.code, objectRef?.subresource]);
  const socket = await upgrade('exec');
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(ofPods(), [['ResponseStarted', 101, 'exec']]);
  socket.destroy();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(ofPods().slice(1), [['ResponseComplete', 101, 'exec']]);
  await upgrade('attach');
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(ofPods().slice(2), [['ResponseComplete', 400, 'attach']]);
});

test("nobody known and faults of the server's", async (t) => {
  const { server, events } = await start(t, {
    rules: 'rules: [{level: Request}]',
    server: {
      authentication: () => ({
        authenticator: {
          authenticate: (request) =>
            request.headers['authorization']
              ? undefined
              : { user: ADMIN, auditAnnotations: { 'authentication.k8s.io/stale-token': 'x' } },
        },
      }),
      authorization: () => ({
        authorize: ({ path }) => {
          if (path === '/version') throw new Error('a fault');
          return { decision: 'allow', reason: '' };
        },
      }),
    },
  });
  assert.equal(
    (await server.request('GET /api/v1/nodes', { headers: { authorization: 'Bearer very-secret' } })).status,
    401,
  );
  const stranger = events().at(-1)!;
  assert.deepEqual(
    [stranger.user, stranger.stage, stranger.responseStatus],
    [
      {},
      'ResponseStarted',
      { metadata: {}, status: 'Failure', message: 'Unauthorized', reason: 'Unauthorized', code: 401 },
    ],
  );
  assert.equal((await server.request('GET /version')).status, 500);
  const panic = events().at(-1)!;
  assert.deepEqual(
    [panic.stage, panic.responseStatus?.code, panic.objectRef, panic.annotations],
    ['Panic', 500, undefined, { 'authentication.k8s.io/stale-token': 'x' }],
  );
});

test('nothing secret at Metadata level, and no cost without a policy', async (t) => {
  const { server, dir, audit } = await start(t, { rules: 'rules: [{level: Metadata}]' });
  await server.request('POST /api/v1/namespaces/default/secrets', {
    body: { metadata: { name: 's' }, stringData: { password: 'hunter-two' } },
    headers: { 'content-type': 'application/json' },
  });
  await server.request('GET /api/v1/namespaces/default/secrets/s', {
    headers: { authorization: 'Bearer hunter-token' },
  });
  await server.request('POST /apis/authentication.k8s.io/v1/tokenreviews', {
    body: { spec: { token: 'hunter-token' } },
    headers: { 'content-type': 'application/json' },
  });
  const text = readFileSync(join(dir, 'audit.log'), 'utf8');
  assert.match(text, /"name":"s"/);
  assert.doesNotMatch(text, /hunter|aHVudGVy/);
  assert.match(
    audit.metrics(),
    /apiserver_audit_event_total 8\n[^]*apiserver_audit_requests_rejected_total 0\n[^]*apiserver_audit_level_total\{level="Metadata"\} 4\n/,
  );
});

test('admission adds to the event', async (t) => {
  const { server, events } = await start(t, {
    rules: 'omitStages: [RequestReceived]\nrules: [{level: Metadata}]',
    server: { admission: () => [podSecurity()] },
  });
  await server.request('POST /api/v1/namespaces', {
    body: {
      metadata: {
        name: 'watched',
        labels: {
          'pod-security.kubernetes.io/audit': 'baseline',
          'pod-security.kubernetes.io/enforce': 'privileged',
        },
      },
    },
  });
  const pod = {
    metadata: { name: 'p' },
    spec: { hostNetwork: true, containers: [{ name: 'c', image: 'i' }] },
  };
  assert.equal(
    (
      await server.request('POST /api/v1/namespaces/watched/pods', {
        body: pod,
        headers: { 'content-type': 'application/json' },
      })
    ).status,
    201,
  );
  const { annotations = {}, objectRef } = events().at(-1)!;
  assert.equal(objectRef?.name, 'p');
  assert.equal(annotations['pod-security.kubernetes.io/enforce-policy'], 'privileged:latest');
  assert.match(
    annotations['pod-security.kubernetes.io/audit-violations']!,
    /^would violate PodSecurity "baseline:latest": host namespaces/,
  );
  assert.equal(annotations['k8s.io/deprecated'], undefined);
  assert.equal((await server.request('GET /api/v1/endpoints')).status, 200);
  assert.equal(events().at(-1)!.annotations?.['k8s.io/deprecated'], 'true');
});

test('the log rotates by size, keeps so many, compresses; the older format; only its owner reads it', async (t) => {
  const clock = new FakeClock();
  const { server, audit, dir } = await start(t, {
    rules: 'rules: [{level: Metadata, nonResourceURLs: ["*"]}]',
    clock,
  });
  assert.equal(statSync(join(dir, 'audit.log')).mode & 0o777, 0o600);
  const small = join(dir, 'small.log');
  const policyFile = join(dir, 'policy.yaml');
  const rotating = openAudit(
    {
      policyFile,
      log: {
        ...BLOCKING,
        path: small,
        format: 'legacy',
        rotation: { maxSizeBytes: 4000, maxAgeMs: 0, maxBackups: 3, compress: true },
      },
    },
    { clock, log: silentLogger },
  );
  const other = await startTestServer({ audit: rotating.sink, clock });
  for (let i = 0; i < 60; i++) {
    await other.request(`GET /version?i=${i}`, { headers: { 'user-agent': 'k"9' } });
    await clock.advance(10);
  }
  await other.stop();
  await rotating.close();
  const backups = readdirSync(dir)
    .filter((name) => name.startsWith('small-'))
    .toSorted();
  assert.equal(backups.length, 3, backups.join());
  for (const name of backups) assert.match(name, /^small-2026-01-01T00-00-\d\d\.\d{3}\.log\.gz$/);
  const texts = [
    ...backups.map((name) => gunzipSync(readFileSync(join(dir, name))).toString()),
    readFileSync(small, 'utf8'),
  ];
  const lines = texts.join('').trimEnd().split('\n');
  const numbers = lines
    .filter((line) => line.includes('stage="ResponseComplete"'))
    .map((line) => Number(/i=(\d+)"/.exec(line)![1]));
  assert.deepEqual(
    numbers,
    Array.from({ length: numbers.length }, (_, i) => 60 - numbers.length + i),
    'no line is torn or missing up to the last',
  );
  assert.match(
    lines.at(-1)!,
    /^2026-01-01T00:00:00\.590000Z AUDIT: id="[^"]+" stage="ResponseComplete" ip="127\.0\.0\.1" method="get" user="admin" groups="\\"system:masters\\",\\"system:authenticated\\"" as="<self>" asgroups="<lookup>" user-agent="k\\"9" namespace="<none>" uri="\/version\?i=59" response="200"$/,
  );
  await server.request('GET /version');
  assert.match(audit.metrics(), /event_total 2\n/);
});

test('blocking-strict: what cannot be stored is refused; blocking: it is counted', async (t) => {
  const { dir } = await start(t, { rules: 'rules: [{level: Metadata}]' });
  for (const mode of ['blocking', 'blocking-strict'] as const) {
    const audit = openAudit(
      {
        policyFile: join(dir, 'policy.yaml'),
        log: { ...BLOCKING, mode, path: '/dev/full', format: 'json', rotation: NO_ROTATION },
      },
      { clock: realClock, log: silentLogger },
    );
    const server = await startTestServer({ audit: audit.sink });
    const { status, body } = await server.request('GET /version');
    if (mode === 'blocking') assert.equal(status, 200);
    else
      assert.deepEqual([status, body.message], [500, 'Internal error occurred: failed to store audit event']);
    assert.match(
      audit.metrics(),
      mode === 'blocking'
        ? /error_total\{plugin="log"\} 2/
        : /rejected_total 1\n[^]*error_total\{plugin="log"\} 1/,
    );
    await server.stop();
    await audit.close();
  }
  assert.throws(
    () =>
      openAudit(
        {
          policyFile: join(dir, 'policy.yaml'),
          log: { ...BLOCKING, path: `${dir}/audit.log/x`, format: 'json', rotation: NO_ROTATION },
        },
        { clock: realClock, log: silentLogger },
      ),
    /^Error: Cannot open audit log /,
  );
  assert.throws(
    () =>
      openAudit(
        {
          policyFile: join(dir, 'policy.yaml'),
          log: { ...BLOCKING, path: '/proc/none/of/this', format: 'json', rotation: NO_ROTATION },
        },
        { clock: realClock, log: silentLogger },
      ),
    /^Error: Cannot open audit log /,
  );
  assert.throws(
    () => openAudit({ policyFile: join(dir, 'none') }, { clock: realClock, log: silentLogger }),
    /^Error: Cannot read audit policy file /,
  );
});

interface EventList {
  readonly kind: string;
  readonly apiVersion: string;
  readonly items: readonly AuditEvent[];
}

test("a webhook gets batches, survives its receiver's restart, and what is lost is counted and said", async (t) => {
  const got: AuditEvent[] = [];
  const take = (call: { readonly body: unknown }): { readonly status: number } => {
    const list = call.body as EventList;
    assert.deepEqual([list.kind, list.apiVersion], ['EventList', 'audit.k8s.io/v1']);
    got.push(...list.items);
    return { status: 200 };
  };
  const peer = await startWebhookPeer(take);
  t.after(() => peer.stop());
  const said: string[] = [];
  const dir = mkdtempSync(join(tmpdir(), 'capstan-audit-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const policyFile = join(dir, 'policy.yaml');
  writeFileSync(
    policyFile,
    'apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]',
  );
  const audit = openAudit(
    {
      policyFile,
      webhook: {
        mode: 'batch',
        configFile: peer.kubeconfig,
        initialBackoffMs: 5,
        batch: { bufferSize: 40, maxBatchSize: 10, maxWaitMs: 5 },
        truncate: { maxEventBytes: 100_000, maxBatchBytes: 100_000 },
      },
    },
    { clock: realClock, log: createLogger({ write: (line) => said.push(line) }) },
  );
  const server = await startTestServer({ audit: audit.sink });
  let sent = 0;
  const send = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await server.request(`GET /version?i=${sent++}`);
  };
  const until = async (done: () => boolean): Promise<void> => {
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const numbers = (): number[] => got.map(({ requestURI }) => Number(requestURI.split('=')[1]));
  await send(25);
  await until(() => got.length === 25);
  assert.deepEqual(
    numbers().toSorted((left, right) => left - right),
    Array.from({ length: 25 }, (_, i) => i),
  );
  assert.ok(peer.calls.length < 25, 'in batches');
  assert.equal(peer.calls[0]!.clientName, 'kube-apiserver');

  // It is killed: connections are cut, then it refuses, then it is there again.
  peer.answer(() => ({ status: 0 }));
  await send(10);
  const before = peer.calls.length;
  await until(() => peer.calls.length > before);
  peer.answer(() => ({ status: 503 }));
  await until(() => peer.calls.length > before + 2);
  peer.answer(take);
  await until(() => got.length >= 35);
  assert.equal(new Set(numbers()).size, 35, 'nothing is lost');

  // It is down for good: the buffer fills, the rest is lost, loudly.
  let release = (): void => {};
  const stuck = new Promise<void>((resolve) => (release = resolve));
  peer.answer(async (call) => {
    await stuck;
    return take(call);
  });
  await send(200);
  const lost = Number(/error_total\{plugin="buffered"\} (\d+)/.exec(audit.metrics())?.[1] ?? 0);
  assert.ok(lost >= 100 && lost <= 160, `${lost} are lost: 40 wait, at most 40 are on their way`);
  assert.match(
    said.join(''),
    /audit events are lost plugin="buffered" events=\d+ why="audit buffer queue blocked"/,
  );
  release();
  await server.stop();
  await audit.close();
  assert.equal(new Set(numbers()).size, 235 - lost, 'what was taken went out before the end');
  const told = said
    .flatMap((line) => Number(/plugin="buffered" events=(\d+)/.exec(line)?.[1] ?? 0))
    .reduce((sum, count) => sum + count, 0);
  assert.equal(told, lost, 'every loss is in the log');
});

test('a receiver that never answers holds the end up for a bounded time only, and that is counted', async (t) => {
  const peer = await startWebhookPeer(() => new Promise(() => {}));
  t.after(() => peer.stop());
  const dir = mkdtempSync(join(tmpdir(), 'capstan-audit-'));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(
    join(dir, 'policy.yaml'),
    'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]',
  );
  const clock = new FakeClock();
  const audit = openAudit(
    {
      policyFile: join(dir, 'policy.yaml'),
      webhook: {
        mode: 'batch',
        configFile: peer.kubeconfig,
        initialBackoffMs: 10_000,
        batch: { bufferSize: 100, maxBatchSize: 1, maxWaitMs: 0, throttle: { qps: 1, burst: 2 } },
      },
    },
    { clock, log: silentLogger },
  );
  const server = await startTestServer({ audit: audit.sink });
  for (let i = 0; i < 3; i++) await server.request('GET /version');
  while (peer.calls.length < 2) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(peer.calls.length, 2, 'throttled: two at once, then one a second');
  await server.stop();
  const closed = audit.close();
  await clock.advance(5000);
  await closed;
  await new Promise((resolve) => setImmediate(resolve));
  assert.match(audit.metrics(), /plugin="buffered"\} 2/);
  assert.match(audit.metrics(), /plugin="webhook"\} 4/);
});

test('too large an event loses its bodies', async (t) => {
  const { server, events } = await start(t, {
    rules: 'omitStages: [RequestReceived]\nrules: [{level: Request}]',
  });
  const dir = mkdtempSync(join(tmpdir(), 'capstan-audit-'));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(
    join(dir, 'policy.yaml'),
    'apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Request}]',
  );
  const path = join(dir, 'a.log');
  const audit = openAudit(
    {
      policyFile: join(dir, 'policy.yaml'),
      log: {
        ...BLOCKING,
        truncate: { maxEventBytes: 2000, maxBatchBytes: 10_000 },
        path,
        format: 'json',
        rotation: NO_ROTATION,
      },
    },
    { clock: realClock, log: silentLogger },
  );
  const other = await startTestServer({ audit: audit.sink, store: server.store });
  await other.request(`POST ${CONFIG_MAPS}`, {
    body: { metadata: { name: 'big' }, data: { k: 'x'.repeat(3000) } },
    headers: { 'content-type': 'application/json' },
  });
  await other.request(`GET /version?${'x'.repeat(3000)}`);
  await other.server.stop();
  await audit.close();
  const lines = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditEvent);
  assert.deepEqual(
    lines.map(({ objectRef, requestObject, annotations }) => [
      objectRef?.name,
      requestObject,
      annotations?.['audit.k8s.io/truncated'],
    ]),
    [['big', undefined, 'true']],
  );
  assert.match(audit.metrics(), /plugin="truncate"\} 1/);
  assert.deepEqual(events(), []);
});
