/** Writes a container's log as `kubectl logs` asks for it: the last lines, since a time, with time stamps, up to so many bytes, and following. */
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

export interface LogSink {
  /** Resolves when more may be written. */
  write(chunk: Buffer): Promise<void>;
  readonly signal: AbortSignal;
}

export interface LogSource {
  /** The newest file; rotated ones lie beside it. */
  readonly path: string;
  /** False once the container has ended: then following ends with the file. */
  readonly isRunning: () => Promise<boolean>;
}

const CHUNK = 64 * 1024;
/** A change of a file is told by the kernel; this is for those it does not tell of, and to see that the container has ended. */
const POLL_MS = 1_000;

/** Resolves when everything was written, or the sink's signal is aborted. Throws what kept it from reading. */
export async function writeLogs(source: LogSource, sink: LogSink, options: LogOptions): Promise<void> {
  const printer = new Printer(sink, options);
  const files = await logFiles(source.path);
  const start = options.tailLines === undefined ? { index: 0, offset: 0 } : await tailStart(files, options.tailLines);
  let last: OpenLog | undefined;
  try {
    for (const [index, path] of files.entries()) {
      if (index < start.index || printer.full || sink.signal.aborted) continue;
      await last?.file.close();
      last = { file: await open(path), offset: index === start.index ? start.offset : 0, splitter: new LineSplitter() };
      await readToEnd(last, printer);
    }
    if (options.follow && !printer.full) last = await follow(source, { sink, printer, last });
    await printer.flush();
  } finally {
    await last?.file.close().catch(() => {});
  }
}

interface OpenLog { file: FileHandle; offset: number; splitter: LineSplitter }

async function tailStart(files: readonly string[], lines: number): Promise<{ readonly index: number; readonly offset: number }> {
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

/** Goes on with the file as it grows, and with the next one when it was rotated; ends with the container. */
async function follow(source: LogSource, { sink, printer, last }: { readonly sink: LogSink; readonly printer: Printer; readonly last: OpenLog | undefined }): Promise<OpenLog | undefined> {
  let log = last;
  const name = basename(source.path);
  let changed = Promise.withResolvers<void>();
  const watcher = watch(dirname(source.path), (_event, file) => { if (file === null || file === name) changed.resolve(); });
  watcher.on('error', () => changed.resolve());
  try {
    while (!sink.signal.aborted && !printer.full) {
      const running = await source.isRunning();
      if (!log) {
        const file = await open(source.path).catch(() => undefined);
        if (file) log = { file, offset: 0, splitter: new LineSplitter() };
      }
      if (log) {
        await readToEnd(log, printer);
        await printer.flush();
        log = await reopenIfRotated(source.path, log, printer);
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

async function reopenIfRotated(path: string, log: OpenLog, printer: Printer): Promise<OpenLog> {
  const [own, current] = await Promise.all([log.file.stat(), stat(path).catch(() => undefined)]);
  if (!current || (current.ino === own.ino && current.size >= log.offset)) return log;
  // What was written between the last read and the rotation.
  if (current.ino !== own.ino) await readToEnd(log, printer);
  await log.file.close();
  const next = { file: await open(path), offset: 0, splitter: new LineSplitter() };
  await readToEnd(next, printer);
  return next;
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
  /** A line of this stream is under way: its time stamp was written. */
  readonly #open = new Set<LogRecord['stream']>();

  constructor(sink: LogSink, options: LogOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#left = options.limitBytes ?? Infinity;
    this.#records = options.follow ? Infinity : options.tailLines ?? Infinity;
  }

  get full(): boolean { return this.#left <= 0 || this.#records <= 0; }

  get aborted(): boolean { return this.#sink.signal.aborted; }

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
