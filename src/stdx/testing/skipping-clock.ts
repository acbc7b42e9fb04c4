/** A clock for tests that wait against a real server: sleeping takes no time and moves the clock by as much; everything else is the real clock. */
import { setImmediate as turn } from 'node:timers/promises';
import { realClock, type Clock } from '../clock.ts';

export function skippingClock(): Clock {
  let ms = 0;
  return {
    ...realClock,
    now: () => Date.now() + ms,
    monotonic: () => ms,
    async sleep(delayMs) {
      ms += delayMs;
      await turn();
    },
  };
}
