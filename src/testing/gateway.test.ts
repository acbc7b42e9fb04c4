/** Ingresses and Gateway API on a real API server, carried out by the real HAProxy on a loopback address, in front of servers of this process. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, request, type IncomingHttpHeaders, type Server } from 'node:http';
import { createServer as createTlsServer, request as requestTls } from 'node:https';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Event, Ingress } from '#api/types.ts';
import { createGateway } from '#addons/gateway/gateway.ts';
import { gatewayClasses, gateways, httpRoutes, tlsRoutes } from '#addons/gateway/gateway-api.ts';
import { gatewayController } from '#addons/gateway/gateway-controller.ts';
import { findHaproxy } from '#addons/gateway/haproxy/haproxy.ts';
import { endpointSlices, events, ingressClasses, ingresses, secrets, services } from '#client/refs.ts';
import { ENDPOINTS_LEASE_SECONDS, ENDPOINTS_RENEW_MS } from '#component-helpers/leased-endpoints.ts';
import { leasedEndpointSliceController } from '#controllers/discovery/leased-endpointslice-controller.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { controllerIdentity } from '#cmd/all-in-one/identities.ts';
import { issueCertificate } from '#pki/certificate.ts';
import type { Component } from '#runtime/component.ts';
import { createControllerManager, type ControllerManager } from '#runtime/run-controllers.ts';
import { realClock } from '#stdx/clock.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { silentLogger, createLogger } from '#stdx/log.ts';
import { until } from './cluster.ts';
import { canHaveNamespaces } from './lan.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

const ADDRESS = '127.0.0.1';
/** Endpoints may not be loopback addresses. */
const SERVERS = '192.0.2.10';
const missing = (findHaproxy() === undefined || !canHaveNamespaces()) && 'needs haproxy, root and ip netns';
const INSIDE = 'CAPSTAN_GATEWAY_TEST';
const isInside = process.env[INSIDE] !== undefined;

