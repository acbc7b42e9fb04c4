/**
 * Files that may change while the program runs (certificates, keys, configuration). A change is noticed by the kernel's word on the file's folder,
 * which also sees links that are swapped as mounted volumes do it, and, where that fails, by looking every minute. Contents are compared, not times.
 */
import { createHash } from 'node:crypto';
import { readFileSync, watch, type FSWatcher } from 'node:fs';
import { dirname } from 'node:path';
import { realClock, type Clock, type Timer } from './clock.ts';

interface WatchFilesOptions {
  readonly paths: readonly string[];
  /**
   * Called with all contents, in the order of `paths`, when at least one differs from what was last seen. What it throws is the caller's problem:
   * catch it there. Not called for the first contents, which the caller has read itself, unless `isKnown` denies them.
   */
  readonly changed: (contents: readonly string[]) => void;
  /** Whether the first contents are those that the caller has: it may have read them a while ago. Default: they are. */
  readonly isKnown?: (contents: readonly string[]) => boolean;
  /** A file that cannot be read now; told once until it can again. */
  readonly unreadable?: (error: Error) => void;
  /** Default 60 s. */
  readonly lookEveryMs?: number;
  readonly clock?: Clock;
}

export interface WatchedFiles {
  /** Looks now, and says whether something had changed. */
  look(): boolean;
  close(): void;
}

/** Writers take several steps (truncate, write, rename): they are given this long to finish. */
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
      // The folder itself may go: looking from time to time is what is left then.
      watcher.on('error', () => watcher.close());
      this.#watchers.push(watcher);
    } catch {
      // No more watches to be had, or no folder: as above.
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
