/** Backups in a directory. A backup is written as NAME.part, synced, and linked to its name, which fails where the name is taken. */
import { createReadStream } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError } from '../errors.ts';
import { backupPrefix } from '../format.ts';
import type { BackupTarget, BeforeStep, StoredFile } from './target.ts';

const PART = '.part';
const READ_BYTES = 256 * 1024;

export class DirectoryTarget implements BackupTarget {
  readonly location: string;

  readonly #before: BeforeStep;

  constructor(directory: string, { before = () => {} }: { readonly before?: BeforeStep | undefined } = {}) {
    this.location = directory;
    this.#before = before;
  }

  async list(): Promise<readonly StoredFile[]> {
    const names = await this.#names();
    const files = await Promise.all(
      names
        .filter((name) => !name.endsWith(PART))
        .map(async (name) => {
          const found = await stat(this.#path(name)).catch(() => undefined);
          return found?.isFile() ? [{ name, bytes: found.size }] : [];
        }),
    );
    return files.flat();
  }

  async *read(name: string): AsyncGenerator<Uint8Array, void, void> {
    try {
      yield* createReadStream(this.#path(name), { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>;
    } catch (error) {
      throw this.#explain(error, name);
    }
  }

  async write(name: string, source: AsyncIterable<Uint8Array>): Promise<number> {
    const part = this.#path(name + PART);
    let file: FileHandle | undefined;
    try {
      await mkdir(this.location, { recursive: true, mode: 0o700 });
      this.#before('open');
      file = await open(part, 'w', 0o600);
      let bytes = 0;
      this.#before('write');
      for await (const chunk of source) {
        await file.writeFile(chunk);
        bytes += chunk.length;
      }
      this.#before('sync');
      await file.sync();
      await file.close();
      file = undefined;
      this.#before('link');
      await link(part, this.#path(name));
      this.#before('unlink');
      await rm(part);
      await this.#sync();
      return bytes;
    } catch (error) {
      await file?.close().catch(() => {});
      await rm(part, { force: true }).catch(() => {});
      throw this.#explain(error, name);
    }
  }

  async readText(name: string): Promise<string | undefined> {
    try {
      return await readFile(this.#path(name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw this.#explain(error, name);
    }
  }

  async writeText(name: string, text: string): Promise<void> {
    const part = this.#path(`${name}.${process.pid}${PART}`);
    try {
      this.#before('note');
      const file = await open(part, 'w', 0o600);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      this.#before('rename');
      await rename(part, this.#path(name));
      await this.#sync();
    } catch (error) {
      await rm(part, { force: true }).catch(() => {});
      throw this.#explain(error, name);
    }
  }

  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true });
  }

  async tidy(cluster: string): Promise<void> {
    for (const name of await this.#names())
      if (name.endsWith(PART) && name.startsWith(backupPrefix(cluster))) await this.remove(name);
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.location);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw this.#explain(error, '');
    }
  }

  async #sync(): Promise<void> {
    const directory = await open(this.location);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  #path(name: string): string {
    return join(this.location, name);
  }

  #explain(error: unknown, name: string): unknown {
    const { code, message } = error as NodeJS.ErrnoException;
    const path = this.#path(name);
    if (error instanceof BackupError || code === undefined) return error;
    if (code === 'ENOENT') return new BackupError('missing', `there is no backup ${path}`, error);
    if (code === 'EEXIST')
      return new BackupError('exists', `${path} exists: backups are never overwritten`, error);
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG')
      return new BackupError('no-space', `the disk that holds ${this.location} is full`, error);
    return new BackupError('refused', `${path} cannot be used: ${message}`, error);
  }
}
