/** Lines of log files, packed or not: newest files first, streamed, up to a bound; it says what it did not read. For audit logs, whoever looks for what in them. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { errorMessage } from '#stdx/log.ts';

/** Longer lines are passed over: an event with bodies of requests may be large. */
const MAXIMUM_LINE_BYTES = 4 * 2 ** 20;
const NEWLINE = 0x0a;

interface ReadLinesOptions {
  /** Of all files together, unpacked; of the newest file that does not fit its end is read. */
  readonly maximumBytes: number;
  /** Without its newline. The first one of a file whose beginning was left out, and the last one of a file that is being written, may be half a line. */
  readonly onLine: (line: Buffer) => void;
}

/** Files that cannot be read are said, not thrown. Resolves to what was not read, and why. */
export async function readLogLines(
  paths: readonly string[],
  { maximumBytes, onLine }: ReadLinesOptions,
): Promise<readonly string[]> {
  const unread: string[] = [];
  let left = maximumBytes;
  for (const { path, size } of await newestFirst(paths, unread)) {
    if (left <= 0) {
      unread.push(`${path}: older than the newest ${mebibytes(maximumBytes)} MiB`);
      continue;
    }
    const start = path.endsWith('.gz') ? 0 : Math.max(0, size - left);
    if (start > 0) unread.push(`${path}: its first ${mebibytes(start)} MiB`);
    try {
      const { readBytes, longLines, cut } = await scanFile(path, { start, left, onLine });
      left -= readBytes;
      if (longLines > 0)
        unread.push(`${path}: ${longLines} events of more than ${mebibytes(MAXIMUM_LINE_BYTES)} MiB`);
      if (cut) unread.push(`${path}: what is beyond the bound of ${mebibytes(maximumBytes)} MiB`);
    } catch (error) {
      unread.push(`${path}: ${errorMessage(error)}`);
    }
  }
  return unread;
}

interface LogFile {
  readonly path: string;
  readonly size: number;
  readonly modifiedMs: number;
}

async function newestFirst(paths: readonly string[], unread: string[]): Promise<readonly LogFile[]> {
  const found: LogFile[] = [];
  for (const path of paths)
    try {
      const { size, mtimeMs: modifiedMs } = await stat(path);
      found.push({ path, size, modifiedMs });
    } catch (error) {
      unread.push(`${path}: ${errorMessage(error)}`);
    }
  return found.toSorted((a, b) => b.modifiedMs - a.modifiedMs);
}

interface Scanned {
  readonly readBytes: number;
  readonly longLines: number;
  /** Unpacked it was longer than what is left of the bound. */
  readonly cut: boolean;
}

async function scanFile(
  path: string,
  {
    start,
    left,
    onLine,
  }: { readonly start: number; readonly left: number; readonly onLine: ReadLinesOptions['onLine'] },
): Promise<Scanned> {
  const file = createReadStream(path, { start });
  const stream = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  // Errors of the file do not pass through a pipe.
  if (stream !== file) file.on('error', (error) => stream.destroy(error));
  let readBytes = 0;
  let longLines = 0;
  let rest: Buffer[] = [];
  let restBytes = 0;
  const take = (line: Buffer): void => {
    if (line.length > MAXIMUM_LINE_BYTES) longLines += 1;
    else onLine(line);
  };
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      readBytes += chunk.length;
      let from = 0;
      for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
        const piece = chunk.subarray(from, at);
        if (restBytes > MAXIMUM_LINE_BYTES) longLines += 1;
        else take(rest.length === 0 ? piece : Buffer.concat([...rest, piece]));
        rest = [];
        restBytes = 0;
        from = at + 1;
      }
      restBytes += chunk.length - from;
      if (restBytes > MAXIMUM_LINE_BYTES) rest = [];
      else rest.push(chunk.subarray(from));
      if (readBytes > left) return { readBytes, longLines, cut: true };
    }
  } finally {
    file.destroy();
  }
  if (restBytes > MAXIMUM_LINE_BYTES) longLines += 1;
  else take(Buffer.concat(rest));
  return { readBytes, longLines, cut: false };
}

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20);
}
