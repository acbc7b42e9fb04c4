/**
 * Where log lines go: standard error. A log that cannot be written (its disk is full, its reader is gone) never ends the program: lines are dropped and counted, and
 * the first one that can be written again follows the count. Node's own stream throws at the first such line, and stays closed after it.
 */
import { fstatSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';

/** Writes some of the bytes; how many. Throws the system's error. */
type Write = (bytes: Uint8Array) => number;

export class LogOutput {
  readonly #write: Write;
  #dropped = 0;
  /** The last line was cut: what comes next begins a new one. */
  #isCut = false;

  constructor(write: Write) {
    this.#write = write;
  }

  write(line: string): void {
    const lost = this.#dropped;
    const note = lost === 0 ? '' : `${lost} log lines before this one could not be written\n`;
    this.#dropped += 1;
    const bytes = Buffer.from(`${this.#isCut ? '\n' : ''}${note}${line}`);
    let written = 0;
    try {
      while (written < bytes.length) written += this.#write(bytes.subarray(written));
      this.#dropped = 0;
      this.#isCut = false;
    } catch {
      // Counted, and told as soon as there is room.
      this.#isCut ||= written > 0;
    }
  }
}

let shared: ((line: string) => void) | undefined;

/** Of this process, shared by all its loggers. Pipes and terminals keep Node's stream, which waits for a slow reader. */
export function standardError(): (line: string) => void {
  return (shared ??= openStandardError());
}

function openStandardError(): (line: string) => void {
  if (isDiskFile(2)) {
    const output = new LogOutput((bytes) => writeSync(2, bytes));
    return (line) => output.write(line);
  }
  // A reader that is gone does not come back.
  process.stderr.on('error', () => {});
  return (line) => void process.stderr.write(line);
}

function isDiskFile(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFile() || (stat.isCharacterDevice() && !isatty(fd));
  } catch {
    return false; // closed
  }
}
