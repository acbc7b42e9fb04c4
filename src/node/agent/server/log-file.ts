/**
 * Reads containers' log files in CRI's format: '<RFC 3339 time> <stdout|stderr> <tags> <text>', where the tag P marks a line that continues in the
 * next record. Rotated files are beside the newest one as '<n>.log.<time>'.
 */
import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export interface LogRecord {
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** The line continues in the next record of this stream. */
  readonly partial: boolean;
  readonly text: Buffer;
}

const NEWLINE = 10;
const SPACE = 32;
const CHUNK = 64 * 1024;
/** Maximum length of the prefix before a line's text. */
const MAX_HEAD = 64;
/** Longer records, which runtimes split, are cut: the rest up to the newline is dropped. */
export const MAX_LINE_BYTES = 1024 * 1024;

/** undefined for a malformed record. The line is without its newline. */
export function parseRecord(line: Buffer): LogRecord | undefined {
  const first = line.indexOf(SPACE);
  const second = line.indexOf(SPACE, first + 1);
  const third = line.indexOf(SPACE, second + 1);
  if (first <= 0 || second < 0) return undefined;
  const stream = line.toString('latin1', first + 1, second);
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  const tags = line.toString('latin1', second + 1, third < 0 ? line.length : third);
  return {
    time: line.toString('latin1', 0, first),
    stream,
    partial: tags === 'P' || tags.startsWith('P:'),
    text: third < 0 ? Buffer.alloc(0) : line.subarray(third + 1),
  };
}

/** Parts of an incomplete line that are held before they are joined. */
const MAX_PARTS = 64;

/** Splits bytes into lines; an incomplete line is buffered, up to MAX_LINE_BYTES. */
export class LineSplitter {
  #parts: Buffer[] = [];
  #bytes = 0;

  push(chunk: Buffer): Buffer[] {
    const lines: Buffer[] = [];
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      lines.push(this.#complete(chunk.subarray(from, at)));
      from = at + 1;
    }
    this.#hold(chunk.subarray(from));
    return lines;
  }

  #complete(end: Buffer): Buffer {
    if (this.#bytes === 0) return end.subarray(0, MAX_LINE_BYTES);
    this.#hold(end);
    const line = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    return line;
  }

  /** Copies: the chunk is a buffer that is read into again. */
  #hold(bytes: Buffer): void {
    const part = bytes.subarray(0, MAX_LINE_BYTES - this.#bytes);
    if (part.length === 0) return;
    this.#bytes += part.length;
    this.#parts.push(Buffer.from(part));
    if (this.#parts.length > MAX_PARTS) this.#parts = [Buffer.concat(this.#parts)];
  }
}

/** The files of one container's run, oldest first; the one still written last. */
export async function logFiles(path: string): Promise<string[]> {
  const name = basename(path);
  const entries: string[] = await readdir(dirname(path)).catch(() => []);
  const rotated = entries.filter((entry) => entry.startsWith(`${name}.`) && !entry.endsWith('.tmp')).sort();
  return [...rotated, ...(entries.includes(name) ? [name] : [])].map((entry) => join(dirname(path), entry));
}

/** Offset at which the last `lines` whole lines of a file start. */
export async function offsetOfTail(
  file: FileHandle,
  lines: number,
): Promise<{ readonly offset: number; readonly found: number }> {
  const { size } = await file.stat();
  if (lines <= 0) return { offset: size, found: 0 };
  let end = size;
  let found = 0;
  while (end > 0) {
    const from = Math.max(0, end - CHUNK);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(end - from), 0, end - from, from);
    for (let at = bytesRead - 1; at >= 0; at -= 1) {
      // A partial record does not end a line.
      if (buffer[at] !== NEWLINE || from + at === size - 1) continue;
      found += 1;
      if (found === lines) return { offset: from + at + 1, found };
    }
    end = from;
  }
  return { offset: 0, found: size > 0 ? found + 1 : 0 };
}

/** The text of the last lines, for messages. */
export async function tailOfLog(
  path: string,
  { lines, bytes }: { readonly lines: number; readonly bytes: number },
): Promise<string> {
  const { size } = await stat(path);
  const from = Math.max(0, size - bytes - lines * MAX_HEAD);
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    const records = new LineSplitter()
      .push(buffer.subarray(0, bytesRead))
      .map(parseRecord)
      .filter((record) => record !== undefined);
    const text = Buffer.concat(
      records
        .slice(-lines)
        .flatMap((record) => (record.partial ? [record.text] : [record.text, Buffer.from('\n')])),
    );
    return text.subarray(Math.max(0, text.length - bytes)).toString();
  } finally {
    await file.close();
  }
}
