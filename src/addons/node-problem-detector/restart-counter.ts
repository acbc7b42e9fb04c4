/** `restart-counter --component=NAME --lookback=20m --count=5`: a problem where a component that this program starts itself, and no unit of systemd, was started so often. */
import type { Clock } from '#stdx/clock.ts';
import { flagMs, readProgramFlags } from './program-flags.ts';
import type { BuiltInPlugin } from './run-plugin.ts';

const LOOKBACK_MS = 20 * 60_000;
const COUNT = 5;

interface RestartCounterOptions {
  readonly clock: Clock;
  /** When a component was started, epoch milliseconds. */
  starts(component: string): readonly number[];
}

export function createRestartCounter({ clock, starts }: RestartCounterOptions): BuiltInPlugin {
  return (args) => {
    const flags = readProgramFlags(args, ['component', 'lookback', 'count'] as const);
    const sinceMs = clock.now() - flagMs(flags.lookback, LOOKBACK_MS);
    const found = starts(flags.component ?? '').filter((time) => time >= sinceMs).length;
    const threshold = Number(flags.count ?? COUNT);
    return Promise.resolve(
      found >= threshold
        ? { code: 'problem', output: `started ${found} times, which meets the threshold of ${threshold}` }
        : { code: 'ok', output: '' },
    );
  };
}
