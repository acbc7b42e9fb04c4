/**
 * Watches files that may change while the program runs (certificates, keys, configuration). inotify on the file's directory reports changes,
 * also of symlinks that are swapped as in mounted volumes; where it fails, files are polled every minute. Contents are compared, not times.
 */
import { createHash } from 'node:crypto';
import { readFileSync, watch, type FSWatcher } from 'node:fs';
import { dirname } from 'node:path';
import { realClock, type Clock, type Timer } from './clock.ts';

interface WatchFilesOptions {
  readonly paths: readonly string[];
  /**
   * Called with all contents, in the order of `paths`, when at least one differs from the last ones. The caller must handle its own
   * exceptions. Not called for the first contents, which the caller has read itself, unless `isKnown` returns false.
   */
  readonly changed: (contents: readonly string[]) => void;
  /** Whether the first contents are those that the caller has, because it may have read them earlier. Default: they are. */
  readonly isKnown?: (contents: readonly string[]) => boolean;
  /** A file cannot be read; reported once until it can be read again. */
  readonly unreadable?: (error: Error) => void;
  /** Default 60 s. */
  readonly lookEveryMs?: number;
  readonly clock?: Clock;
}

export interface WatchedFiles {
  /** Checks now, and returns whether something changed. */
  look(): boolean;
  close(): void;
}

/** Debounce: writers take several steps (truncate, write, rename). */
const SETTLE_MS = 50;
const LOOK_EVERY_MS = 60_000;

export function watchFiles(options: WatchFilesOptions): WatchedFiles {
  return new Watched(options);
}

class Watched implements WatchedFiles {
  readonly #options: WatchFilesOptions;
  readonly #clock: Clock;
  readonly #watchers: FSWatcher[] = [];
  #seen: string;
  #unreadable = false;
  #soon: Timer | undefined;
  #later: Timer | undefined;
  #closed = false;

  constructor(options: WatchFilesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    const first = this.#read() ?? [];
    this.#seen = digestOf(first);
    for (const folder of new Set(options.paths.map((path) => dirname(path)))) this.#watch(folder);
    this.#lookLater();
    if (first.length > 0 && options.isKnown?.(first) === false) options.changed(first);
  }

  look(): boolean {
    const contents = this.#closed ? undefined : this.#read();
    if (!contents) return false;
    const digest = digestOf(contents);
    if (digest === this.#seen) return false;
    this.#seen = digest;
    this.#options.changed(contents);
    return true;
  }

  close(): void {
    this.#closed = true;
    this.#soon?.cancel();
    this.#later?.cancel();
    for (const watcher of this.#watchers) watcher.close();
  }

  #read(): string[] | undefined {
    try {
      const contents = this.#options.paths.map((path) => readFileSync(path, 'utf8'));
      this.#unreadable = false;
      return contents;
    } catch (error) {
      if (!this.#unreadable) this.#options.unreadable?.(error as Error);
      this.#unreadable = true;
      return undefined;
    }
  }

  #watch(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#lookSoon());
      // The directory itself may be deleted: then only polling is left.
      watcher.on('error', () => watcher.close());
      this.#watchers.push(watcher);
    } catch {
      // inotify watches are exhausted, or there is no directory: as above.
    }
  }

  #lookSoon(): void {
    if (this.#closed || this.#soon) return;
    this.#soon = this.#clock.after(SETTLE_MS, () => {
      this.#soon = undefined;
      this.look();
    });
  }

  #lookLater(): void {
    this.#later = this.#clock.after(this.#options.lookEveryMs ?? LOOK_EVERY_MS, () => {
      this.look();
      if (!this.#closed) this.#lookLater();
    });
  }
}

function digestOf(contents: readonly string[]): string {
  const hash = createHash('sha256');
  for (const content of contents) hash.update(`${content.length}:`).update(content);
  return hash.digest('base64');
}
