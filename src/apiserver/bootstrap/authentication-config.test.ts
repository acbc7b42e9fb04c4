/** What several servers publish for extension API servers is combined, as upstream combines it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAuthority } from '#pki/certificate.ts';
import { splitPem } from '#pki/pem.ts';
import { startTestServer } from '../testing/server.ts';
import { publishAuthentication } from './authentication-config.ts';

const DAY_MS = 86_400_000;
const nowMs = Date.now();
const authority = (commonName: string, lifetimeMs = 10 * DAY_MS): string =>
  createAuthority({ commonName, nowMs, lifetimeMs }).certificatePem;

const headers = {
  usernameHeaders: ['X-Remote-User'],
  uidHeaders: ['X-Remote-Uid'],
  groupHeaders: ['X-Remote-Group'],
  extraHeaderPrefixes: ['X-Remote-Extra-'],
};

test('authorities and names of two servers are combined, expired ones go, what cannot be read is replaced', async () => {
  const { server, request, stop } = await startTestServer({ bootstrapObjects: true });
  try {
    await server.ready();
    const { internal } = server;
    const [one, two, proxyOne, proxyTwo] = ['one', 'two', 'proxy-one', 'proxy-two'].map((name) =>
      authority(name),
    );
    const short = authority('short', DAY_MS);
    const read = async (): Promise<Record<string, string>> =>
      (
        (await request('GET /api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication'))
          .body as {
          data: Record<string, string>;
        }
      ).data;
    const certificates = (bundle = ''): string[] => splitPem(bundle, 'CERTIFICATE').map((pem) => pem.trim());
    const trimmed = (...pems: (string | undefined)[]): string[] => pems.map((pem) => pem!.trim());
    await Promise.all([
      publishAuthentication(internal, {
        clientCa: `${one}${short}`,
        requestHeader: { ca: proxyOne!, allowedNames: ['front-one'], ...headers },
        nowMs,
      }),
      publishAuthentication(internal, {
        clientCa: two,
        requestHeader: { ca: proxyTwo!, allowedNames: ['front-two'], ...headers },
        nowMs,
      }),
    ]);
    let data = await read();
    assert.deepEqual(new Set(certificates(data['client-ca-file'])), new Set(trimmed(one, two, short)));
    assert.deepEqual(
      new Set(certificates(data['requestheader-client-ca-file'])),
      new Set(trimmed(proxyOne, proxyTwo)),
    );
    assert.deepEqual(
      new Set(JSON.parse(data['requestheader-allowed-names']!)),
      new Set(['front-one', 'front-two']),
    );
    assert.deepEqual(JSON.parse(data['requestheader-username-headers']!), ['X-Remote-User']);

    // Again: nothing is written.
    const before = data;
    await publishAuthentication(internal, { clientCa: two, nowMs });
    assert.deepEqual(await read(), before);

    await publishAuthentication(internal, { clientCa: two, nowMs: nowMs + 2 * DAY_MS });
    data = await read();
    assert.deepEqual(new Set(certificates(data['client-ca-file'])), new Set(trimmed(one, two)));

    await request('PATCH /api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication', {
      body: { data: { 'client-ca-file': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    await publishAuthentication(internal, { clientCa: one, nowMs });
    assert.deepEqual(certificates((await read())['client-ca-file']), trimmed(one));
  } finally {
    await stop();
  }
});