/** Ports 80 and 443 of a namespace of its own, in which this file runs again. */
it('in a network namespace', { skip: isInside || missing }, () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const script = `ip link set lo up && ip address add ${SERVERS}/32 dev lo && exec "$0" --test "$1"`;
  const { status, stdout } = spawnSync(
    'unshare',
    ['--net', 'sh', '-c', script, process.execPath, import.meta.filename],
    { env: { ...env, [INSIDE]: '1' }, encoding: 'utf8' },
  );
  console.log(stdout);
  assert.equal(status, 0);
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

describe('the gateway', { skip: !isInside && 'runs in a namespace' }, () => {
  let dir: string;
  let test: TestApi;
  let manager: ControllerManager;
  let gateway: Component;
  const metrics = new MetricsRegistry();
  const servers: Server[] = [];

  /** Answers with its name and what it was asked. */
  const serve = async (name: string): Promise<number> => {
    const server = createServer((req, res) => {
      const delayMs = Number(new URL(req.url!, 'http://x').searchParams.get('delay') ?? 0);
      req
        .resume()
        .on('end', () =>
          setTimeout(
            () => res.end(JSON.stringify({ name, method: req.method, url: req.url, headers: req.headers })),
            delayMs,
          ),
        );
    });
    server.on('upgrade', (_req, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
      socket.pipe(socket);
    });
    server.listen(0, SERVERS);
    await once(server, 'listening');
    servers.push(server);
    return (server.address() as AddressInfo).port;
  };
  const slice = (name: string, ports: readonly number[]): Parameters<typeof test.api.create>[1] =>
    ({
      metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: ports[0], protocol: 'TCP' }],
      endpoints: ports.length > 0 ? [{ addresses: [SERVERS], conditions: { ready: true } }] : [],
    }) as never;
  const service = async (name: string, port: number): Promise<void> => {
    await test.api.create(services, {
      metadata: { name, namespace: 'default' },
      spec: { ports: [{ name: 'http', port: 80 }] },
    });
    await test.api.create(endpointSlices, slice(name, [port]));
  };
  const ingress = (name: string, spec: object, annotations: Record<string, string> = {}): Promise<Ingress> =>
    test.api.create(ingresses, {
      metadata: { name, namespace: 'default', annotations },
      spec: { ingressClassName: 'capstan', ...spec },
    });
  const path = (value: string, name: string, pathType = 'Prefix'): object => ({
    path: value,
    pathType,
    backend: { service: { name, port: { number: 80 } } },
  });
  const secret = async (name: string, hostname: string): Promise<void> => {
    const { certificatePem, keyPem } = issueCertificate(test.pki.ca, {
      subject: { commonName: hostname },
      altNames: { dnsNames: [hostname], ipAddresses: [] },
      usages: ['serverAuth'],
      nowMs: Date.now(),
      lifetimeMs: 3_600_000,
    });
    await test.api.create(secrets, {
      metadata: { name, namespace: 'default' },
      type: 'kubernetes.io/tls',
      data: {
        'tls.crt': Buffer.from(certificatePem).toString('base64'),
        'tls.key': Buffer.from(keyPem).toString('base64'),
      },
    });
  };
  const ask = (
    host: string,
    url: string,
    { tls = false, method = 'GET', body = '', port = 0 } = {},
  ): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const options = {
        host: ADDRESS,
        port: port || (tls ? 443 : 80),
        path: url,
        method,
        headers: { host, 'content-length': Buffer.byteLength(body) },
        agent: false as const,
        timeout: 5_000,
        ...(tls ? { servername: host, rejectUnauthorized: false } : {}),
      };
      const req = (tls ? requestTls : request)(options, (res) => {
        let text = '';
        res.on('data', (data) => (text += String(data)));
        res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text }));
      });
      req
        .on('error', reject)
        .on('timeout', () => req.destroy(new Error('no answer')))
        .end(body);
    });
  const served = async (host: string, url: string, options = {}): Promise<string> => {
    const { status, body } = await ask(host, url, options);
    return status === 200 ? (JSON.parse(body) as { name: string }).name : String(status);
  };
  const serves = (host: string, url: string, wanted: string): Promise<unknown> =>
    until(`${host}${url} is served by ${wanted}`, async () => (await served(host, url)) === wanted);
  const said = (name: string, message: RegExp): Promise<Event> =>
    until(`an event of ${name}: ${message}`, async () => {
      const { items } = await test.api.list(events, { fieldSelector: `involvedObject.name=${name}` });
      return items.find((event) => message.test(event.message ?? ''));
    });
  const reloads = (): number => Number(/reloads_total (\d+)/.exec(metrics.render())?.[1]);

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-gateway-'));
    test = await startTestApi();
    const log = process.env['CAPSTAN_TEST_LOG'] ? createLogger({ level: 'debug' }) : silentLogger;
    const context = { clock: realClock, log, identity: 'test' };
    manager = createControllerManager([gatewayController, leasedEndpointSliceController], {
      ...context,
      api: test.clientAs({ name: 'system:kube-controller-manager', groups: ['system:authenticated'] }),
      clientFor: ({ name }) =>
        test.clientAs(controllerIdentity(name === gatewayController.name ? 'gateway' : name)),
    });
    await manager.start();
    gateway = createGateway({
      ...context,
      metrics,
      api: test.clientAs(controllerIdentity('gateway')),
      nodeName: 'n1',
      address: '192.0.2.7',
      listenOn: [ADDRESS],
      dir: join(dir, 'haproxy'),
    });
    await gateway.start();
    for (const name of ['one', 'two', 'three']) await service(name, await serve(name));
    await until('the class', () => test.api.get(ingressClasses, { name: 'capstan' }));
  });
  after(async () => {
    await gateway?.stop();
    await manager?.stop();
    await test?.stop();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
    rmSync(dir, { recursive: true, force: true });
  });

  it('hosts and paths: exact before prefix, the longest first, prefixes by elements', async () => {
    await ingress('paths', {
      rules: [
        {
          host: 'a.example.org',
          http: { paths: [path('/', 'one'), path('/foo', 'two'), path('/foo/bar', 'three', 'Exact')] },
        },
        { host: '*.wild.example.org', http: { paths: [path('/', 'two')] } },
        { http: { paths: [path('/any', 'three')] } },
      ],
    });
    await serves('a.example.org', '/', 'one');
    for (const [host, url, wanted] of [
      ['a.example.org', '/foo', 'two'],
      ['a.example.org', '/foo/', 'two'],
      ['a.example.org', '/foo/bar', 'three'],
      ['a.example.org', '/foo/bar/', 'two'],
      ['a.example.org', '/foobar', 'one'],
      ['A.Example.org:8080', '/foo?x=/y', 'two'],
      ['x.wild.example.org', '/', 'two'],
      ['x.y.wild.example.org', '/', '404'],
      ['wild.example.org', '/', '404'],
      ['other.example.org', '/any', 'three'],
      ['other.example.org', '/', '404'],
      ['a.example.org', '/any', 'one'],
    ] as const)
      assert.equal(await served(host, url), wanted, `${host}${url}`);
    const { body } = await ask('a.example.org', '/foo');
    const { headers } = JSON.parse(body) as { headers: Record<string, string> };
    assert.equal(headers['x-forwarded-proto'], 'http');
    assert.equal(headers['x-forwarded-host'], 'a.example.org');
    assert.ok(headers['x-forwarded-for']);
  });

  it('the status has the addresses of the machines that serve', async () => {
    await until('the status', async () => {
      const { status } = await test.api.get(ingresses, { name: 'paths', namespace: 'default' });
      return status?.loadBalancer?.ingress?.[0]?.ip === '192.0.2.7';
    });
    const { spec } = await test.api.get(services, { name: 'capstan-gateway', namespace: 'kube-system' });
    assert.deepEqual([spec?.type, spec?.ports?.map(({ port }) => port)], ['LoadBalancer', [80]]);
  });

  it('a machine that dies leaves the endpoints', async () => {
    const api = test.clientAs(controllerIdentity('gateway'));
    const other = createGateway({
      api,
      clock: realClock,
      log: silentLogger,
      identity: 'other',
      nodeName: 'n2',
      address: '192.0.2.8',
      listenOn: ['127.0.0.2'],
      dir: join(dir, 'haproxy-2'),
      leased: true,
    });
    const at = { name: 'capstan-gateway-n2', namespace: 'kube-system' };
    const isThere = async (): Promise<boolean> =>
      (await test.api.list(endpointSlices, { namespace: at.namespace })).items.some(
        ({ metadata }) => metadata.name === at.name,
      );
    try {
      await other.start();
      await until('its endpoints', isThere);
      const addresses = async (): Promise<(string | undefined)[]> => {
        const { status } = await test.api.get(ingresses, { name: 'paths', namespace: 'default' });
        return (status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip);
      };
      await until('its address', async () => (await addresses()).includes('192.0.2.8'));
      await test.api.delete(endpointSlices, at);
      await until('its endpoints again', isThere);
      await realClock.sleep(ENDPOINTS_LEASE_SECONDS * 1_000 + ENDPOINTS_RENEW_MS);
      assert.ok(await isThere(), 'while it renews');
      await api.close();
      await until('no endpoints', async () => !(await isThere()));
      await until('no address', async () => !(await addresses()).includes('192.0.2.8'));
    } finally {
      await other.stop();
    }
  });

  it('TLS by SNI from Secrets; clear text is led there, unless the Ingress says otherwise', async () => {
    await secret('cert-a', 'tls-a.example.org');
    await secret('cert-b', 'tls-b.example.org');
    await ingress('tls', {
      tls: [
        { hosts: ['tls-a.example.org'], secretName: 'cert-a' },
        { hosts: ['tls-b.example.org'], secretName: 'cert-b' },
      ],
      rules: ['tls-a.example.org', 'tls-b.example.org'].map((host) => ({
        host,
        http: { paths: [path('/', 'one')] },
      })),
    });
    await until(
      'TLS is served',
      async () => (await served('tls-a.example.org', '/', { tls: true })) === 'one',
    );
    assert.equal(await served('tls-b.example.org', '/', { tls: true }), 'one');
    const subject = (host: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const req = requestTls({
          host: ADDRESS,
          port: 443,
          servername: host,
          rejectUnauthorized: false,
          agent: false,
          headers: { host },
        });
        req.on('socket', (socket) =>
          socket.on('secureConnect', () => {
            resolve(String((socket as import('node:tls').TLSSocket).getPeerCertificate().subject.CN));
            req.destroy();
          }),
        );
        req.on('error', reject);
      });
    assert.equal(await subject('tls-b.example.org'), 'tls-b.example.org');
    await assert.rejects(subject('unknown.example.org'), 'no certificate is shown to others');
    const { status, headers } = await ask('tls-a.example.org', '/deep/path?q=1');
    assert.deepEqual([status, headers.location], [308, 'https://tls-a.example.org/deep/path?q=1']);
    await ingress('missing', {
      tls: [{ hosts: ['m.example.org'], secretName: 'none' }],
      rules: [{ host: 'm.example.org', http: { paths: [path('/', 'one')] } }],
    });
    await said('missing', /Secret default\/none: it does not exist/);
    // Without a certificate clear text is served; its reload is over when the next test counts.
    await serves('m.example.org', '/', 'one');
  });

  it('a changed endpoint is taken over without a reload; no request is lost in reloads', async () => {
    const before = reloads();
    const fresh = await serve('fresh');
    const old = await test.api.get(endpointSlices, { name: 'one-1', namespace: 'default' });
    await test.api.update(endpointSlices, {
      ...old,
      ports: [{ name: 'http', port: fresh, protocol: 'TCP' }],
    });
    await serves('a.example.org', '/', 'fresh');
    assert.equal(reloads(), before);
    let isOver = false;
    const results: string[] = [];
    const load = Array.from({ length: 8 }, async () => {
      while (!isOver)
        results.push(await served('a.example.org', '/?delay=5').catch((error: unknown) => String(error)));
    });
    for (let turn = 0; turn < 5; turn += 1) {
      await ingress(`more-${turn}`, {
        rules: [{ host: `more-${turn}.example.org`, http: { paths: [path('/', 'two')] } }],
      });
      await serves(`more-${turn}.example.org`, '/', 'two');
    }
    isOver = true;
    await Promise.all(load);
    assert.ok(reloads() >= before + 5);
    assert.ok(results.length > 50, `${results.length} requests`);
    console.log(`${results.length} requests during ${reloads() - before} reloads`);
    assert.deepEqual(
      results.filter((one) => one !== 'fresh'),
      [],
    );
  });

  it('WebSockets outlive a reload', async () => {
    const socket = connect(80, ADDRESS);
    socket.write('GET / HTTP/1.1\r\nHost: a.example.org\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    const [head] = (await once(socket, 'data')) as [Buffer];
    assert.match(head.toString(), /^HTTP\/1\.1 101/);
    await ingress('reload', { rules: [{ host: 'reload.example.org', http: { paths: [path('/', 'two')] } }] });
    await serves('reload.example.org', '/', 'two');
    socket.write('still there');
    const [echo] = (await once(socket, 'data')) as [Buffer];
    assert.equal(echo.toString(), 'still there');
    socket.destroy();
  });

  it('body limits, missing Services, and texts that try to be configuration', async () => {
    await ingress(
      'limited',
      { rules: [{ host: 'limited.example.org', http: { paths: [path('/', 'two')] } }] },
      { 'gateway.capstan.dev/max-body-size': '10' },
    );
    await serves('limited.example.org', '/', 'two');
    assert.equal(
      (await ask('limited.example.org', '/', { method: 'POST', body: 'x'.repeat(11) })).status,
      413,
    );
    assert.equal(
      (await ask('limited.example.org', '/', { method: 'POST', body: 'x'.repeat(10) })).status,
      200,
    );
    await ingress('lost', { rules: [{ host: 'lost.example.org', http: { paths: [path('/', 'nowhere')] } }] });
    await said('lost', /Service default\/nowhere does not exist/);
    await until('it is answered', async () => (await served('lost.example.org', '/')) === '503');
    const evil = `/x' } or { always_true } #"\\ %[env(HOME)]`;
    await ingress('evil', {
      rules: [{ host: 'evil.example.org', http: { paths: [path(evil, 'two'), path('/ok', 'one')] } }],
    });
    await serves('evil.example.org', '/ok', 'fresh');
    assert.equal(await served('evil.example.org', '/'), '404');
  });

  describe('Gateway API', () => {
    const at = (name: string): { name: string; namespace: string } => ({ name, namespace: 'default' });
    const parentRefs = [{ name: 'edge' }];
    const backends = (...names: string[]): object[] => names.map((name) => ({ name, port: 80 }));
    const listener = (name: string, port: number, more: object): object => ({ name, port, ...more });

    it('the class is accepted; a Gateway without routes listens and is programmed', async () => {
      await until('the class', async () =>
        isConditionTrue(
          (await test.api.get(gatewayClasses, { name: 'capstan' })).status?.conditions,
          'Accepted',
        ),
      );
      await secret('edge-a', 'gw-a.example.org');
      await test.api.create(gateways, {
        metadata: at('edge'),
        spec: {
          gatewayClassName: 'capstan',
          listeners: [
            listener('http', 80, { protocol: 'HTTP' }),
            listener('https', 443, {
              protocol: 'HTTPS',
              hostname: '*.example.org',
              tls: { certificateRefs: [{ name: 'edge-a' }] },
            }),
            listener('tls', 8443, { protocol: 'TLS', tls: { mode: 'Passthrough' } }),
          ],
        },
      } as never);
      const { status } = await until('it is programmed', async () => {
        const found = await test.api.get(gateways, at('edge'));
        return isConditionTrue(found.status?.conditions, 'Programmed') && found;
      });
      assert.deepEqual(status?.addresses, [{ type: 'IPAddress', value: '192.0.2.7' }]);
      await assert.rejects(
        test.api.create(httpRoutes, {
          metadata: at('wrong'),
          spec: { rules: [{ matches: [{ path: { type: 'Exact', value: 'relative' } }] }] },
        }),
        /value must be an absolute path/,
      );
    });

    it('weights, header and query matches, redirects, rewrites and header changes', async () => {
      const exact = (name: string, value: string): object => ({ name, value });
      await test.api.create(httpRoutes, {
        metadata: at('shop'),
        spec: {
          parentRefs,
          hostnames: ['gw-a.example.org', '*.gw.example.org'],
          rules: [
            {
              backendRefs: [
                { name: 'two', port: 80, weight: 9 },
                { name: 'three', port: 80, weight: 1 },
                { name: 'one', port: 80, weight: 0 },
              ],
            },
            { matches: [{ headers: [exact('x-canary', 'yes')] }], backendRefs: backends('three') },
            {
              matches: [{ queryParams: [exact('to', 'two')], method: 'POST' }],
              backendRefs: backends('two'),
            },
            { matches: [{ path: { type: 'PathPrefix', value: '/none' } }], backendRefs: backends('nowhere') },
            {
              matches: [{ path: { type: 'PathPrefix', value: '/old' } }],
              filters: [
                {
                  type: 'RequestRedirect',
                  requestRedirect: {
                    scheme: 'https',
                    statusCode: 301,
                    path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/new' },
                  },
                },
              ],
            },
            {
              matches: [{ path: { type: 'PathPrefix', value: '/api' } }],
              filters: [
                {
                  type: 'URLRewrite',
                  urlRewrite: {
                    hostname: 'inner.example.org',
                    path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' },
                  },
                },
                {
                  type: 'RequestHeaderModifier',
                  requestHeaderModifier: { set: [exact('x-from', "it's 5%")] },
                },
                { type: 'ResponseHeaderModifier', responseHeaderModifier: { add: [exact('x-to', 'you')] } },
              ],
              backendRefs: backends('two'),
            },
          ],
        },
      } as never);
      const host = 'x.y.gw.example.org';
      await until('it is served', async () => /two|three/.test(await served(host, '/')));
      const names = await Promise.all(Array.from({ length: 60 }, () => served(host, '/')));
      const share = names.filter((name) => name === 'two').length;
      assert.ok(share >= 48 && share < 60, `${share} of 60 go where 9 of 10 should`);
      assert.ok(!names.includes('one') && !names.includes('fresh'));
      assert.equal(await served(host, '/?to=two', { method: 'POST' }), 'two');
      assert.equal(await served(host, '/none'), '500');
      const moved = await ask(host, '/old/deep?q=1');
      assert.deepEqual([moved.status, moved.headers.location], [301, `https://${host}/new/deep?q=1`]);
      const { body, headers } = await ask(host, '/api/v1?q=1');
      const asked = JSON.parse(body) as { url: string; headers: Record<string, string> };
      assert.deepEqual(
        [asked.url, asked.headers['host'], asked.headers['x-from'], headers['x-to']],
        ['/v1?q=1', 'inner.example.org', "it's 5%", 'you'],
      );
      const { status } = await until('the status', async () => {
        const found = await test.api.get(httpRoutes, at('shop'));
        return found.status?.parents?.length ? found : undefined;
      });
      assert.deepEqual(
        status?.parents?.[0]?.conditions.map(({ type, status: is, reason }) => [type, is, reason]),
        [
          ['Accepted', 'True', 'Accepted'],
          ['ResolvedRefs', 'False', 'BackendNotFound'],
        ],
      );
    });

    it('TLS is ended for its host, and passed through by SNI elsewhere', async () => {
      await until('TLS', async () =>
        /two|three/.test(await served('gw-a.example.org', '/', { tls: true }).catch(String)),
      );
      const { certificatePem, keyPem } = issueCertificate(test.pki.ca, {
        subject: { commonName: 'inner.pass.example.org' },
        altNames: { dnsNames: ['inner.pass.example.org'], ipAddresses: [] },
        usages: ['serverAuth'],
        nowMs: Date.now(),
        lifetimeMs: 3_600_000,
      });
      const server = createTlsServer({ cert: certificatePem, key: keyPem }, (_, res) => res.end('own TLS'));
      server.listen(0, SERVERS);
      await once(server, 'listening');
      servers.push(server);
      await service('own-tls', (server.address() as AddressInfo).port);
      await test.api.create(tlsRoutes, {
        metadata: at('pass'),
        spec: {
          parentRefs,
          hostnames: ['*.pass.example.org'],
          rules: [{ backendRefs: backends('own-tls') }],
        },
      } as never);
      const through = (host: string): Promise<string> =>
        ask(host, '/', { tls: true, port: 8443 }).then(({ body }) => body, String);
      await until('it is passed through', async () => (await through('a.pass.example.org')) === 'own TLS');
      assert.match(await through('other.example.org'), /Error/);
    });

    it('listeners count their routes; without the Gateway the ports are closed', async () => {
      await until('the counts', async () => {
        const { status } = await test.api.get(gateways, at('edge'));
        const counts = Object.fromEntries(
          status?.listeners?.map((one) => [one.name, one.attachedRoutes]) ?? [],
        );
        return counts['http'] === 1 && counts['https'] === 1 && counts['tls'] === 1;
      });
      await test.api.delete(gateways, at('edge'));
      await until('the port is closed', () =>
        ask('a.pass.example.org', '/', { tls: true, port: 8443 }).then(
          () => false,
          (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
        ),
      );
      await until('the route says so', async () => {
        const { status } = await test.api.get(httpRoutes, at('shop'));
        return status?.parents?.length === 0;
      });
    });
  });

  it('without an Ingress nothing listens, and the Service is gone', async () => {
    const { items } = await test.api.list(ingresses, { namespace: 'default' });
    for (const { metadata } of items)
      await test.api.delete(ingresses, { name: metadata.name, namespace: 'default' });
    await until('nothing listens', () =>
      ask('a.example.org', '/').then(
        () => false,
        (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
      ),
    );
    await until(
      'no Service',
      async () =>
        (await test.api.list(services, { fieldSelector: 'metadata.name=capstan-gateway' })).items.length ===
        0,
    );
  });
});
