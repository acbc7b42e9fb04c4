/** The flags of TLS, and what a server that was given them speaks. */
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import { connect, type ConnectionOptions } from 'node:tls';
import { freePort } from '#testing/cluster.ts';
import { startTestApi } from '#testing/start-test-api.ts';
import { tlsSettingsFrom, type TlsSettings } from './tls-flags.ts';

describe('flags of TLS', () => {
  it('become settings', () => {
    assert.deepEqual(tlsSettingsFrom({}), {});
    assert.deepEqual(tlsSettingsFrom({ tlsMinVersion: 'VersionTLS13' }), { minVersion: 'TLSv1.3' });
    assert.match(
      tlsSettingsFrom({
        tlsCipherSuites: ['TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256'],
      }).ciphers ?? '',
      /^TLS_AES_256_GCM_SHA384:.*:ECDHE-RSA-AES256-GCM-SHA384$/,
    );
  });

  it('are refused where they are unknown or insecure', () => {
    const refuses = (flags: Parameters<typeof tlsSettingsFrom>[0], message: RegExp): void =>
      assert.throws(() => tlsSettingsFrom(flags), { name: 'UserError', message });
    refuses(
      { tlsMinVersion: 'VersionTLS11' },
      /^--tls-min-version is "VersionTLS11", which is not spoken any more; it should be VersionTLS12 or VersionTLS13\.$/,
    );
    refuses({ tlsMinVersion: '1.3' }, /is "1\.3"; it should be/);
    for (const name of [
      'TLS_RSA_WITH_AES_128_CBC_SHA',
      'TLS_ECDHE_RSA_WITH_RC4_128_SHA',
      'constructor',
      'ALL',
    ])
      refuses({ tlsCipherSuites: [name] }, new RegExp(`names "${name}", which is not offered`));
  });
});

async function spoken(tls: TlsSettings, asked: ConnectionOptions): Promise<string> {
  const port = await freePort();
  const api = await startTestApi({ port, settings: { tls } });
  try {
    return await new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port, ca: api.pki.ca.certificatePem, ...asked }, () => {
        resolve(`${socket.getProtocol()} ${socket.getCipher().name}`);
        socket.destroy();
      });
      socket.on('error', () => resolve('refused'));
    });
  } finally {
    await api.stop();
  }
}

test('a server speaks what it is asked to, and nothing weak by default', async () => {
  const weak = {
    maxVersion: 'TLSv1.2',
    ciphers:
      'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA:AES128-GCM-SHA256:AES256-SHA@SECLEVEL=0',
  } as const;
  assert.equal(await spoken({}, weak), 'refused');
  assert.equal(
    await spoken({}, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    'refused',
  );
  assert.match(await spoken({}, { maxVersion: 'TLSv1.2' }), /^TLSv1\.2 ECDHE-ECDSA-(AES|CHACHA)/);
  assert.match(await spoken({}, {}), /^TLSv1\.3 /);
  assert.equal(
    await spoken(tlsSettingsFrom({ tlsMinVersion: 'VersionTLS13' }), { maxVersion: 'TLSv1.2' }),
    'refused',
  );
  assert.equal(
    await spoken(tlsSettingsFrom({ tlsCipherSuites: ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384'] }), {
      maxVersion: 'TLSv1.2',
    }),
    'TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384',
  );
});
