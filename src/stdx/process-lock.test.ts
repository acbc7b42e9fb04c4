import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { acquireProcessLock, liveLockHolder, LockedError, processStartTime } from './process-lock.ts';

describe('process lock', () => {
  let dir: string;
  let path: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-lock-'));
    path = join(dir, 'lock');
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  });

  /** A process that tries to take the lock: prints 'held' and keeps it, or prints the error. */
  async function taker(): Promise<{ readonly child: ChildProcess; readonly output: string }> {
    const module = new URL('./process-lock.ts', import.meta.url).href;
    const script = `import { acquireProcessLock } from ${JSON.stringify(module)};
      try { acquireProcessLock(${JSON.stringify(path)}); console.log('held'); setInterval(() => {}, 1000); } catch (error) { console.log(error.name + ' ' + error.holder?.pid); }`;
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    children.push(child);
    const [output] = (await once(child.stdout!, 'data')) as [Buffer];
    return { child, output: output.toString().trim() };
  }

  it('has one holder, reports it, and is free after release', () => {
    const lock = acquireProcessLock(path);
    assert.equal(liveLockHolder(path)?.pid, process.pid);
    assert.throws(
      () => acquireProcessLock(path),
      (error) => error instanceof LockedError && error.holder.pid === process.pid,
    );
    lock.release();
    lock.release();
    assert.equal(liveLockHolder(path), undefined);
    acquireProcessLock(path).release();
    assert.deepEqual(readdirSync(dir), ['lock.guard']);
  });

  it('is free at once when its holder is killed, and the stale holder file is ignored', async () => {
    const { child, output } = await taker();
    assert.equal(output, 'held');
    assert.equal(liveLockHolder(path)?.pid, child.pid);
    assert.throws(
      () => acquireProcessLock(path),
      (error) => error instanceof LockedError && error.holder.pid === child.pid,
    );
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    assert.equal(liveLockHolder(path), undefined);
    acquireProcessLock(path).release();
  });

  it('keeps the holder file of a directory that has replaced its own', async () => {
    const lock = acquireProcessLock(path);
    rmSync(dir, { recursive: true });
    mkdirSync(dir);
    const { child, output } = await taker();
    assert.equal(output, 'held');
    lock.release();
    assert.equal(liveLockHolder(path)?.pid, child.pid);
  });

  it('has exactly one holder after concurrent attempts', async () => {
    writeFileSync(path, JSON.stringify({ pid: 999_999_999, startTime: 'long ago' }));
    const takers = await Promise.all(Array.from({ length: 6 }, taker));
    const holders = takers.filter(({ output }) => output === 'held');
    assert.equal(holders.length, 1);
    for (const { output } of takers)
      if (output !== 'held') assert.equal(output, `LockedError ${holders[0]?.child.pid}`);
  });

  it('ignores a pid that was reused by another process', () => {
    writeFileSync(path, JSON.stringify({ pid: process.pid, startTime: 'another boot/1' }));
    assert.equal(liveLockHolder(path), undefined);
    writeFileSync(path, JSON.stringify({ pid: process.pid, startTime: processStartTime(process.pid) }));
    assert.equal(liveLockHolder(path)?.pid, process.pid);
    for (const damaged of ['', '{', 'null', '[]', '{"pid":-1}']) {
      writeFileSync(path, damaged);
      assert.equal(liveLockHolder(path), undefined, damaged);
    }
  });

  it('is not held in a copy of its directory', () => {
    const lock = acquireProcessLock(path);
    const copy = join(dir, 'copy');
    mkdirSync(copy);
    for (const name of ['lock', 'lock.guard']) cpSync(join(dir, name), join(copy, name));
    assert.equal(liveLockHolder(join(copy, 'lock')), undefined);
    rmSync(join(copy, 'lock.guard'));
    assert.equal(liveLockHolder(join(copy, 'lock')), undefined);
    assert.equal(liveLockHolder(path)?.pid, process.pid);
    lock.release();
  });

  it('passes file system errors through', () => {
    assert.throws(() => acquireProcessLock(join(dir, 'absent/lock')), { code: 'ENOENT' });
  });
});
