/**
 * A file's content, reloaded when it changes. The first load throws; a later load that fails is logged, and the previous content stays in effect.
 */
import { readFileSync } from 'node:fs';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchFiles, type WatchedFiles } from '#stdx/watched-files.ts';

interface ReloadedFileOptions<T> {
  readonly path: string;
  /** Throws an Error for content that cannot be used; its message must not quote secrets. */
  readonly parse: (text: string) => T;
  readonly log: Logger;
  readonly clock: Clock;
}

export class ReloadedFile<T> {
  readonly #options: ReloadedFileOptions<T>;
  readonly #watched: WatchedFiles;
  value: T;
  /** Incremented with each loaded content. */
  generation = 1;

  /** Throws the error of the file system or of parse. */
  constructor(options: ReloadedFileOptions<T>) {
    const { path, parse, log, clock } = options;
    this.#options = options;
    this.value = parse(readFileSync(path, 'utf8'));
    this.#watched = watchFiles({
      paths: [path],
      clock,
      changed: ([text = '']) => this.#take(text),
      unreadable: (error) =>
        log.error('error reading a file, keeping its previous content', {
          file: path,
          error: errorMessage(error),
        }),
    });
  }

  /** Checks now instead of at the next notification. */
  look(): void {
    this.#watched.look();
  }

  close(): void {
    this.#watched.close();
  }

  #take(text: string): void {
    const { path, parse, log } = this.#options;
    try {
      this.value = parse(text);
      this.generation += 1;
      log.info('file reloaded', { file: path });
    } catch (error) {
      log.error('a changed file is invalid, keeping its previous content', {
        file: path,
        error: errorMessage(error),
      });
    }
  }
}
