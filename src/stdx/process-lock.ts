/**
 * A lock file that says which process holds a directory. Taken by creating the file with a hard link (atomic), released by removing it;
 * a file whose process is gone (or whose pid was reused: start times differ) is stale and taken over.
 */
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

export interface LockHolder { readonly pid: number; readonly startTime: string }

export class LockedError extends Error {
  readonly holder: LockHolder;
  constructor(path: string, holder: LockHolder) {
    super(`${path} is held by process ${holder.pid}`);
    this.name = 'LockedError';
    this.holder = holder;
  }
}

export interface ProcessLock { release(): void }

/** Throws LockedError when a live process holds it; file system errors pass through. */
export function acquireProcessLock(path: string): ProcessLock {
  const own: LockHolder = { pid: process.pid, startTime: processStartTime(process.pid) ?? '' };
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(own));
  try {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      if (tryLink(draft, path)) return { release: () => { if (readLockHolder(path)?.pid === own.pid) rmSync(path, { force: true }); } };
      const holder = liveLockHolder(path);
      if (holder) throw new LockedError(path, holder);
      rmSync(path, { force: true });
    }
    throw new Error(`${path} changes hands too quickly to be taken`);
  } finally {
    rmSync(draft, { force: true });
  }
}

/** The live process that holds the lock, if any. */
export function liveLockHolder(path: string): LockHolder | undefined {
  const holder = readLockHolder(path);
  if (!holder || holder.pid <= 0) return undefined;
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

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function readLockHolder(path: string): LockHolder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as LockHolder;
  } catch {
    return undefined;
  }
}
