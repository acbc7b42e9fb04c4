import assert from 'node:assert/strict';
import { it } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { Expectations } from './expectations.ts';

it('is satisfied when all expectations were observed', () => {
  const expectations = new Expectations(new FakeClock());
  assert.ok(expectations.satisfied('ns/a'));
  expectations.expectCreations('ns/a', 2);
  assert.ok(!expectations.satisfied('ns/a'));
  assert.ok(expectations.satisfied('ns/b'));
  expectations.creationObserved('ns/a');
  expectations.lower('ns/a', { creations: 1 });
  assert.ok(expectations.satisfied('ns/a'));
});

it('counts each deletion once, however often it is observed', () => {
  const expectations = new Expectations(new FakeClock());
  expectations.expectDeletions('ns/a', ['ns/p1', 'ns/p2']);
  expectations.deletionObserved('ns/a', 'ns/p1');
  expectations.deletionObserved('ns/a', 'ns/p1');
  expectations.deletionObserved('ns/a', 'ns/another');
  assert.ok(!expectations.satisfied('ns/a'));
  expectations.deletionObserved('ns/a', 'ns/p2');
  assert.ok(expectations.satisfied('ns/a'));
});

it('expires after five minutes, and reports when', async () => {
  const clock = new FakeClock();
  const expectations = new Expectations(clock);
  expectations.expect('ns/a', { creations: 1, deletions: 1 });
  const waitMs = expectations.expiresInMs('ns/a')!;
  await clock.advance(waitMs - 1);
  assert.ok(!expectations.satisfied('ns/a'));
  await clock.advance(1);
  assert.ok(expectations.satisfied('ns/a'));
  expectations.forget('ns/a');
  assert.equal(expectations.expiresInMs('ns/a'), undefined);
});
