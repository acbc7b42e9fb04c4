/**
 * A file that is appended to and, at a size, moved aside under the time of that moment ('audit-2026-01-02T03-04-05.678.log'), optionally
 * compressed; the oldest are removed by number and age. Files named so by upstream's rotation count among them.
 */
import {
  closeSync,
  createReadStream,
  createWriteStream,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { isoTime } from '#stdx/dates.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

export interface RotationSettings {
  /** 0 = 100 MB, as upstream. */
  readonly maxSizeBytes: number;
  /** 0 = whatever their age. */
  readonly maxAgeMs: number;
  /** 0 = any number. */
  readonly maxBackups: number;
  readonly compress: boolean;
}

const DEFAULT_MAX_BYTES = 100 * 1024 * 1024;

export class RotatingFile {
  readonly #path: string;
  readonly #settings: RotationSettings;
  readonly #clock: Clock;
  readonly #log: Logger;
  #fd: number;
  #size = 0;
  /** Compressing and removing, one after the other. */
  #tidying: Promise<void> = Promise.resolve();

  /** Throws an Error of one sentence when the file cannot be opened. */
  constructor(
    path: string,
    {
      settings,
      clock,
      log,
    }: { readonly settings: RotationSettings; readonly clock: Clock; readonly log: Logger },
  ) {
    this.#path = path;
    this.#settings = settings;
    this.#clock = clock;
    this.#log = log;
    try {
      makeDir(dirname(resolve(path)));
      this.#fd = this.#open();
    } catch (error) {
      throw new Error(`Cannot open audit log ${path}: ${errorMessage(error)}`, { cause: error });
    }
  }

  /** Whole lines: a line is never split between two files. Throws the system's error. */
  write(lines: string): void {
    const bytes = Buffer.from(lines);
    const most = this.#settings.maxSizeBytes || DEFAULT_MAX_BYTES;
    if (this.#size > 0 && this.#size + bytes.length > most) this.#rotate();
    for (let written = 0; written < bytes.length;) written += writeSync(this.#fd, bytes, written);
    this.#size += bytes.length;
  }

  async close(): Promise<void> {
    closeSync(this.#fd);
    await this.#tidying;
  }

  #open(): number {
    // 0600: the log may name users and objects.
    const fd = openSync(this.#path, 'a', 0o600);
    this.#size = fstatSync(fd).size;
    return fd;
  }

  #rotate(): void {
    const aside = this.#backupName();
    renameSync(this.#path, aside);
    const before = this.#fd;
    this.#fd = this.#open();
    closeSync(before);
    this.#tidying = this.#tidying
      .then(() => this.#tidy(aside))
      .catch((error: unknown) =>
        this.#log.warn('error removing old audit logs', { error: errorMessage(error) }),
      );
  }

  /** Two rotations in a millisecond have two names. */
  #backupName(): string {
    const extension = extname(this.#path);
    const stem = basename(this.#path, extension);
    for (let ms = this.#clock.now(); ; ms++) {
      const stamp = isoTime(ms).slice(0, 23).replaceAll(':', '-');
      const path = join(dirname(this.#path), `${stem}-${stamp}${extension}`);
      if (!exists(path) && !exists(`${path}.gz`)) return path;
    }
  }

  async #tidy(aside: string): Promise<void> {
    if (this.#settings.compress) {
      await pipeline(
        createReadStream(aside),
        createGzip(),
        createWriteStream(`${aside}.gz`, { mode: 0o600 }),
      );
      rmSync(aside, { force: true });
    }
    const { maxBackups, maxAgeMs } = this.#settings;
    const newestFirst = this.#backups();
    newestFirst.forEach(({ path, atMs }, i) => {
      const tooMany = maxBackups > 0 && i >= maxBackups;
      const tooOld = maxAgeMs > 0 && this.#clock.now() - atMs > maxAgeMs;
      if (tooMany || tooOld) rmSync(path, { force: true });
    });
  }

  #backups(): { readonly path: string; readonly atMs: number }[] {
    const directory = dirname(this.#path),
      extension = extname(this.#path),
      prefix = `${basename(this.#path, extension)}-`;
    return readdirSync(directory)
      .flatMap((name) => {
        const plain = name.endsWith('.gz') ? name.slice(0, -3) : name;
        if (!plain.startsWith(prefix) || !plain.endsWith(extension)) return [];
        const [, date, hour, minute, second] =
          /^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d\.\d{3})$/.exec(
            plain.slice(prefix.length, plain.length - extension.length),
          ) ?? [];
        return date === undefined
          ? []
          : [{ path: join(directory, name), atMs: Date.parse(`${date}T${hour}:${minute}:${second}Z`) }];
      })
      .toSorted((left, right) => right.atMs - left.atMs);
  }
}

/** Like mkdirSync's recursive, which never ends where directories cannot be made (/proc). */
function makeDir(path: string): void {
  if (exists(path)) return;
  makeDir(dirname(path));
  mkdirSync(path, { mode: 0o755 });
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
