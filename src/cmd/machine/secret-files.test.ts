import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { withSecretFiles } from './secret-files.ts';

const MAIN = resolve(import.meta.dirname, '../../cli/main.ts');
const KEY = 'ab'.repeat(32);

test('a token and a certificate key from files', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-secret-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string, content: string): string => {
    writeFileSync(join(dir, name), content);
    return join(dir, name);
  };
  const tokenFile = file('token', 'abcdef.0123456789abcdef\n');
  const certificateKeyFile = file('key', ` ${KEY}\n`);
  const { token, certificateKey } = withSecretFiles<Parameters<typeof withSecretFiles>[0]>({
    tokenFile,
    certificateKeyFile,
  });
  assert.deepEqual([token, certificateKey], ['abcdef.0123456789abcdef', KEY]);
  assert.deepEqual(withSecretFiles({ token: 'a' }), { token: 'a' });
  const refuses = (flags: Parameters<typeof withSecretFiles>[0], message: RegExp): void =>
    assert.throws(() => withSecretFiles(flags), { name: 'UserError', message });
  refuses({ token: 'a', tokenFile }, /--token and --token-file exclude each other/);
  refuses({ tokenFile: '-', certificateKeyFile: '-' }, /cannot both be standard input/);
  refuses({ tokenFile: join(dir, 'none') }, /--token-file .*none cannot be read: ENOENT/);
  refuses({ tokenFile: file('empty', '\n') }, /is empty/);
  refuses({ certificateKeyFile: file('two', 'a b') }, /holds more than one word/);
});

test('a certificate key from standard input, for a witness too', () => {
  const { stderr } = spawnSync(
    process.execPath,
    [
      MAIN,
      'join',
      '127.0.0.1:1',
      '--witness',
      '--certificate-key-file=-',
      '--dry-run',
      '--rootfs=/dev/null/x',
    ],
    { input: 'short\n', encoding: 'utf8' },
  );
  assert.match(stderr, /^capstan: .*certificate key/i);
});
