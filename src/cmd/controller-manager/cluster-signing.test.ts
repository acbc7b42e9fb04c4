import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { createAuthority, issueCertificate } from '#pki/certificate.ts';
import { clusterSigning } from './cluster-signing.ts';

it('flags of signing: pairs, files read anew, and what is refused', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-signing-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string, content: string): string => {
    writeFileSync(join(dir, name), content);
    return join(dir, name);
  };
  const [one, two] = ['one', 'two'].map((commonName) =>
    createAuthority({ commonName, nowMs: Date.now(), lifetimeMs: 86_400_000 }),
  );
  const leaf = issueCertificate(one!, {
    subject: { commonName: 'leaf' },
    usages: ['clientAuth'],
    nowMs: Date.now(),
    lifetimeMs: 86_400_000,
  });
  const cert = file('ca.crt', one!.certificatePem),
    key = file('ca.key', one!.keyPem);
  const pair = { clusterSigningCertFile: cert, clusterSigningKeyFile: key };
  assert.deepEqual(clusterSigning({}), { clusterSigningDurationMs: 8760 * 3_600_000 });
  const { clusterSigner, clusterSigningDurationMs } = clusterSigning({
    ...pair,
    clusterSigningDuration: '1h30m',
  });
  assert.equal(clusterSigningDurationMs, 5_400_000);
  assert.ok(typeof clusterSigner === 'function' && clusterSigner().certificate === one!.certificatePem);
  file('ca.crt', two!.certificatePem);
  file('ca.key', two!.keyPem);
  assert.equal(clusterSigner().certificate, two!.certificatePem);
  assert.deepEqual(
    Object.keys(
      clusterSigning({ clusterSigningKubeletServingCertFile: cert, clusterSigningKubeletServingKeyFile: key })
        .clusterSigners ?? {},
    ),
    ['kubernetes.io/kubelet-serving'],
  );
  const refuses = (flags: Parameters<typeof clusterSigning>[0], message: RegExp): void =>
    assert.throws(() => clusterSigning(flags), { name: 'UserError', message });
  refuses(
    { clusterSigningCertFile: cert },
    /--cluster-signing-cert-file and --cluster-signing-key-file go together/,
  );
  refuses(
    { ...pair, clusterSigningLegacyUnknownCertFile: cert, clusterSigningLegacyUnknownKeyFile: key },
    /give it, or --cluster-signing-legacy-unknown-cert-file and its likes, not both/,
  );
  refuses(
    { ...pair, clusterSigningDuration: 'long' },
    /--cluster-signing-duration is "long"; it should be a duration, for example 30s/,
  );
  refuses({ ...pair, clusterSigningDuration: '0s' }, /--cluster-signing-duration is 0; it should be longer/);
  refuses(
    { ...pair, clusterSigningKeyFile: file('other.key', one!.keyPem) },
    /other\.key is not the key of --cluster-signing-cert-file/,
  );
  refuses(
    {
      clusterSigningCertFile: file('leaf.crt', leaf.certificatePem),
      clusterSigningKeyFile: file('leaf.key', leaf.keyPem),
    },
    /leaf\.crt is not a certificate authority/,
  );
  refuses({ ...pair, clusterSigningCertFile: join(dir, 'none') }, /none cannot be read/);
  refuses({ ...pair, clusterSigningCertFile: file('rubbish', 'x') }, /rubbish holds no certificate/);
});
