/**
 * Messages of the journal, by `journalctl`: its JSON output is documented and stable, while the files of the journal change with systemd and a binding to libsystemd
 * would have to be compiled for each Node.js. A journalctl that ends is started again, from where it was.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { LogLine } from './log-buffer.ts';

interface JournalOptions {
  /** '' = the machine's. */
  readonly path: string;
  /** SYSLOG_IDENTIFIER. */
  readonly identifier: string;
  readonly sinceMs: number;
}

const RESTART_MS = 5_000;
const JOURNALCTL = 'journalctl';
/** Longer ones are cut. */
const MAX_MESSAGE = 8_192;
const READ_TIMEOUT_MS = 30_000;

/** Calls line for each message, those that are there first. Ends the child when stopped. */
export function followJournal(
  options: JournalOptions & { readonly clock: Clock; readonly log: Logger },
  line: (line: LogLine) => void,
): { stop(): void } {
  const { clock, log } = options;
  let { sinceMs } = options;
  let child: ChildProcess | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  let said: string | undefined;
  const start = (): void => {
    if (stopped) return;
    const ended = (why: string): void => {
      if (stopped || child === undefined) return;
      child = undefined;
      if (said !== why) log.warn('error following the journal', { source: options.identifier, error: why });
      said = why;
      timer = clock.after(RESTART_MS, start);
    };
    child = run(argumentsFor({ ...options, sinceMs }, ['--follow', '--lines=all']), {
      entry: (entry) => {
        said = undefined;
        // Not once more after a restart.
        sinceMs = Math.max(sinceMs, entry.timeMs + 0.001);
        line(entry);
      },
      ended,
    });
  };
  start();
  return {
    stop() {
      stopped = true;
      timer?.cancel();
      child?.kill('SIGTERM');
    },
  };
}

/** All messages that the journal has now. Rejects where it cannot be read. */
export function readJournal(options: JournalOptions): Promise<readonly LogLine[]> {
  const lines: LogLine[] = [];
  return new Promise((resolve, reject) => {
    const child = run(argumentsFor(options, []), {
      entry: (entry) => lines.push(entry),
      ended: (why, code) => {
        clearTimeout(timer);
        if (code === 0) resolve(lines);
        else reject(new Error(why));
      },
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), READ_TIMEOUT_MS);
  });
}

function argumentsFor({ path, identifier, sinceMs }: JournalOptions, more: readonly string[]): string[] {
  return [
    '--output=json',
    '--output-fields=MESSAGE',
    '--quiet',
    `--since=@${(sinceMs / 1_000).toFixed(6)}`,
    // Where the journal is not kept, it is in memory; journalctl finds that by itself.
    ...(path !== '' && existsSync(path) ? [`--directory=${path}`] : []),
    ...more,
    `SYSLOG_IDENTIFIER=${identifier}`,
  ];
}

interface Listener {
  entry(line: LogLine): void;
  ended(why: string, code: number | null): void;
}

function run(words: readonly string[], { entry, ended }: Listener): ChildProcess {
  const child = spawn(JOURNALCTL, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  let failed = false;
  child.stderr.on('data', (data: Buffer) => (said = `${said}${data.toString()}`.slice(-1_000)));
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = parseEntry(text);
    if (line) entry(line);
  });
  child.once('error', (error) => {
    failed = true;
    ended(`${JOURNALCTL} cannot be run: ${errorMessage(error)}`, null);
  });
  child.once('close', (code) => {
    if (!failed)
      ended(`${JOURNALCTL} ended with ${code ?? 'a signal'}${said ? `: ${said.trim()}` : ''}`, code);
  });
  return child;
}

function parseEntry(text: string): LogLine | undefined {
  try {
    const { MESSAGE: message, __REALTIME_TIMESTAMP: time } = JSON.parse(text) as {
      readonly MESSAGE?: string | readonly number[];
      readonly __REALTIME_TIMESTAMP?: string;
    };
    if (message === undefined || message === null) return undefined;
    // Messages with unusual bytes are arrays of them.
    const words = typeof message === 'string' ? message : Buffer.from(message).toString();
    return { timeMs: Number(time) / 1_000, message: words.slice(0, MAX_MESSAGE).trim() };
  } catch {
    return undefined;
  }
}
