import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { watchFiles } from './watched-files.ts';

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-watched-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('reports changed contents only, and a missing file once', (t) => {
  const dir = folder(t);
  const path = join(dir, 'a');
  writeFileSync(path, 'one');
  const seen: string[] = [];
  const files = watchFiles({
    paths: [path],
    changed: ([text]) => seen.push(text!),
    unreadable: () => seen.push('gone'),
  });
  t.after(() => files.close());
  assert.equal(files.look(), false);
  writeFileSync(path, 'one');
  assert.equal(files.look(), false);
  writeFileSync(path, 'two');
  assert.equal(files.look(), true);
  rmSync(path);
  files.look();
  files.look();
  writeFileSync(path, 'two');
  assert.equal(files.look(), false);
  assert.deepEqual(seen, ['two', 'gone']);
});

test('reports contents at once when they differ from those the caller read', (t) => {
  const path = join(folder(t), 'a');
  writeFileSync(path, 'newer');
  const seen: string[] = [];
  for (const text of ['older', 'newer'])
    watchFiles({
      paths: [path],
      changed: ([now]) => seen.push(`${text} → ${now!}`),
      isKnown: ([now]) => now === text,
    }).close();
  assert.deepEqual(seen, ['older → newer']);
});

test('notices changes by inotify, also a swapped symlink as in mounted volumes', async (t) => {
  const dir = folder(t);
  for (const version of ['v1', 'v2']) {
    mkdirSync(join(dir, version));
    writeFileSync(join(dir, version, 'file'), version);
  }
  symlinkSync('v1', join(dir, '..data'));
  symlinkSync('..data/file', join(dir, 'file'));
  const { promise, resolve } = Promise.withResolvers<string>();
  const files = watchFiles({
    paths: [join(dir, 'file')],
    changed: ([text]) => resolve(text!),
    lookEveryMs: 200,
  });
  t.after(() => files.close());
  symlinkSync('v2', join(dir, '..new'));
  renameSync(join(dir, '..new'), join(dir, '..data'));
  // The test's own timer keeps the process alive until then.
  const alive = setInterval(() => {}, 1000);
  t.after(() => clearInterval(alive));
  assert.equal(await promise, 'v2');
});
