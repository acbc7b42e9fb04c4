/**
 * Records of the kernel's ring buffer (/dev/kmsg, Documentation/ABI/testing/dev-kmsg): 'PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;MESSAGE', then lines of a dictionary
 * that begin with a space. Reads without blocking, since a blocked read holds one of Node's few threads for good.
 */
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { LogLine } from './log-buffer.ts';

const POLL_MS = 500;
const REOPEN_MS = 5_000;
/** A record is at most 8 KiB (CONSOLE_EXT_LOG_MAX). */
const BUFFER_BYTES = 8_192;
/** Of one poll, so that a flood of messages does not keep the process busy; the rest is read 10 ms later. */
const MAX_READS = 500;
const BUSY_MS = 10;

interface KmsgOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Older messages are left out. */
  readonly sinceMs: number;
  readonly bootMs: number;
}

/** When the kernel started, by this clock. */
export function bootTimeMs(clock: Pick<Clock, 'now'>): number {
  return clock.now() - uptimeMs();
}

function uptimeMs(): number {
  return Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1_000;
}

/** Calls line for each message, those that are there first. Reopens after errors. Returns what ends it. */
export function followKmsg(options: KmsgOptions, line: (line: LogLine) => void): { stop(): void } {
  const follower = new KmsgFollower(options, line);
  follower.start();
  return follower;
}

/** All messages that the ring buffer has now. Throws where it cannot be read. */
export function readKmsg({ path, sinceMs, bootMs }: Omit<KmsgOptions, 'clock' | 'log'>): readonly LogLine[] {
  const lines: LogLine[] = [];
  const source = new KmsgSource(path);
  const parser = new KmsgParser(bootMs);
  try {
    for (let chunk = source.read(); chunk !== undefined; chunk = source.read())
      lines.push(...parser.push(chunk));
    return lines.filter(({ timeMs }) => timeMs >= sinceMs);
  } finally {
    source.close();
  }
}

class KmsgFollower {
  readonly #options: KmsgOptions;
  readonly #line: (line: LogLine) => void;
  #parser: KmsgParser;
  #source: KmsgSource | undefined;
  #timer: Timer | undefined;
  #failing = false;

  constructor(options: KmsgOptions, line: (line: LogLine) => void) {
    this.#options = options;
    this.#line = line;
    this.#parser = new KmsgParser(options.bootMs);
  }

  start(): void {
    this.#poll();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#source?.close();
    this.#source = undefined;
  }

  #poll(): void {
    let delayMs = POLL_MS;
    try {
      this.#source ??= new KmsgSource(this.#options.path);
      if (this.#drain(this.#source)) delayMs = BUSY_MS;
      this.#failing = false;
    } catch (error) {
      delayMs = REOPEN_MS;
      if (!this.#failing)
        this.#options.log.warn('error reading kernel messages', {
          path: this.#options.path,
          error: errorMessage(error),
        });
      this.#failing = true;
      this.#source?.close();
      this.#source = undefined;
      this.#parser = new KmsgParser(this.#options.bootMs);
    }
    this.#timer = this.#options.clock.after(delayMs, () => this.#poll());
  }

  /** True: there is more. */
  #drain(source: KmsgSource): boolean {
    for (let reads = 0; reads < MAX_READS; reads++) {
      const chunk = source.read();
      if (chunk === undefined) return false;
      for (const line of this.#parser.push(chunk)) if (line.timeMs >= this.#options.sinceMs) this.#line(line);
    }
    return true;
  }
}

class KmsgSource {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  /** Undefined: there is nothing more now. */
  read(): string | undefined {
    for (;;) {
      try {
        const bytes = readSync(this.#fd, this.#buffer);
        return bytes === 0 ? undefined : this.#buffer.toString('utf8', 0, bytes);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EAGAIN') return undefined;
        // The ring overwrote the next record: the read after it goes on with the oldest that is left.
        if (code !== 'EPIPE') throw error;
      }
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

const RECORD = /^\d+,\d+,(\d+),[^;]*;(.*)$/s;

class KmsgParser {
  readonly #bootMs: number;
  #rest = '';

  constructor(bootMs: number) {
    this.#bootMs = bootMs;
  }

  /** A chunk of the device is a whole record; one of a pipe may be several, and parts. */
  push(chunk: string): LogLine[] {
    const lines = `${this.#rest}${chunk}`.split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > BUFFER_BYTES) this.#rest = '';
    return lines.flatMap((text) => {
      const [, microseconds, message = ''] = RECORD.exec(text) ?? [];
      if (microseconds === undefined || message.trim() === '') return [];
      const timeMs = this.#bootMs + Number(microseconds) / 1_000;
      return [{ timeMs, message: unescape(message).trim() }];
    });
  }
}

/** The kernel writes control characters as \x0a. */
function unescape(message: string): string {
  return message.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
