/**
 * One process per directory. What holds is a lock of the operating system on PATH.guard, which ends with its process, however that ends: so
 * there is no stale lock, and two that come at the same moment cannot both take over. (Node has no flock; SQLite, which it brings, locks a
 * file with fcntl, and within this process by a table.) PATH itself says who holds it, for messages and for whoever wants to stop it:
 * readers look there, and believe it only while that very process lives (a pid that somebody else has got since differs in start time), and only
 * beside the guard that it locked (a copy of the directory has another).
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { fileIdentity } from './kept-files.ts';

interface LockHolder {
  readonly pid: number;
  readonly startTime: string;
  /** Device and inode of the guard it locked. Absent where an earlier version wrote it. */
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

/** A lock lasts until it is released: a guard that nobody refers to would be closed by the garbage collector. */
const heldGuards = new Set<DatabaseSync>();

const SQLITE_BUSY = 5;
/** How long a holder that has just taken the lock may need to write its name. */
const NAME_WAIT_MS = 2_000;

/** Throws LockedError when a live process holds it; file system errors pass through. */
export function acquireProcessLock(path: string): ProcessLock {
  const own: LockHolder = { pid: process.pid, startTime: processStartTime(process.pid) ?? '' };
  const draft = `${path}.${process.pid}`;
  try {
    // First, since the file system's own errors say more than SQLite's.
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
        // Where another directory stands now, the file there names its own holder.
        if (fileIdentity(`${path}.guard`) === locked) rmSync(path, { force: true });
        guard.close();
        heldGuards.delete(guard);
      },
    };
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Locked, or who holds it. Whoever held it may have let go before he was asked for: then it is tried again. */
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

/** Undefined: somebody holds it. */
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
