import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { Freshness } from './freshness.ts';

function setUp(): {
  freshness: Freshness;
  clock: FakeClock;
  questions: ((revision: number) => void)[];
  at: (revision: number) => void;
  progress: () => number;
} {
  const clock = new FakeClock();
  const questions: ((revision: number) => void)[] = [];
  let reached = 5;
  let progress = 0;
  const freshness = new Freshness({
    newest: () => new Promise((resolve) => void questions.push(resolve)),
    reached: () => reached,
    requestProgress: () => void progress++,
    clock,
  });
  const at = (revision: number): void => {
    reached = revision;
    freshness.moved();
  };
  return { freshness, clock, questions, at, progress: () => progress };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('who comes in one turn shares a question, who comes while it is under way shares the next one', async () => {
  const { freshness, questions } = setUp();
  const done: string[] = [];
  void freshness.caughtUp().then(() => done.push('first'));
  await Promise.resolve();
  void freshness.caughtUp().then(() => done.push('second'));
  assert.equal(questions.length, 0);
  await turn();
  void freshness.caughtUp().then(() => done.push('third'));
  await turn();
  void freshness.caughtUp().then(() => done.push('fourth'));
  await turn();
  assert.deepEqual([done, questions.length], [[], 1]);
  questions[0]!(5);
  await turn();
  await turn();
  assert.deepEqual([done, questions.length], [['first', 'second'], 2]);
  questions[1]!(5);
  await turn();
  assert.deepEqual([done, questions.length], [['first', 'second', 'third', 'fourth'], 2]);
});

test('waits for the revision, asks for progress meanwhile, and gives up after three seconds', async () => {
  const { freshness, clock, questions, at, progress } = setUp();
  let isDone = false;
  void freshness.caughtUp().then(() => (isDone = true));
  await turn();
  questions[0]!(7);
  await turn();
  assert.deepEqual([isDone, progress()], [false, 0]);
  clock.advance(100);
  at(6);
  await turn();
  assert.deepEqual([isDone, progress()], [false, 1]);
  at(7);
  await turn();
  assert.equal(isDone, true);
  const late = freshness.caughtUp();
  await turn();
  questions[1]!(9);
  await turn();
  clock.advance(4_000);
  await assert.rejects(late, /did not reach revision 9 in 3 s \(it is at 7\)/);
});

test('a question that fails fails those who share it, not those after', async () => {
  let calls = 0;
  const freshness = new Freshness({
    newest: () => (++calls === 1 ? Promise.reject(new Error('no leader')) : Promise.resolve(1)),
    reached: () => 1,
    requestProgress: () => {},
    clock: new FakeClock(),
  });
  const first = freshness.caughtUp();
  const shared = freshness.caughtUp();
  const refused = assert.rejects(first, /no leader/);
  await assert.rejects(shared, /no leader/);
  await refused;
  const second = freshness.caughtUp();
  await second;
  assert.equal(calls, 2);
});

test('is fresh within a time of the last question that the cache caught up with, counted from its sending', async () => {
  const { freshness, clock, questions, at } = setUp();
  const first = freshness.caughtUpWithin(1_000);
  await turn();
  await clock.advance(600);
  questions[0]!(5);
  await first;
  assert.equal(freshness.caughtUpWithin(1_000), undefined);
  await clock.advance(401);
  const second = freshness.caughtUpWithin(1_000);
  assert.ok(second);
  await turn();
  questions[1]!(6);
  at(6);
  await second;
  assert.equal(freshness.caughtUpWithin(1_000), undefined);
  at(-1);
  assert.ok(freshness.caughtUpWithin(1_000));
});
