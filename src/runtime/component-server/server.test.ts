import assert from 'node:assert/strict';
import { request } from 'node:https';
import { after, before, describe, test } from 'node:test';
import { serviceAccounts } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import type { KubeObject } from '#machinery/object.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { realClock } from '#stdx/clock.ts';
import { Counter } from '#stdx/instruments.ts';
import { silentLogger } from '#stdx/log.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { startComponentServer, type ComponentServer } from './server.ts';

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly type: string;
}

const SCHEDULER = { name: 'system:kube-scheduler', groups: ['system:authenticated'] };
const HOUR_MS = 3_600_000;
let cluster: TestApi;
let server: ComponentServer;
let api: Client;
let token: string;
let problem: string | undefined;

function get(
  path: string,
  options: {
    readonly token?: string;
    readonly pair?: KeyPair;
    readonly accept?: string;
    readonly method?: string;
  } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request(
      {
        host: '127.0.0.1',
        port: server.port,
        path,
        method: options.method ?? 'GET',
        rejectUnauthorized: false,
        headers: {
          ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
          ...(options.accept === undefined ? {} : { accept: options.accept }),
        },
        ...(options.pair ? { cert: options.pair.certificatePem, key: options.pair.keyPem } : {}),
        agent: false,
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text, type: response.headers['content-type'] ?? '' }),
        );
      },
    )
      .on('error', reject)
      .end();
  });
}

function selfSigned(): KeyPair {
  const authority = createAuthority({ commonName: 'own', nowMs: Date.now(), lifetimeMs: HOUR_MS });
  return issueCertificate(authority, {
    subject: { commonName: 'component' },
    usages: ['serverAuth'],
    nowMs: Date.now(),
    lifetimeMs: HOUR_MS,
  });
}

before(async () => {
  cluster = await startTestApi();
  api = cluster.clientAs(SCHEDULER);
  await cluster.api.create(serviceAccounts, { metadata: { name: 'prometheus', namespace: 'default' } });
  await cluster.api.create(
    {
      group: 'rbac.authorization.k8s.io',
      version: 'v1',
      plural: 'clusterrolebindings',
      kind: 'ClusterRoleBinding',
      namespaced: false,
    },
    {
      metadata: { name: 'prometheus' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:monitoring' },
      subjects: [{ kind: 'ServiceAccount', name: 'prometheus', namespace: 'default' }],
    } as KubeObject,
  );
  const answer = await cluster.api.createSubresource(
    serviceAccounts,
    { name: 'prometheus', namespace: 'default' },
    {
      subresource: 'token',
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } as KubeObject,
    },
  );
  token = (answer as { status?: { token?: string } }).status?.token ?? '';
  const metrics = new MetricsRegistry();
  const things = new Counter('things_total', 'Things.');
  things.add('');
  metrics.add(things);
  const more = new MetricsRegistry();
  more.collect(() => ['others_total 2']);
  server = await startComponentServer({
    name: 'kube-scheduler',
    version: 'v1.36.0+test',
    metrics,
    moreMetrics: { '/metrics/resources': more },
    flags: { 'leader-elect': 'true', v: '2' },
    config: { 'kubescheduler.config.k8s.io': { parallelism: 16 } },
    checks: [{ name: 'informers', readyOnly: true, check: () => problem }],
    api,
    clock: realClock,
    log: silentLogger,
    address: '127.0.0.1',
    port: 0,
    serving: selfSigned(),
    alwaysAllow: ['/healthz', '/readyz', '/livez'],
  });
});

after(async () => {
  await server.close();
  await cluster.stop();
});

describe('health, without authorization', () => {
  test('healthy', async () => {
    for (const path of ['/healthz', '/livez', '/readyz'])
      assert.deepEqual(await get(path), { status: 200, text: 'ok', type: 'text/plain; charset=utf-8' });
    assert.equal((await get('/readyz?verbose')).text, '[+]ping ok\n[+]informers ok\nreadyz check passed\n');
  });
  test('not ready, but alive', async () => {
    problem = 'not synced';
    assert.deepEqual(
      [(await get('/readyz')).status, (await get('/readyz')).text, (await get('/livez')).status],
      [500, '[+]ping ok\n[-]informers failed: reason withheld\nreadyz check failed\n', 200],
    );
    assert.equal((await get('/readyz?exclude=informers')).status, 200);
    problem = undefined;
  });
  test('a path below needs authorization', async () => {
    assert.equal((await get('/readyz/informers')).status, 401);
    assert.equal((await get('/readyz/informers', { token })).text, 'ok');
  });
});

describe('other pages, authorized by RBAC', () => {
  test('the token of a monitoring service account', async () => {
    const { status, text } = await get('/metrics', { token });
    assert.equal(status, 200);
    assert.match(text, /^kubernetes_build_info\{git_version="v1\.36\.0\+test",/m);
    assert.match(text, /^process_resident_memory_bytes \d+/m);
    assert.match(text, /^things_total 1$/m);
    assert.match(
      (await get('/metrics/slis', { token })).text,
      /^kubernetes_healthcheck\{name="ping",type="livez"\} 1$/m,
    );
  });
  test('anonymous, and unauthorized users', async () => {
    assert.equal((await get('/metrics')).status, 401);
    assert.equal((await get('/metrics', { token: 'made.up.token' })).status, 401);
    const refused = await get('/configz', { token });
    assert.deepEqual(
      [refused.status, refused.text],
      [403, 'forbidden: User "system:serviceaccount:default:prometheus" cannot get path "/configz"\n'],
    );
  });
  test('a client certificate of the CA that the API server publishes', async () => {
    const options = { usages: ['clientAuth'] as const, nowMs: Date.now(), lifetimeMs: HOUR_MS };
    const admin = issueCertificate(cluster.pki.ca, {
      ...options,
      subject: { commonName: 'root', organizations: ['system:masters'] },
    });
    assert.deepEqual(JSON.parse((await get('/configz', { pair: admin })).text), {
      'kubescheduler.config.k8s.io': { parallelism: 16 },
    });
    assert.match((await get('/flagz', { pair: admin })).text, /\nleader-elect: true\nv: 2\n$/);
    const structured = await get('/statusz', {
      pair: admin,
      accept: 'application/json;v=v1beta1;g=config.k8s.io;as=Statusz',
    });
    assert.equal(JSON.parse(structured.text).metadata.name, 'kube-scheduler');
    assert.equal((await get('/statusz', { pair: admin, accept: 'image/png' })).status, 406);
    assert.match((await get('/metrics/resources', { pair: admin })).text, /^others_total 2$/m);
    assert.equal((await get('/nothing', { pair: admin })).status, 404);
    assert.equal((await get('/metrics', { pair: admin, method: 'POST' })).status, 405);
    const other = createAuthority({ commonName: 'other', nowMs: Date.now(), lifetimeMs: HOUR_MS });
    const stranger = issueCertificate(other, {
      ...options,
      subject: { commonName: 'root', organizations: ['system:masters'] },
    });
    assert.equal((await get('/configz', { pair: stranger })).status, 401);
  });
});

test('a replaced certificate is used for new connections', async () => {
  server.replaceServing(selfSigned());
  assert.equal((await get('/healthz')).status, 200);
});
