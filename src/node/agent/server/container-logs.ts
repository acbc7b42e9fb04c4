/** Writes a container's log with the options of `kubectl logs`: tail lines, since, time stamps, byte limit, follow. */
import { watch } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { LineSplitter, logFiles, offsetOfTail, parseRecord, type LogRecord } from './log-file.ts';

export interface LogOptions {
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly tailLines: number | undefined;
  readonly sinceMs: number | undefined;
  readonly limitBytes: number | undefined;
  readonly stream: 'stdout' | 'stderr' | undefined;
}

interface LogSink {
  /** Resolves when more may be written. */
  write(chunk: Buffer): Promise<void>;
  readonly signal: AbortSignal;
}

interface LogSource {
  /** Path of the newest file; rotated ones are beside it. */
  readonly path: string;
  /** False once the container has ended: then following ends with the file. */
  readonly isRunning: () => Promise<boolean>;
}

const CHUNK = 64 * 1024;
/** Fallback for missed notifications of the kernel, and to notice that the container has ended. */
const POLL_MS = 1_000;

/** Resolves when everything was written, or the sink's signal is aborted. Throws read errors. */
export async function writeLogs(source: LogSource, sink: LogSink, options: LogOptions): Promise<void> {
  const printer = new Printer(sink, options);
  let last = await openStart(source.path, options.tailLines);
  try {
    if (last) last = await readOn(source.path, last, printer);
    if (options.follow && !printer.full) last = await follow(source, { sink, printer, last });
    await printer.flush();
  } finally {
    await last?.file.close().catch(() => {});
  }
}

interface OpenLog {
  file: FileHandle;
  offset: number;
  splitter: LineSplitter;
}

/** Bound of renames and removals tolerated while a file is looked up. */
const MAX_LOOKS = 10;

/** The first file to read; undefined when there is none yet. */
async function openStart(path: string, tailLines: number | undefined): Promise<OpenLog | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    const files = await logFiles(path);
    if (files.length === 0) return undefined;
    try {
      const start = tailLines === undefined ? { index: 0, offset: 0 } : await tailStart(files, tailLines);
      return await openLog(files[start.index] ?? path, start.offset);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === MAX_LOOKS) throw error;
    }
  }
}

async function openLog(path: string, offset = 0): Promise<OpenLog> {
  return { file: await open(path), offset, splitter: new LineSplitter() };
}

/** Reads this file and its successors to the end of the newest, which is returned open. Closes the others. */
async function readOn(path: string, first: OpenLog, printer: Printer): Promise<OpenLog> {
  for (let log = first; ;) {
    await readToEnd(log, printer);
    const next = printer.full || printer.aborted ? undefined : await successor(path, log);
    if (!next) return log;
    // Lines written between the last read and the rotation.
    await readToEnd(log, printer);
    await log.file.close();
    log = next;
  }
}

/**
 * The file that came after this one, open: a fast writer's log may have been rotated several times while a slow reader had one of its files.
 * undefined while there is none: this one is the newest, or it has just been renamed and the runtime has not made the next one.
 */
async function successor(path: string, log: OpenLog): Promise<OpenLog | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    const [own, current] = await Promise.all([log.file.stat(), stat(path).catch(() => undefined)]);
    if (current?.ino === own.ino) return current.size < log.offset ? openLog(path) : undefined;
    const files = await logFiles(path);
    const inodes = await Promise.all(
      files.map((file) =>
        stat(file).then(
          ({ ino }) => ino,
          () => undefined,
        ),
      ),
    );
    const index = inodes.indexOf(own.ino);
    // The file was deleted: continue with the oldest one, since all that exist are newer.
    const next = index >= 0 || own.nlink === 0 ? files[index + 1] : undefined;
    try {
      if (next !== undefined) return await openLog(next);
      if (index >= 0 || own.nlink === 0 || attempt === MAX_LOOKS) return undefined;
    } catch (error) {
      // It was renamed or removed this very moment.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === MAX_LOOKS) throw error;
    }
  }
}

