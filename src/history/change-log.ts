/**
 * Writes the change log: every change that its server makes, in files of zstd frames (frames.ts, docs/designs/0007-history.md). Recording never waits and never fails; what cannot be
 * written is dropped, counted, and named by a gap marker before the next frame that can.
 *
 *   record ─► queue (bounded) ─► batch ─► compress ─► append ─► fdatasync ─► next batch        one batch in flight, on libuv's threads
 *               └ full: dropped        └──────── an error: dropped, truncated, another file ──┘
 */
import { mkdirSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { isoTime } from '#stdx/dates.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Change, Gap } from './change.ts';
import { encodeChanges, encodeGap, encodeMark, MAX_FRAME_CHANGES } from './frames.ts';
import { logFileName, pruneLogFiles } from './log-files.ts';

export interface ChangeLogSettings {
  readonly dir: string;
  /** Of one file; then another is begun. */
  readonly maxFileBytes: number;
  readonly maxFiles: number;
  readonly maxAgeMs: number;
}

interface Parts {
  readonly clock: Clock;
  readonly log: Logger;
  /** For tests: a disk that is full or slow. */
  readonly openFile?: (path: string) => Promise<LogHandle>;
}

/** Of node:fs/promises. */
export type LogHandle = Pick<FileHandle, 'write' | 'datasync' | 'truncate' | 'close'>;

/** Changes wait at most so long for others to be compressed with. */
const FLUSH_MS = 1_000;
const FLUSH_BYTES = 1024 * 1024;
/** Bound of what waits, the batch that is being written included; above it changes are dropped. */
const MAX_QUEUED_BYTES = 32 * 1024 * 1024;
/** Accounted for a change besides key and value. */
const CHANGE_BYTES = 300;

interface Loss {
  fromRevision: number;
  toRevision: number;
  count: number;
  reason: string;
}

export class ChangeLog {
  readonly settings: ChangeLogSettings;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #openFile: (path: string) => Promise<LogHandle>;
  #queue: Change[] = [];
  #queuedBytes = 0;
  /** Of the queue alone. */
  #waitingBytes = 0;
  #timer: Timer | undefined;
  #flushing: Promise<void> | undefined;
  #file: LogHandle | undefined;
  #fileBytes = 0;
  #sequence = 0;
  #loss: Loss | undefined;
  #failing = false;
  #closed = false;
  #revision = 0;
  readonly #counts = { changes: 0, dropped: 0, bytes: 0, failures: 0 };

  /** Throws an Error of one sentence where the directory cannot be made. */
  constructor(settings: ChangeLogSettings, { clock, log, openFile }: Parts) {
    this.settings = settings;
    this.#clock = clock;
    this.#log = log;
    this.#openFile = openFile ?? ((path) => open(path, 'wx', 0o600));
    try {
      mkdirSync(settings.dir, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new Error(`Cannot open change log ${settings.dir}: ${errorMessage(error)}`, { cause: error });
    }
  }

  /** Marks that a server begins: history before this revision is another's. */
  begin(revision: number): Promise<void> {
    this.#revision = revision;
    return this.#exclusively(() =>
      this.#append(encodeMark('session', { revision, timeMs: this.#clock.now() })),
    );
  }

  /** The value may not be changed afterwards. */
  record(change: Change): void {
    const bytes = sizeOf(change);
    if (this.#closed) return;
    if (this.#queuedBytes + bytes > MAX_QUEUED_BYTES) return this.#drop([change], 'the disk was too slow');
    this.#queue.push(change);
    this.#queuedBytes += bytes;
    this.#waitingBytes += bytes;
    if (this.#waitingBytes >= FLUSH_BYTES || this.#queue.length >= MAX_FRAME_CHANGES) void this.flush();
    else this.#timer ??= this.#clock.after(FLUSH_MS, () => void this.flush());
  }

  /** Whether more may be recorded without loss: for those who can wait. */
  get hasRoom(): boolean {
    return this.#queuedBytes < MAX_QUEUED_BYTES / 2;
  }

  recordGap({ fromRevision, toRevision, count, reason }: Omit<Gap, 'timeMs'>): void {
    this.#lose({ fromRevision, toRevision, count, reason });
    this.#timer ??= this.#clock.after(FLUSH_MS, () => void this.flush());
  }

  /** Resolves when what was recorded before is on the disk, or lost. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#exclusively(() => this.#drain());
  }

  /** Writes what is left, and that it ends at this revision. */
  async close(revision: number): Promise<void> {
    if (this.#closed) return;
    await this.flush();
    this.#closed = true;
    await this.#exclusively(async () => {
      // Without its mark the next server looks what is missing.
      if (this.#loss) return;
      const at = { revision: Math.max(revision, this.#revision), timeMs: this.#clock.now() };
      await this.#append(encodeMark('end', at));
    });
    await this.#flushing;
    await this.#file?.close().catch(() => {});
  }

  metrics(): string {
    const { changes, dropped, bytes, failures } = this.#counts;
    const line = (name: string, type: string, value: number): string =>
      `# TYPE capstan_change_log_${name} ${type}\ncapstan_change_log_${name} ${value}`;
    return [
      line('changes_total', 'counter', changes),
      line('dropped_changes_total', 'counter', dropped),
      line('written_bytes_total', 'counter', bytes),
      line('write_failures_total', 'counter', failures),
      line('queued_bytes', 'gauge', this.#queuedBytes),
    ].join('\n');
  }

  /** One after another; errors are losses. */
  #exclusively(work: () => Promise<void>): Promise<void> {
    const next = (this.#flushing ?? Promise.resolve()).then(work).catch((error: unknown) => {
      this.#failed(error);
    });
    this.#flushing = next;
    return next;
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0 || this.#loss) {
      const batch = this.#queue.splice(0, this.#batchLength());
      const bytes = batch.reduce((sum, change) => sum + sizeOf(change), 0);
      this.#waitingBytes -= bytes;
      try {
        await this.#writeLoss();
        if (batch.length > 0) await this.#append(await encodeChanges(batch));
        this.#counts.changes += batch.length;
        this.#recovered();
      } catch (error) {
        this.#drop(batch, errorMessage(error));
        throw error;
      } finally {
        this.#queuedBytes -= bytes;
      }
    }
  }

  /** A full batch, whatever waits. */
  #batchLength(): number {
    let bytes = 0;
    for (const [i, change] of this.#queue.entries()) {
      bytes += sizeOf(change);
      if (bytes > 2 * FLUSH_BYTES || i === MAX_FRAME_CHANGES) return Math.max(i, 1);
    }
    return this.#queue.length;
  }

  async #writeLoss(): Promise<void> {
    const loss = this.#loss;
    if (!loss) return;
    this.#loss = undefined;
    try {
      await this.#append(encodeGap({ ...loss, timeMs: this.#clock.now() }));
    } catch (error) {
      this.#lose(loss);
      throw error;
    }
  }

  async #append(bytes: Buffer): Promise<void> {
    if (this.#fileBytes + bytes.length > this.settings.maxFileBytes && this.#fileBytes > 0)
      await this.#endFile();
    const file = (this.#file ??= await this.#beginFile());
    try {
      for (let written = 0; written < bytes.length;)
        written += (await file.write(bytes, written, bytes.length - written, this.#fileBytes + written))
          .bytesWritten;
      await file.datasync();
    } catch (error) {
      // What is half there would hide what is written behind it.
      await file.truncate(this.#fileBytes).catch(() => {});
      await this.#endFile();
      throw error;
    }
    this.#fileBytes += bytes.length;
    this.#counts.bytes += bytes.length;
  }

  async #beginFile(): Promise<LogHandle> {
    const { dir, maxAgeMs, maxFiles } = this.settings;
    const nowMs = this.#clock.now();
    const name = logFileName(isoTime(nowMs), this.#sequence++);
    const file = await this.#openFile(join(dir, name));
    this.#fileBytes = 0;
    pruneLogFiles(dir, { maxAgeMs, maxFiles, nowMs });
    return file;
  }

  async #endFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#fileBytes = 0;
    await file?.close().catch(() => {});
  }

  #drop(changes: readonly Change[], reason: string): void {
    if (changes.length === 0) return;
    this.#counts.dropped += changes.length;
    const revisions = changes.map(({ revision }) => revision);
    this.#lose({
      fromRevision: Math.min(...revisions),
      toRevision: Math.max(...revisions),
      count: changes.length,
      reason,
    });
    if (!this.#failing) this.#log.warn('changes are dropped from the change log', { reason });
    this.#failing = true;
  }

  #lose(loss: Loss): void {
    const before = this.#loss;
    this.#loss = before
      ? {
          fromRevision: Math.min(before.fromRevision, loss.fromRevision),
          toRevision: Math.max(before.toRevision, loss.toRevision),
          count: before.count + loss.count,
          reason: before.reason,
        }
      : loss;
  }

  #failed(error: unknown): void {
    this.#counts.failures++;
    if (!this.#failing) this.#log.error('error writing the change log', { error: errorMessage(error) });
    this.#failing = true;
    // The marker of the gap is tried again, also where nothing more is written.
    if (!this.#closed) this.#timer ??= this.#clock.after(FLUSH_MS, () => void this.flush());
  }

  #recovered(): void {
    if (this.#failing) this.#log.info('the change log is written again');
    this.#failing = false;
  }
}

function sizeOf({ key, value }: Change): number {
  return CHANGE_BYTES + key.length + (value?.length ?? 0);
}
