/** Structured logging: one line per record, JSON for machines or plain text for a terminal. Never logs whole objects (secrets). */
import { isoTime } from './dates.ts';
import { standardError } from './log-output.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds these fields to every record. */
  with(fields: LogFields): Logger;
}

interface LoggerOptions {
  readonly level?: LogLevel;
  readonly format?: 'json' | 'text';
  readonly write?: (line: string) => void;
}

const ORDER: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export function createLogger(options: LoggerOptions = {}, fields: LogFields = {}): Logger {
  const threshold = ORDER[options.level ?? 'info'];
  const write = options.write ?? standardError();
  const render = options.format === 'json' ? renderJson : renderText;
  const emit = (level: LogLevel) => (message: string, extra?: LogFields) => {
    if (ORDER[level] >= threshold)
      write(render({ level, message, fields: extra ? { ...fields, ...extra } : fields }));
  };
  return {
    debug: emit('debug'),
    info: emit('info'),
    warn: emit('warn'),
    error: emit('error'),
    with: (extra) => createLogger(options, { ...fields, ...extra }),
  };
}

/** Discards everything: the default of libraries and tests. */
export const silentLogger: Logger = createLogger({ write: () => {} });

interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

function renderJson({ level, message, fields }: LogRecord): string {
  return `${printable(JSON.stringify({ time: isoTime(Date.now()), level, message, ...fields }))}\n`;
}

function renderText({ level, message, fields }: LogRecord): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  return (
    printable(`${isoTime(Date.now())} ${level.toUpperCase().padEnd(5)} ${message}${pairs.join('')}`) + '\n'
  );
}

/** Line separators, terminal controls and text direction marks: user-chosen names must not forge a record. */
// oxlint-disable-next-line no-control-regex
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

function printable(line: string): string {
  return line.replace(
    UNPRINTABLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** The message of any thrown value. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
