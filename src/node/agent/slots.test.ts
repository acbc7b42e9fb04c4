import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slots } from './slots.ts';

const never = new AbortController().signal;

test('as many at a time as there are places, in order; one that gives up takes no place', async () => {
  const slots = new Slots(1);
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string, signal = never): Promise<void> =>
    slots.run(() => {
      begun.push(name);
      return new Promise((resolve) => void ends.set(name, resolve));
    }, signal);
  const impatient = new AbortController();
  const [a, b, c] = [work('a'), work('b', impatient.signal), work('c')];
  await new Promise(setImmediate);
  assert.deepEqual(begun, ['a']);
  impatient.abort(new Error('the pod was deleted'));
  await assert.rejects(b, /the pod was deleted/);
  ends.get('a')!();
  await a;
  await new Promise(setImmediate);
  assert.deepEqual(begun, ['a', 'c']);
  ends.get('c')!();
  await c;
  await slots.run(() => Promise.resolve(), never);
});
