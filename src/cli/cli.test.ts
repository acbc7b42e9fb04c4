/** The command line from outside: help everywhere, completion that a shell takes, one sentence for bad input. */
import assert from 'node:assert/strict';
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const COMMANDS = ['up', 'down', 'status', 'delete', 'image', 'image load', 'test', 'completion', 'apiserver', 'controller-manager', 'scheduler', 'node', 'proxy', 'dns'];

function capstan(words: readonly string[], env: NodeJS.ProcessEnv = process.env): SpawnSyncReturns<string> {
  return spawnSync(join(ROOT, 'capstan'), words, { encoding: 'utf8', env, timeout: 60_000 });
}

describe('the command line', () => {
  for (const command of COMMANDS) {
    it(`capstan ${command} --help`, () => {
      const { status, stdout } = capstan([...command.split(' '), '--help']);
      assert.equal(status, 0);
      assert.match(stdout, new RegExp(`^Usage: capstan ${command}`));
    });
  }

  it('lists every command', () => {
    const { stdout } = capstan(['--help']);
    for (const command of COMMANDS) assert.match(stdout, new RegExp(`^\\s+${command.split(' ')[0]}\\b`, 'm'));
  });

  it('completes in bash', { skip: existsSync('/bin/bash') ? false : 'needs bash' }, () => {
    const script = capstan(['completion', 'bash']).stdout;
    const complete = (line: string): string => spawnSync('/bin/bash', ['-c', `${script}\nCOMP_WORDS=(${line}); COMP_CWORD=$((\${#COMP_WORDS[@]}-1)); _capstan; echo "\${COMPREPLY[@]}"`], { encoding: 'utf8' }).stdout.trim();
    assert.equal(complete('capstan sta'), 'status');
    assert.match(complete('capstan up --ru'), /^--runtime$/);
    assert.equal(complete('capstan up --runtime si'), 'simulated');
    assert.equal(complete('capstan image lo'), 'load');
  });

  const refused: readonly { readonly words: readonly string[]; readonly says: RegExp }[] = [
    { words: ['upp'], says: /unknown command 'upp'\n\(Did you mean up\?\)/ },
    { words: ['up', '--https-port', '0'], says: /--https-port is "0"; it should be a whole number from 1 to 65535/ },
    { words: ['up', '--runtime', 'docker'], says: /Allowed choices are auto, cri, simulated/ },
    { words: ['status', '--data-dir', '/nonexistent/x'], says: /There is no cluster in \/nonexistent\/x; start one with: capstan up --data-dir/ },
    { words: ['scheduler', '--kubeconfig', '/nonexistent/k'], says: /\/nonexistent\/k/ },
    { words: ['apiserver', '--storage', 'etcd', '--data-dir', '/nonexistent/x'], says: /Allowed choices are lmdb, memory/ },
  ];
  for (const { words, says } of refused) {
    it(`refuses: capstan ${words.join(' ')}`, () => {
      const { status, stderr } = capstan(words);
      assert.equal(status, 1);
      assert.match(stderr, says);
      assert.doesNotMatch(stderr, /\n\s+at /, 'no stack trace');
    });
  }

  it('says what to run where packages are missing and may not be installed', () => {
    const copy = mkdtempSync(join(tmpdir(), 'capstan-launcher-'));
    try {
      for (const name of ['capstan', 'package.json', 'package-lock.json']) cpSync(join(ROOT, name), join(copy, name));
      const { status, stderr } = spawnSync(join(copy, 'capstan'), ['up', '--no-install'], { encoding: 'utf8' });
      assert.equal(status, 1);
      assert.match(stderr, /--no-install was given; run: \(cd '.*' && npm ci --ignore-scripts\)/);
      assert.equal(existsSync(join(copy, 'node_modules')), false);
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
});
