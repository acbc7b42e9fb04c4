import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { encryptionFrom } from './encryption.ts';

it('flags of encryption at rest', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-flags-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, 'encryption.yaml');
  writeFileSync(
    file,
    'apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{identity: {}}]}]\n',
  );
  assert.equal(encryptionFrom({}), undefined);
  assert.deepEqual(
    encryptionFrom({ encryptionProviderConfig: file, encryptionProviderConfigAutomaticReload: true }),
    { file, reload: true },
  );
  const refuses = (flags: Parameters<typeof encryptionFrom>[0], message: RegExp): void =>
    assert.throws(() => encryptionFrom(flags), { name: 'UserError', message });
  refuses({ encryptionProviderConfigAutomaticReload: true }, /needs --encryption-provider-config FILE/);
  refuses({ encryptionProviderConfig: join(dir, 'none') }, /none cannot be read: ENOENT/);
  writeFileSync(
    file,
    'apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{aesgcm: {keys: [{name: a, secret: c2VjcmV0}]}}]}]\n',
  );
  refuses(
    { encryptionProviderConfig: file },
    /^--encryption-provider-config .*: resources\[0\]\.providers\[0\]\.aesgcm\.keys\[0\]\.secret: Invalid value: "REDACTED": secret is not of the expected length, got 6, expected one of \[16 24 32\]\.$/,
  );
});
