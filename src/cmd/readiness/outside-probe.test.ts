/** The probe against a real API server on loopback, reached by two addresses: its certificate, requests without credentials, and the loss of each address in turn. */
import assert from 'node:assert/strict';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { after, before, test } from 'node:test';
import type { HttpsOptions } from '#client/https.ts';
import { freePort } from '#testing/cluster.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { createOutsideProbe } from './outside-probe.ts';

let api: TestApi;
let second: Server;
let servers: readonly [string, string];
let credentials: HttpsOptions;

before(async () => {
  const port = await freePort();
  api = await startTestApi({ port });
  second = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
    client.pipe(upstream).pipe(client);
  });
  servers = [`127.0.0.1:${port}`, `127.0.0.1:${await listen(second)}`];
  const { admin } = api.pki.clients;
  credentials = {
    server: `https://${servers[0]}`,
    ca: api.pki.ca.certificatePem,
    cert: admin.certificatePem,
    key: admin.keyPem,
  };
});
after(async () => {
  second.close();
  await api.stop();
});

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

test('the serving certificate is read without credentials; a server that is not there rejects', async () => {
  const { certificateOf } = createOutsideProbe(credentials);
  const { notAfterMs } = await certificateOf(servers[0]);
  assert.ok(notAfterMs > Date.now() + 86_400_000);
  await assert.rejects(certificateOf(`127.0.0.1:${await freePort()}`), /ECONNREFUSED/);
});

test('a request without credentials is refused, whatever the kubeconfig holds', async () => {
  const { anonymousStatus } = createOutsideProbe(credentials);
  const status = await anonymousStatus('/api/v1/namespaces');
  assert.ok(status === 401 || status === 403, String(status));
});

test('requests go on while each address is lost in turn', async () => {
  const seen = await createOutsideProbe(credentials).failOver(servers);
  assert.deepEqual({ ...seen, longestMs: 0 }, { requests: 40, failed: 0, longestMs: 0 });
});

test('an address that does not answer at all: nothing is tried', async () => {
  const away = `127.0.0.1:${await freePort()}`;
  assert.equal(await createOutsideProbe(credentials).failOver([servers[0], away]), undefined);
});
