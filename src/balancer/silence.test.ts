/** When a server counts as silent, and when not: on a clock that the test advances. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '#stdx/clock.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { CALM_MS, SilenceDetector, SUSPECT_EVERY_MS, SUSPECT_MS, VERDICT_MS } from './silence.ts';

interface World {
  readonly clock: FakeClock;
  readonly detector: SilenceDetector;
  /** When the other server was last asked and answered. */
  otherAnsweredMs: number;
  isReady: boolean;
  probes: number;
  verdicts: number;
}

/** Another server answers each probe, unless the test says otherwise. */
function world({ otherAnswers = true } = {}): World {
  const clock = new FakeClock();
  const seen: World = {
    clock,
    detector: new SilenceDetector({
      clock,
      isWatched: () => seen.isReady,
      probe: () => {
        seen.probes += 1;
        if (otherAnswers) seen.otherAnsweredMs = clock.monotonic();
      },
      hasOtherAnswered: (askedMs) => seen.otherAnsweredMs >= askedMs,
      silent: () => {
        seen.verdicts += 1;
        seen.isReady = false;
      },
    }),
    otherAnsweredMs: -Infinity,
    isReady: true,
    probes: 0,
    verdicts: 0,
  };
  return seen;
}

test('bytes without an answer: the server is asked, then silent', async () => {
  const seen = world();
  seen.detector.sent();
  await seen.clock.advance(SUSPECT_MS - 1);
  assert.equal(seen.probes, 0);
  await seen.clock.advance(1);
  assert.equal(seen.probes, 1);
  await seen.clock.advance(VERDICT_MS);
  assert.equal(seen.verdicts, 1);
});

test('any byte of the server is an answer, however late the one that is waited for', async () => {
  const seen = world();
  for (let request = 0; request < 50; request += 1) {
    seen.detector.sent();
    await seen.clock.advance(SUSPECT_MS + VERDICT_MS - 1);
    seen.detector.received();
  }
  assert.equal(seen.verdicts, 0);
});

test('a server that is not the only silent one stays until another answers', async () => {
  const seen = world({ otherAnswers: false });
  seen.detector.sent();
  await seen.clock.advance(20_000);
  assert.equal(seen.verdicts, 0);
  seen.otherAnsweredMs = seen.clock.monotonic() - 2 * VERDICT_MS;
  await seen.clock.advance(2 * VERDICT_MS);
  assert.equal(seen.verdicts, 0, 'that answer was older than the question');
  seen.otherAnsweredMs = Infinity;
  await seen.clock.advance(VERDICT_MS);
  assert.equal(seen.verdicts, 1);
});

test('frames that want no answer cost a bounded number of probes', async () => {
  const seen = world();
  for (let elapsedMs = 0; elapsedMs < 10_000; elapsedMs += 10) {
    seen.detector.sent();
    const { probes } = seen;
    await seen.clock.advance(10);
    if (seen.probes > probes) seen.detector.received();
  }
  assert.ok(seen.probes <= 10_000 / SUSPECT_EVERY_MS, `${seen.probes} probes`);
  assert.equal(seen.verdicts, 0);
});

test('a server that answers soon after the verdict was slow: the next verdicts are its check alone', async () => {
  const seen = world();
  seen.detector.sent();
  await seen.clock.advance(SUSPECT_MS + VERDICT_MS);
  assert.equal(seen.verdicts, 1);
  await seen.clock.advance(1_000);
  seen.detector.received();
  seen.isReady = true;
  seen.detector.sent();
  await seen.clock.advance(CALM_MS - 1_000);
  assert.equal(seen.verdicts, 1);
  await seen.clock.advance(1_000);
  seen.detector.sent();
  await seen.clock.advance(SUSPECT_MS + VERDICT_MS);
  assert.equal(seen.verdicts, 2, 'calm again');
});

test('an ejected server is not suspected', async () => {
  const seen = world();
  seen.isReady = false;
  seen.detector.sent();
  await seen.clock.advance(10_000);
  assert.equal(seen.probes, 0);
});

test('this process did not run: what came meanwhile is read before a verdict', async () => {
  const seen = world();
  const late = { ms: 0 };
  const clock: Clock = {
    now: () => seen.clock.now(),
    monotonic: () => seen.clock.monotonic() + late.ms,
    after: (delayMs, callback) => seen.clock.after(delayMs, callback),
    sleep: (delayMs, signal) => seen.clock.sleep(delayMs, signal),
  };
  let verdicts = 0;
  const detector = new SilenceDetector({
    clock,
    isWatched: () => true,
    probe: () => {},
    hasOtherAnswered: () => true,
    silent: () => void (verdicts += 1),
  });
  detector.sent();
  await seen.clock.advance(SUSPECT_MS);
  late.ms = 2_000;
  await seen.clock.advance(VERDICT_MS);
  assert.equal(verdicts, 0, 'the timer was late');
  detector.received();
  await seen.clock.advance(10_000);
  assert.equal(verdicts, 0);
});
