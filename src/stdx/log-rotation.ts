/**
 * Rotates a log whose writer holds it open in append mode: it is copied to PATH.1 and truncated, older copies move on to PATH.2 and so on, and the oldest
 * is deleted. When this thread is the writer nothing is lost; lines of other writers in those milliseconds may be. Not for container logs (CRI reopens those).
 */
import { copyFileSync, fstatSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import type { Clock, Timer } from './clock.ts';
import { errorMessage, type Logger } from './log.ts';

interface RotationBounds {
  readonly maxBytes: number;
  /** Number of rotated copies. */
  readonly keptFiles: number;
}

/** 50 MB in total. */
const LOG_BOUNDS: RotationBounds = { maxBytes: 10 * 1024 * 1024, keptFiles: 4 };

/** Returns whether the log was too long. When its copy cannot be written (a full disk) it is truncated all the same; throws when it cannot be truncated. */
export function rotateLog(path: string, { maxBytes, keptFiles }: RotationBounds): boolean {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= maxBytes) return false;
  for (let number = keptFiles; number > 1; number -= 1) move(`${path}.${number - 1}`, `${path}.${number}`);
  try {
    copyFileSync(path, `${path}.1`);
  } catch {
    // A log must not occupy the disk that it filled.
    rmSync(`${path}.1`, { force: true });
  }
  truncateSync(path);
  return true;
}

function move(from: string, to: string): void {
  if (statSync(from, { throwIfNoEntry: false })) renameSync(from, to);
  else rmSync(to, { force: true });
}

interface OwnLogOptions extends Partial<RotationBounds> {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** The program's log file. Default: standard error. */
  readonly fd?: number;
}

const LOOK_EVERY_MS = 5_000;

/** Rotates this program's own log, if it is written to that file; another program rotates it otherwise. Returns a function that stops it. */
export function keepOwnLog({ path, clock, log, fd = 2, ...bounds }: OwnLogOptions): () => void {
  const [own, file] = [fstatSync(fd), statSync(path, { throwIfNoEntry: false })];
  if (!file || own.dev !== file.dev || own.ino !== file.ino) return () => {};
  let timer: Timer | undefined;
  let failing = false;
  const look = (): void => {
    try {
      rotateLog(path, { ...LOG_BOUNDS, ...bounds });
      failing = false;
    } catch (error) {
      if (!failing) log.warn('log not rotated', { path, error: errorMessage(error) });
      failing = true;
    }
    timer = clock.after(LOOK_EVERY_MS, look);
  };
  look();
  return () => timer?.cancel();
}
