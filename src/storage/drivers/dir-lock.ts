/**
 * One process per store directory, held by a lock of the operating system: it ends with its process, however that ends, so there is no
 * stale lock and no pid that somebody else has got meanwhile. Node has no flock; SQLite, which it brings, locks a file of ours with fcntl
 * (and within this process by a table), so `lock` is an empty database in an exclusive transaction for as long as we live. Who holds it is
 * written to `lock.pid`, for the message only.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StoreError } from '../store.ts';
import { diskError } from './disk-errors.ts';

export interface DirLock {
  release(): void;
}

const SQLITE_BUSY = 5;

/** Throws StoreError locked, read-only, no-space or io. */
export function lockDir(dir: string): DirLock {
  const what = `Cannot open store ${dir}`;
  const pidFile = join(dir, 'lock.pid');
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(join(dir, 'lock'));
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    database?.close();
    const { errcode } = error as { errcode?: number };
    if (errcode === SQLITE_BUSY)
      throw new StoreError('locked', `${what}: locked by process ${readHolder(pidFile)}`, { cause: error });
    throw diskError(what, errcode === undefined ? error : (reasonOf(dir) ?? error));
  }
  const held = database;
  return { release: () => held.close() };
}

/**
 * SQLite hides why a file cannot be written; another file there tells. (Not the lock itself: a process that closes any descriptor of a
 * file loses its fcntl locks on it, and it may be us who have it.)
 */
function reasonOf(dir: string): unknown {
  const probe = join(dir, 'lock.probe');
  try {
    writeFileSync(probe, 'x');
    rmSync(probe);
    return undefined;
  } catch (error) {
    return error;
  }
}

function readHolder(pidFile: string): string {
  try {
    return readFileSync(pidFile, 'utf8').trim() || 'unknown';
  } catch {
    return 'unknown';
  }
}
