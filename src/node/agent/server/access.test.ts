/** Authentication and authorization of the kubelet API, with a real API server. Responses are tested in node-agent.test.ts. */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { after, before, describe, test } from 'node:test';
import { connect, type SecureContextOptions } from 'node:tls';
import { clusterRoleBindings, clusterRoles, namespaces, nodes, serviceAccounts } from '#client/refs.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { issueClientCertificate } from '#testing/client-certificate.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { KubeletAccess, mapSubresources, mapVerb } from './access.ts';
import { KubeletServer, type KubeletServerOptions } from './kubelet-server.ts';

const NODE = 'node-a';

describe('the kubelet API', () => {
  let api: TestApi;
  let server: KubeletServer;
  const tokens: Record<string, string> = {};

  interface Ask {
    readonly as?: SecureContextOptions;
    readonly token?: string;
    readonly headers?: Record<string, string>;
    readonly method?: string;
  }

  function ask(
    path: string,
    { as = {}, token, headers = {}, method = 'GET' }: Ask = {},
  ): Promise<{ readonly status: number; readonly text: string }> {
    return new Promise((resolve, reject) => {
      const call = httpsRequest(
        {
          host: '127.0.0.1',
          port: server.port,
          path,
          method,
          ca: api.pki.ca.certificatePem,
          agent: false,
          ...as,
          headers: { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
        },
        (response) => {
          let text = '';
          response
            .setEncoding('utf8')
            .on('data', (part: string) => {
              text += part;
            })
            .on('end', () => resolve({ status: response.statusCode ?? 0, text }));
        },
      );
      call.on('error', reject);
      call.end();
    });
  }

  const person = (commonName: string, ...organizations: string[]): SecureContextOptions => {
    const { certificatePem, keyPem } = issueClientCertificate(api.pki, { commonName, organizations });
    return { cert: certificatePem, key: keyPem };
  };

  async function grant(name: string, subresources: readonly string[], verbs = ['get']): Promise<void> {
    await api.api.create(clusterRoles, {
      metadata: { name },
      rules: [{ apiGroups: [''], resources: subresources.map((one) => `nodes/${one}`), verbs }],
    });
    await api.api.create(clusterRoleBindings, {
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [
        { kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name },
        { kind: 'ServiceAccount', namespace: 'monitoring', name },
      ],
    });
  }

  before(async () => {
    api = await startTestApi();
    await api.api.create(nodes, { metadata: { name: NODE } } as never);
    await api.api.create(namespaces, { metadata: { name: 'monitoring' } });
    for (const name of ['scraper', 'nobody']) {
      await api.api.create(serviceAccounts, { metadata: { name, namespace: 'monitoring' } });
      const issued = await api.api.createSubresource(
        serviceAccounts,
        { name, namespace: 'monitoring' },
        {
          subresource: 'token',
          body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
        },
      );
      tokens[name] = (issued as { status: { token: string } }).status.token;
    }
    await grant('scraper', ['metrics', 'stats']);
    await grant('reader', ['pods', 'healthz']);
    await grant('operator', ['proxy'], ['get']);
    const node = api.clientAs({
      name: `system:node:${NODE}`,
      groups: ['system:nodes', 'system:authenticated'],
    });
    const { certificatePem, keyPem } = api.pki.apiServer;
    server = new KubeletServer({
      ...({
        api: node,
        clock: realClock,
        log: silentLogger,
        cri: {},
        metrics: { render: () => [] },
      } as unknown as KubeletServerOptions),
      address: '127.0.0.1',
      port: 0,
      nodeName: NODE,
      imageDir: '/',
      workers: () => [],
      tls: {
        certificatePem,
        keyPem,
        clientCaPem: api.pki.ca.certificatePem,
        clients: ['kube-apiserver-kubelet-client'],
      },
    });
    await server.start();
  });

  after(async () => {
    await server?.stop();
    await api?.stop();
  });

  test('the API server, by its certificate', async () => {
    const { certificatePem, keyPem } = api.pki.clients['apiserver-kubelet-client'];
    assert.equal((await ask('/pods', { as: { cert: certificatePem, key: keyPem } })).status, 200);
  });

  test('nobody is anonymous: neither without credentials nor with wrong ones', async () => {
    for (const how of [
      {},
      { token: 'wrong' },
      { token: 'x'.repeat(70_000) },
      { headers: { authorization: 'Basic cm9vdDpyb290' } },
    ]) {
      for (const path of [
        '/pods',
        '/healthz',
        '/metrics',
        '/',
        '/exec/a/b/c',
        '/debug/pprof/',
        '/run/a/b/c',
      ]) {
        const { status } = await ask(path, how).catch(() => ({ status: 431 }));
        assert.ok(status === 401 || status === 431, `${path}: ${status}`);
      }
    }
  });

  test('service accounts may what RBAC lets them', async () => {
    assert.equal((await ask('/metrics', { token: tokens['scraper']! })).status, 200);
    assert.equal((await ask('/pods', { token: tokens['scraper']! })).status, 403);
    assert.deepEqual(await ask('/metrics', { token: tokens['nobody']! }), {
      status: 403,
      text: 'Forbidden (user=system:serviceaccount:monitoring:nobody, verb=get, resource=nodes, subresource(s)=[metrics])\n',
    });
  });

  test('certificates of the cluster may what RBAC lets them', async () => {
    assert.equal((await ask('/pods', { as: person('reader') })).status, 200);
    assert.equal((await ask('/healthz', { as: person('reader') })).status, 200);
    assert.equal((await ask('/metrics', { as: person('reader') })).status, 403);
    assert.equal((await ask('/pods', { as: person('operator') })).status, 200);
    assert.equal((await ask('/pods', { as: person('somebody', 'system:masters') })).status, 200);
    assert.equal((await ask('/pods', { as: person('system:node:node-b', 'system:nodes') })).status, 403);
  });

  test('reading nodes/proxy opens no streams, not even as WebSockets', async () => {
    const upgrade = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    };
    for (const path of [
      '/exec/a/b/c?command=id&output=1',
      '/attach/a/b/c?output=1',
      '/portForward/a/b?port=80',
      '/%65xec/a/b/c?command=id&output=1',
    ])
      assert.equal((await ask(path, { as: person('operator'), headers: upgrade })).status, 403, path);
  });

  test('while the API server cannot be asked, nobody but itself gets in', async () => {
    const node = { create: () => Promise.reject(new Error('connection refused')) };
    const { certificatePem, keyPem } = api.pki.apiServer;
    const alone = new KubeletServer({
      ...({
        api: node,
        clock: realClock,
        log: silentLogger,
        cri: {},
        metrics: { render: () => [] },
      } as unknown as KubeletServerOptions),
      address: '127.0.0.1',
      port: 0,
      nodeName: NODE,
      imageDir: '/',
      workers: () => [],
      tls: {
        certificatePem,
        keyPem,
        clientCaPem: api.pki.ca.certificatePem,
        clients: ['kube-apiserver-kubelet-client'],
      },
    });
    await alone.start();
    const whole = server;
    server = alone;
    try {
      const { clients } = api.pki;
      assert.equal((await ask('/healthz', { as: person('reader') })).status, 500);
      assert.equal((await ask('/healthz', { token: tokens['scraper']! })).status, 500);
      assert.equal(
        (
          await ask('/healthz', {
            as: {
              cert: clients['apiserver-kubelet-client'].certificatePem,
              key: clients['apiserver-kubelet-client'].keyPem,
            },
          })
        ).status,
        200,
      );
    } finally {
      server = whole;
      await alone.stop();
    }
  });

  test('a certificate that expires while its connection is open is refused from then on', async () => {
    const clock = new FakeClock(Date.UTC(2026, 0, 1));
    const access = new KubeletAccess({
      api: {} as never,
      clock,
      log: silentLogger,
      nodeName: NODE,
      clients: ['kube-apiserver-kubelet-client'],
    });
    const request = {
      method: 'GET',
      headers: {},
      socket: {
        authorized: true,
        getPeerCertificate: () => ({
          subject: { CN: 'kube-apiserver-kubelet-client' },
          valid_to: 'Jan  1 00:01:00 2026 GMT',
        }),
      },
    } as unknown as IncomingMessage;
    assert.equal(await access.refusal(request, '/pods'), undefined);
    await clock.advance(61_000);
    assert.equal((await access.refusal(request, '/pods'))?.status, 401);
  });

  test('TLS before 1.2 is not spoken', async () => {
    await assert.rejects(
      new Promise((resolve, reject) => {
        const socket = connect(
          {
            host: '127.0.0.1',
            port: server.port,
            minVersion: 'TLSv1',
            maxVersion: 'TLSv1.1',
            ciphers: 'DEFAULT@SECLEVEL=0',
            rejectUnauthorized: false,
          },
          () => resolve(socket.getProtocol()),
        );
        socket.on('error', reject);
      }),
    );
  });
});

test('which subresource and verb a path is', () => {
  for (const [path, wanted] of Object.entries({
    '/stats/summary': ['stats'],
    '/metrics': ['metrics'],
    '/metrics/cadvisor': ['metrics'],
    '/logs/x': ['log'],
    '/healthz/ping': ['healthz', 'proxy'],
    '/pods/': ['pods', 'proxy'],
    '/runningpods/': ['pods', 'proxy'],
    '/containerLogs/a/b/c': ['proxy'],
    '/exec/a/b/c': ['proxy'],
    '/%6detrics': ['metrics'],
    '//metrics': ['proxy'],
    '/%zz': ['proxy'],
  }))
    assert.deepEqual(mapSubresources(path), wanted, path);
  assert.deepEqual(
    [mapVerb('GET', '/pods'), mapVerb('POST', '/pods'), mapVerb('GET', '/exec/a'), mapVerb('DELETE', '/x')],
    ['get', 'create', 'create', 'delete'],
  );
});
