import assert from 'node:assert/strict';
import { it } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { createLedComponent } from './led-component.ts';

it('works on one instance at a time, and restarts after a failure', async (t) => {
  const clock = new FakeClock();
  const fake = createFakeApi();
  const api = createClient(createDirectTransport(fake.handler), { userAgent: 'test', clock });
  t.after(() => api.close());
  const did: string[] = [];
  let failures = 1;
  const open = (identity: string): ReturnType<typeof createLedComponent> =>
    createLedComponent({
      name: 'kube-scheduler',
      api,
      clock,
      log: silentLogger,
      identity,
      leaderElect: {},
      prepare: () => Promise.resolve(void did.push(`prepare ${identity}`)),
      async work(signal) {
        did.push(`work ${identity}`);
        if (failures-- > 0) throw new Error('once');
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      },
    });
  const [a, b] = [open('a'), open('b')];
  await a.start();
  await clock.advance(0);
  await b.start();
  await clock.advance(20_000);
  // a's work fails; it keeps the lease while it waits for the restart.
  assert.deepEqual(did, ['prepare a', 'work a', 'prepare b', 'work a']);
  await a.stop();
  await clock.advance(5_000);
  assert.equal(did.at(-1), 'work b');
  await b.stop();
});
