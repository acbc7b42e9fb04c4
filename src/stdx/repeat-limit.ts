/**
 * A Logger that writes a bounded number of lines per message and window, then only the number of omitted ones: for lines that clients can
 * cause at any rate. Lines with the same level and message count as equal, whatever their fields.
 */
import type { Clock } from './clock.ts';
import type { LogFields, Logger, LogLevel } from './log.ts';

interface RepeatLimitOptions {
  readonly clock: Clock;
  /** Maximum lines of one message in one window. Default 10. */
  readonly burst?: number;
  /** Default: one minute. */
  readonly windowMs?: number;
}

/** Messages are usually fixed texts; otherwise the oldest is evicted, and its number of omitted lines is written. */
const MAX_MESSAGES = 1_000;

interface Window {
  readonly level: LogLevel;
  readonly message: string;
  lines: number;
  leftOut: number;
}

export function limitRepeats(
  log: Logger,
  { clock, burst = 10, windowMs = 60_000 }: RepeatLimitOptions,
): Logger {
  const windows = new Map<string, Window>();
  const end = (key: string): void => {
    const window = windows.get(key);
    windows.delete(key);
    if (window && window.leftOut > 0)
      log[window.level](window.message, { leftOut: window.leftOut, seconds: windowMs / 1000 });
  };
  const begin = (key: string, { level, message }: Pick<Window, 'level' | 'message'>): Window => {
    if (windows.size >= MAX_MESSAGES) end(windows.keys().next().value!);
    const window = { level, message, lines: 0, leftOut: 0 };
    windows.set(key, window);
    clock.after(windowMs, () => {
      if (windows.get(key) === window) end(key);
    });
    return window;
  };
  const isWritten = (level: LogLevel, message: string): boolean => {
    const key = `${level} ${message}`;
    const window = windows.get(key) ?? begin(key, { level, message });
    if (window.lines < burst) window.lines++;
    else window.leftOut++;
    return window.leftOut === 0;
  };
  const limited = (target: Logger): Logger => {
    const emit = (level: LogLevel) => (message: string, fields?: LogFields) => {
      if (isWritten(level, message)) target[level](message, fields);
    };
    return {
      // Debug logs are complete when they are enabled.
      debug: (message, fields) => target.debug(message, fields),
      info: emit('info'),
      warn: emit('warn'),
      error: emit('error'),
      with: (fields) => limited(target.with(fields)),
    };
  };
  return limited(log);
}
