import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { it } from 'node:test';
import { silentLogger } from './log.ts';
import { releaseMemoryWhenQuiet, type ThreadMemory } from './memory-release.ts';
import { FakeClock } from './testing/fake-clock.ts';

interface FakeThread extends ThreadMemory {
  active: number;
  readonly done: string[];
}

function fakeThread(): FakeThread {
  const done: string[] = [];
  return {
    active: 0,
    done,
    activeMs() {
      return this.active;
    },
    collect: async () => void done.push('collect'),
    trim: async () => void done.push('trim'),
  };
}

it('returns memory once after a busy time, and not while there is work or was none', async () => {
  const clock = new FakeClock();
  const thread = fakeThread();
  const stop = releaseMemoryWhenQuiet({ clock, log: silentLogger, trims: true, thread });
  await clock.advance(60_000);
  assert.deepEqual(thread.done, []);
  for (let i = 0; i < 12; i++) {
    thread.active += 4_000;
    await clock.advance(5_000);
  }
  assert.deepEqual(thread.done, []);
  await clock.advance(60_000);
  assert.deepEqual(thread.done, ['collect', 'trim', 'trim']);
  // A small amount of work is not enough, but it adds up.
  for (let i = 0; i < 20; i++) {
    thread.active += 200;
    await clock.advance(5_000);
  }
  assert.deepEqual(thread.done, ['collect', 'trim', 'trim', 'collect', 'trim', 'trim']);
  stop();
  thread.active += 10_000;
  await clock.advance(60_000);
  assert.equal(thread.done.length, 6);
});

it('only the designated thread trims the pages of the process', async () => {
  const clock = new FakeClock();
  const thread = fakeThread();
  const stop = releaseMemoryWhenQuiet({ clock, log: silentLogger, trims: false, thread });
  thread.active = 5_000;
  await clock.advance(60_000);
  assert.deepEqual(thread.done, ['collect']);
  stop();
});

/** Fills the V8 and the C heap with small buffers, keeps some of them, and prints the resident megabytes before and after. */
const PROGRAM = `
import { releaseMemoryWhenQuiet } from ${JSON.stringify(new URL('./memory-release.ts', import.meta.url).href)};
import { silentLogger } from ${JSON.stringify(new URL('./log.ts', import.meta.url).href)};
const timers = [];
let nowMs = 0;
const clock = { now: () => nowMs, monotonic: () => nowMs, after: (ms, run) => (timers.push(run), { cancel() {} }), sleep: () => new Promise((done) => setTimeout(done, 500)) };
let buffers = Array.from({ length: 60_000 }, () => Buffer.allocUnsafeSlow(2_500).fill(1));
const full = process.memoryUsage.rss();
releaseMemoryWhenQuiet({ clock, log: silentLogger, trims: true });
await new Promise((done) => setTimeout(done, 10));
const until = performance.now() + 2_500;
while (performance.now() < until);
const kept = buffers.filter((_, i) => i % 100 === 0);
buffers = undefined;
for (let i = 0; i < 4; i++) { await new Promise((done) => setTimeout(done, 50)); timers.shift()?.(); }
await new Promise((done) => setTimeout(done, 1_500));
console.log(JSON.stringify({ full, after: process.memoryUsage.rss(), kept: kept.length }));
`;

it(
  'brings the memory of a process down',
  { skip: process.platform === 'linux' ? false : 'needs glibc' },
  () => {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', PROGRAM],
      { encoding: 'utf8' },
    );
    assert.equal(stderr, '');
    const { full, after } = JSON.parse(stdout) as { readonly full: number; readonly after: number };
    assert.ok(full - after > 100e6, `${full} → ${after}`);
  },
);
