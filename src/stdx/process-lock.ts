/**
 * One process per directory. The lock is an operating system lock on PATH.guard, which ends with its process in any case: there are
 * no stale locks, and concurrent attempts cannot both succeed. (Node has no flock; its SQLite locks a
 * file with fcntl, and within this process by a table.) PATH itself contains the holder, for messages and for stopping it:
 * readers trust it only while that process lives (a reused pid has another start time), and only
 * beside the guard that it locked (a copy of the directory has another).
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { fileIdentity } from './kept-files.ts';

interface LockHolder {
  readonly pid: number;
  readonly startTime: string;
  /** Device and inode of the locked guard. Absent when written by an earlier version. */
  readonly guard?: string | undefined;
}

export class LockedError extends Error {
  readonly holder: LockHolder;
  constructor(path: string, holder: LockHolder) {
    super(`${path} is held by process ${holder.pid}`);
    this.name = 'LockedError';
    this.holder = holder;
  }
}

export interface ProcessLock {
  release(): void;
}

/** Keeps guards referenced: the garbage collector would close the lock otherwise. */
const heldGuards = new Set<DatabaseSync>();

const SQLITE_BUSY = 5;
/** Time that a new holder may need to write its name. */
const NAME_WAIT_MS = 2_000;

/** Throws LockedError when a live process holds it; file system errors pass through. */
export function acquireProcessLock(path: string): ProcessLock {
  const own: LockHolder = { pid: process.pid, startTime: processStartTime(process.pid) ?? '' };
  const draft = `${path}.${process.pid}`;
  try {
    // Checked first, because the file system's errors are clearer than SQLite's.
    writeFileSync(draft, JSON.stringify(own), { mode: 0o600 });
    const guard = lockGuard(path);
    const locked = fileIdentity(`${path}.guard`);
    try {
      writeFileSync(draft, JSON.stringify({ ...own, guard: locked }));
      renameSync(draft, path);
    } catch (error) {
      guard.close();
      throw error;
    }
    let held = true;
    heldGuards.add(guard);
    return {
      release() {
        if (!held) return;
        held = false;
        // When another directory is there now, its file names its own holder.
        if (fileIdentity(`${path}.guard`) === locked) rmSync(path, { force: true });
        guard.close();
        heldGuards.delete(guard);
      },
    };
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Locks, or returns the holder. Retries when the holder released the lock before it was read. */
function lockGuard(path: string): DatabaseSync {
  const deadline = performance.now() + NAME_WAIT_MS;
  for (;;) {
    const guard = tryGuard(path);
    if (guard) return guard;
    const holder = liveLockHolder(path);
    if (holder) throw new LockedError(path, holder);
    if (performance.now() > deadline)
      throw new Error(`${path} is held by a process that does not say its name`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
}

/** Undefined: another process holds it. */
function tryGuard(path: string): DatabaseSync | undefined {
  let guard: DatabaseSync | undefined;
  try {
    guard = new DatabaseSync(`${path}.guard`);
    guard.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    return guard;
  } catch (error) {
    guard?.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined;
    throw new Error(`${path}.guard cannot be locked: ${(error as Error).message}`, { cause: error });
  }
}

/** The live process that holds the lock, if any. */
export function liveLockHolder(path: string): LockHolder | undefined {
  const holder = readLockHolder(path);
  if (!holder || holder.pid <= 0) return undefined;
  if (holder.guard !== undefined && holder.guard !== fileIdentity(`${path}.guard`)) return undefined;
  const startTime = processStartTime(holder.pid);
  return startTime !== undefined && startTime === holder.startTime ? holder : undefined;
}

/** Start time in clock ticks since boot joined to the boot id, undefined when there is no such process (or it is a zombie). */
export function processStartTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${fields[19] ?? ''}`;
  } catch {
    return processExists(pid) && process.platform !== 'linux' ? '' : undefined;
  }
}

function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function readLockHolder(path: string): LockHolder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as LockHolder;
  } catch {
    return undefined;
  }
}
