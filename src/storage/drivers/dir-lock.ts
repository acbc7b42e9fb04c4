/**
 * One process per store directory, ensured by an operating system lock: it ends with its process in any case, so there are no
 * stale locks and no reused pids. Node has no flock; its SQLite locks a file with fcntl
 * (and within this process by a table), so `lock` is an empty database in an exclusive transaction for as long as we run. The holder
 * is written to `lock.pid`, for messages only.
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
 * SQLite hides why a file cannot be written; a write to another file there shows the reason. (Not to the lock itself: a process that closes any
 * descriptor of a file loses its fcntl locks on it, and this process may hold the lock.)
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