async function tailStart(
  files: readonly string[],
  lines: number,
): Promise<{ readonly index: number; readonly offset: number }> {
  let missing = lines;
  for (let index = files.length - 1; index >= 0; index -= 1) {
    const file = await open(files[index] ?? '');
    try {
      const { offset, found } = await offsetOfTail(file, missing);
      if (found >= missing || index === 0) return { index, offset };
      missing -= found;
    } finally {
      await file.close();
    }
  }
  return { index: 0, offset: 0 };
}

async function readToEnd(log: OpenLog, printer: Printer): Promise<boolean> {
  let any = false;
  const buffer = Buffer.alloc(CHUNK);
  while (!printer.full && !printer.aborted) {
    const { bytesRead } = await log.file.read(buffer, 0, CHUNK, log.offset);
    if (bytesRead === 0) return any;
    any = true;
    log.offset += bytesRead;
    for (const line of log.splitter.push(buffer.subarray(0, bytesRead))) await printer.print(line);
  }
  return any;
}

/** Follows the file as it grows, and the next one after a rotation; ends with the container. */
async function follow(
  source: LogSource,
  {
    sink,
    printer,
    last,
  }: { readonly sink: LogSink; readonly printer: Printer; readonly last: OpenLog | undefined },
): Promise<OpenLog | undefined> {
  let log = last;
  const name = basename(source.path);
  let changed = Promise.withResolvers<void>();
  const watcher = watch(dirname(source.path), (_event, file) => {
    if (file === null || file === name) changed.resolve();
  });
  watcher.on('error', () => changed.resolve());
  try {
    while (!sink.signal.aborted && !printer.full) {
      const running = await source.isRunning();
      log ??= await openLog(source.path).catch(() => undefined);
      if (log) {
        log = await readOn(source.path, log, printer);
        await printer.flush();
      }
      if (!running) return log;
      await waitFor(changed.promise, sink.signal);
      changed = Promise.withResolvers();
    }
  } finally {
    watcher.close();
  }
  return log;
}

function waitFor(change: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, POLL_MS);
  const done = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', done);
    resolve();
  };
  signal.addEventListener('abort', done, { once: true });
  void change.then(done);
  return promise;
}

class Printer {
  readonly #sink: LogSink;
  readonly #options: LogOptions;
  #left: number;
  /** Of a log that grows while its tail is read, no more than that tail. */
  #records: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  /** A line of this stream is incomplete: its time stamp was written. */
  readonly #open = new Set<LogRecord['stream']>();

  constructor(sink: LogSink, options: LogOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#left = options.limitBytes ?? Infinity;
    this.#records = options.follow ? Infinity : (options.tailLines ?? Infinity);
  }

  get full(): boolean {
    return this.#left <= 0 || this.#records <= 0;
  }

  get aborted(): boolean {
    return this.#sink.signal.aborted;
  }

  async print(line: Buffer): Promise<void> {
    const record = parseRecord(line);
    const { stream, sinceMs, timestamps } = this.#options;
    if (!record || this.full) return;
    this.#records -= 1;
    if (stream && record.stream !== stream) return;
    if (sinceMs !== undefined && Date.parse(record.time) < sinceMs) return;
    if (timestamps && !this.#open.has(record.stream)) this.#add(Buffer.from(`${record.time} `));
    this.#add(record.text);
    if (record.partial) this.#open.add(record.stream);
    else {
      this.#open.delete(record.stream);
      this.#add(Buffer.from('\n'));
    }
    if (this.#bytes >= CHUNK) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#bytes === 0) return;
    const chunk = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    await this.#sink.write(chunk);
  }

  #add(bytes: Buffer): void {
    const part = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
    if (part.length === 0) return;
    // The line is a view of a buffer that is read into again.
    this.#parts.push(Buffer.from(part));
    this.#bytes += part.length;
    this.#left -= part.length;
  }
}
