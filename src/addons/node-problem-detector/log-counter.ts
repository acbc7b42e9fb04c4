/** Upstream's log-counter: a problem where a pattern was logged so many times within a while. Kernel messages are read from the ring buffer, others from the journal. */
import { RE2JS } from 're2js';
import type { Clock } from '#stdx/clock.ts';
import { readJournal } from './journald.ts';
import { bootTimeMs, readKmsg } from './kmsg.ts';
import { flagMs, readProgramFlags } from './program-flags.ts';
import type { BuiltInPlugin } from './run-plugin.ts';

const FLAGS = [
  'journald-source',
  'log-path',
  'lookback',
  'delay',
  'count',
  'pattern',
  'revert-pattern',
] as const;

interface LogCounterOptions {
  readonly clock: Clock;
  /** Default /dev/kmsg. */
  readonly kmsgPath?: string | undefined;
}

export function createLogCounter({ clock, kmsgPath = '/dev/kmsg' }: LogCounterOptions): BuiltInPlugin {
  return async (args) => {
    const flags = readProgramFlags(args, FLAGS);
    const { 'journald-source': identifier = '', 'log-path': path = '', pattern = '' } = flags;
    if (identifier === '' || pattern === '')
      throw new Error('log-counter needs --journald-source and --pattern');
    const bootMs = bootTimeMs(clock);
    const sinceMs = Math.max(clock.now() - flagMs(flags.lookback, 0), bootMs + flagMs(flags.delay, 0));
    const lines =
      identifier === 'kernel'
        ? readKmsg({ path: kmsgPath, sinceMs, bootMs })
        : await readJournal({ path, identifier, sinceMs });
    const count = (expression: string): number => {
      const compiled = RE2JS.compile(expression);
      return lines.filter(({ message }) => compiled.matcher(message).find()).length;
    };
    const reverted = flags['revert-pattern'] ? count(flags['revert-pattern']) : 0;
    const found = count(pattern) - reverted;
    const threshold = Number(flags.count ?? 1);
    return found >= threshold
      ? { code: 'problem', output: `Found ${found} matching logs, which meets the threshold of ${threshold}` }
      : { code: 'ok', output: '' };
  };
}
