import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { test } from 'node:test';
import { until } from '#testing/cluster.ts';
import { createAuthority, issueCertificate } from '#testing/extension-server.ts';
import { startTestServer } from '../testing/server.ts';

test('a new proxy certificate is shown from then on, while what runs goes on', async () => {
  const nowMs = Date.now(),
    lifetimeMs = 3_600_000;
  const authority = createAuthority({ commonName: 'ca', nowMs, lifetimeMs });
  const client = (commonName: string): { cert: string; key: string } => {
    const { certificatePem: cert, keyPem: key } = issueCertificate(authority, {
      subject: { commonName },
      usages: ['clientAuth'],
      nowMs,
      lifetimeMs,
    });
    return { cert, key };
  };
  const serving = issueCertificate(authority, {
    subject: { commonName: 'x' },
    usages: ['serverAuth'],
    altNames: { dnsNames: ['x.default.svc'], ipAddresses: [] },
    nowMs,
    lifetimeMs,
  });
  const { promise: begun, resolve: begin } = Promise.withResolvers<() => void>();
  const upstream = createServer(
    { cert: serving.certificatePem, key: serving.keyPem, ca: authority.certificatePem, requestCert: true },
    (request, response) => {
      const name = (request.socket as TLSSocket).getPeerCertificate().subject?.CN ?? '';
      if (request.url?.endsWith('/slow')) {
        response.writeHead(200).write('begun ');
        begin(() => void response.end(String(name)));
      } else response.end(JSON.stringify({ name }));
    },
  );
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const server = await startTestServer({ aggregation: { proxyClient: client('first') } });
  const post = async (path: string, body: object): Promise<void> =>
    void assert.equal(
      (await server.request(`POST ${path}`, { body, headers: { 'content-type': 'application/json' } }))
        .status,
      201,
    );
  const ask = async (path: string): Promise<string> => {
    const { body } = await server.server.handler({
      method: 'GET',
      path,
      query: '',
      headers: {},
      body: () => Promise.resolve(Buffer.alloc(0)),
      onAbort: () => {},
      remoteAddress: '127.0.0.1',
    });
    if (typeof body !== 'function') return String(body);
    return new Promise((resolve) => {
      let text = '';
      body({
        write: (chunk) => {
          text += chunk.toString();
          return true;
        },
        drained: () => Promise.resolve(),
        bufferedBytes: 0,
        end: () => resolve(text),
        closed: false,
        onClose: () => {},
      });
    });
  };
  try {
    await post('/api/v1/namespaces', { metadata: { name: 'default' } });
    await post('/api/v1/namespaces/default/services', {
      metadata: { name: 'x' },
      spec: { type: 'ExternalName', externalName: 'localhost' },
    });
    await post('/apis/apiregistration.k8s.io/v1/apiservices', {
      metadata: { name: 'v1.x.example.com' },
      spec: {
        group: 'x.example.com',
        version: 'v1',
        groupPriorityMinimum: 1,
        versionPriority: 1,
        caBundle: Buffer.from(authority.certificatePem).toString('base64'),
        service: { name: 'x', namespace: 'default', port: (upstream.address() as AddressInfo).port },
      },
    });
    await until('it is available', async () =>
      (await ask('/apis/x.example.com/v1/things')).includes('first'),
    );
    const slow = ask('/apis/x.example.com/v1/slow');
    const finish = await begun;
    server.server.replaceProxyClient(client('second'));
    assert.match(await ask('/apis/x.example.com/v1/things'), /second/);
    finish();
    assert.equal(await slow, 'begun first');
  } finally {
    await server.stop();
    upstream.closeAllConnections();
    await new Promise((resolve) => upstream.close(resolve));
  }
});
