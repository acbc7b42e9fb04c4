import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realClock } from '#stdx/clock.ts';
import { Checker } from './checker.ts';
import { authority, startFakeServer } from './testing/fake-server.ts';

test('checks go over one kept connection', async (t) => {
  const server = await startFakeServer('a');
  t.after(() => server.stop());
  let passed = Promise.withResolvers<void>();
  const checker = new Checker({
    address: server.address,
    clock: realClock,
    trust: () => ({ ca: authority.cert, serverName: '127.0.0.1' }),
    timeoutMs: () => 10_000,
    asked: () => {},
    passed: () => passed.resolve(),
    failed: (problem) => passed.reject(new Error(problem)),
    late: (problem) => passed.reject(new Error(problem)),
  });
  t.after(() => checker.close());
  checker.now();
  for (let check = 0; check < 3; check += 1) {
    await passed.promise;
    passed = Promise.withResolvers<void>();
    checker.now();
  }
  await passed.promise;
  assert.equal(server.accepted, 1);
});
