/**
 * Processes left by a killed supervisor. A file lists their pids and start times; they are stopped before the next supervisor starts anything, so that no
 * service ever runs twice (etcd also locks its data). Containers are not included: they keep running.
 */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeFileAtomic } from '#deploy/data-dir.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { processStartTime } from '#stdx/process-lock.ts';

interface Recorded {
  readonly name: string;
  readonly pid: number;
  readonly startTime: string;
}

const GRACE_MS = 20_000;
const LOOK_EVERY_MS = 50;

export function recordChildren(
  path: string,
  children: readonly { readonly name: string; readonly pid: number }[],
): void {
  const recorded: Recorded[] = children.flatMap(({ name, pid }) => {
    const startTime = processStartTime(pid);
    return startTime === undefined ? [] : [{ name, pid, startTime }];
  });
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  writeFileAtomic(path, JSON.stringify(recorded));
}

/** Resolves when all of them have ended. A damaged file names none: a port or lock in use then reports them. */
export async function endLeftovers(
  path: string,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): Promise<void> {
  const begin = clock.monotonic();
  let left = read(path).filter(isAlive);
  for (const { name, pid } of left) {
    log.warn('ending a service of an earlier supervisor', { service: name, pid });
    signal(pid, 'SIGTERM');
  }
  let killed = false;
  while (left.length > 0) {
    await clock.sleep(LOOK_EVERY_MS);
    left = left.filter(isAlive);
    if (killed || clock.monotonic() - begin < GRACE_MS) continue;
    killed = true;
    for (const { pid } of left) signal(pid, 'SIGKILL');
  }
  rmSync(path, { force: true });
}

function isAlive({ pid, startTime }: Recorded): boolean {
  return processStartTime(pid) === startTime;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended in the meantime.
  }
}

function read(path: string): readonly Recorded[] {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as readonly Recorded[];
    return Array.isArray(value) ? value.filter(({ pid }) => Number.isInteger(pid) && pid > 1) : [];
  } catch {
    return [];
  }
}
