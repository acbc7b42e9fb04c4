/**
 * System calls of the lmdb driver, observed with strace: a write is acknowledged only after its bytes are on disk, and
 * failing system calls are handled. Skipped where strace is missing or not permitted.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openLmdbStore } from './lmdb.ts';

const scratch = mkdtempSync(join(tmpdir(), 'capstan-strace-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const skip = spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0 && 'strace does not work here';

/** Runs `body` (with `store` and `say` in scope) in a child under strace; returns its output and the trace. */
function trace(
  dir: string,
  { body, inject = [] }: { body: string; inject?: readonly string[] },
): { lines: string[]; calls: string[] } {
  const script = `import { writeSync } from 'node:fs'; import { openLmdbStore } from ${JSON.stringify(join(import.meta.dirname, 'lmdb.ts'))};
    const say = (text) => writeSync(1, 'say ' + text + '\\n'); const store = await openLmdbStore({ dir: ${JSON.stringify(dir)} }); ${body}; await store.close();`;
  const log = join(dir, '..', 'trace');
  const calls = 'trace=pwrite64,pwritev,writev,write,fdatasync,openat';
  const output = execFileSync(
    'strace',
    [
      '-f',
      '-o',
      log,
      '-e',
      calls,
      ...inject.flatMap((rule) => ['-e', `inject=${rule}`]),
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, UV_THREADPOOL_SIZE: '1' } },
  ).toString();
  return {
    lines: output.split('\n').flatMap((line) => (line.startsWith('say ') ? [line.slice(4)] : [])),
    calls: readFileSync(log, 'utf8').split('\n'),
  };
}

describe('lmdb store: system calls', { skip }, () => {
  test('a put is acknowledged after its pages, fdatasync, and the synchronous write of the meta page', () => {
    const { calls } = trace(join(scratch, 'order'), {
      body: `
      for (let i = 0; i < 10; i++) { say('put'); await store.put('/k' + i, Buffer.alloc(1000, 'v')); say('acknowledged'); }`,
    });
    const fd = syncFd(calls);
    const order = calls.flatMap((call) => {
      if (call.includes('"say put')) return ['put'];
      if (call.includes('"say acknowledged')) return ['acknowledged'];
      if (/fdatasync\(\d+\)\s+= 0|fdatasync resumed>\)\s+= 0/.test(call)) return ['fdatasync'];
      return call.includes(`pwrite64(${fd},`) ? ['meta'] : [];
    });
    const puts = order
      .slice(order.indexOf('put'))
      .join(' ')
      .split(/(?=put)/)
      .map((one) => one.trim());
    assert.deepEqual(
      puts.slice(0, 9),
      Array.from({ length: 9 }, () => 'put fdatasync meta acknowledged'),
    );
  });

  const attempts = `for (let i = 0; i < 30; i++) {
    await store.put('/k' + (i % 5), Buffer.alloc(1000, 'v')).then((stored) => say('ok ' + stored.modRevision), (error) => say(error.code));
  }`;

  test('a failed fdatasync fails that commit, and only that', async () => {
    const dir = join(scratch, 'sync');
    const { lines } = trace(dir, { body: attempts, inject: ['fdatasync:error=EIO:when=4+3'] });
    await checkAnswers(dir, { lines, refusal: 'io' });
  });

  test('a meta page that cannot be written: the driver reopens LMDB and continues', async () => {
    // One thread writes, so the calls of a second run come in the same order; strace counts them by thread.
    const { calls } = trace(join(scratch, 'count'), { body: attempts });
    const fd = syncFd(calls);
    const writes = calls.filter((call) => call.includes('pwrite64('));
    const thread = writes.at(-1)!.split(' ')[0]!;
    const ofThread = writes.filter((call) => call.startsWith(`${thread} `));
    const tenthMeta = ofThread.flatMap((call, i) => (call.includes(`pwrite64(${fd},`) ? [i + 1] : []))[10]!;
    const dir = join(scratch, 'meta');
    const injected = trace(dir, { body: attempts, inject: [`pwrite64:error=EIO:when=${tenthMeta}`] });
    assert.ok(
      injected.calls.some((call) => call.includes(`pwrite64(${fd},`) && call.includes('INJECTED')),
      'the meta page was hit',
    );
    await checkAnswers(dir, { lines: injected.lines, refusal: 'io' });
    assert.equal(injected.lines.filter((line) => line === 'io').length, 1);
  });
});

/** The file descriptor for the meta page. */
function syncFd(calls: readonly string[]): string {
  return /store\.mdb", O_WRONLY\|O_DSYNC.* = (\d+)$/.exec(
    calls.findLast((call) => call.includes('O_DSYNC'))!,
  )![1]!;
}

async function checkAnswers(
  dir: string,
  { lines, refusal }: { lines: readonly string[]; refusal: string },
): Promise<void> {
  assert.equal(lines.length, 30);
  const acknowledged = lines.filter((line) => line.startsWith('ok '));
  assert.ok(acknowledged.length > 3 && acknowledged.length < 30, lines.join());
  assert.ok(
    lines.every((line) => line.startsWith('ok ') || line === refusal),
    lines.join(),
  );
  assert.deepEqual(
    acknowledged,
    acknowledged.map((_, i) => `ok ${i + 1}`),
    'no revision is lost or given twice',
  );
  const store = await openLmdbStore({ dir });
  assert.equal(store.revision, acknowledged.length);
  await store.close();
}
