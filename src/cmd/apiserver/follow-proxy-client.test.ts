import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { followFiles } from './follow-files.ts';

const NOTHING_ELSE = {
  tls: { cert: '', key: '' },
  keys: { signingKeyPem: '' },
  clock: realClock,
  replaceTls: () => {},
  replaceKeys: () => {},
  replaceProxyClient: () => {},
  replaceKubeletClient: () => {},
  replacePeerAuthorities: () => {},
};

test('the authorities of peers are followed; a file without a certificate changes nothing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-follow-'));
  const of = (commonName: string): string =>
    createAuthority({ commonName, nowMs: Date.now(), lifetimeMs: 3_600_000 }).certificatePem;
  const peerCa = join(dir, 'ca.crt');
  const first = of('first'),
    both = `${first}${of('second')}`;
  writeFileSync(peerCa, first);
  const lines: string[] = [],
    seen: string[] = [];
  const followed = followFiles(
    { peerCa },
    {
      ...NOTHING_ELSE,
      peerCa: first,
      log: createLogger({ write: (line) => void lines.push(line) }),
      replacePeerAuthorities: (ca) => void seen.push(ca),
    },
  );
  try {
    writeFileSync(peerCa, 'nothing');
    await until('the damaged file is complained of', () =>
      lines.some((line) => line.includes('has no certificate in PEM')),
    );
    writeFileSync(peerCa, both);
    await until('the new ones are used', () => seen.length > 0);
    assert.deepEqual(seen, [both]);
  } finally {
    followed.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test('the certificate for extension API servers is followed; a pair that does not fit changes nothing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-follow-'));
  const nowMs = Date.now(),
    authority = createAuthority({ commonName: 'front-proxy-ca', nowMs, lifetimeMs: 3_600_000 });
  const pair = (commonName: string): KeyPair =>
    issueCertificate(authority, {
      subject: { commonName },
      usages: ['clientAuth'],
      nowMs,
      lifetimeMs: 3_600_000,
    });
  const proxyClientCert = join(dir, 'client.crt'),
    proxyClientKey = join(dir, 'client.key');
  const write = (certificatePem: string, keyPem: string): void => {
    writeFileSync(proxyClientCert, certificatePem);
    writeFileSync(proxyClientKey, keyPem);
  };
  const first = pair('first'),
    second = pair('second');
  write(first.certificatePem, first.keyPem);
  const lines: string[] = [],
    seen: string[] = [];
  const followed = followFiles(
    { proxyClientCert, proxyClientKey },
    {
      ...NOTHING_ELSE,
      proxyClient: { cert: first.certificatePem, key: first.keyPem },
      log: createLogger({ write: (line) => void lines.push(line) }),
      replaceProxyClient: ({ cert }) => void seen.push(cert),
    },
  );
  try {
    write(second.certificatePem, first.keyPem);
    await until('the wrong pair is complained of', () =>
      lines.some((line) => line.includes('does not belong to')),
    );
    assert.equal(seen.length, 0);
    write(second.certificatePem, second.keyPem);
    await until('the new pair is used', () => seen.includes(second.certificatePem));
  } finally {
    followed.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
