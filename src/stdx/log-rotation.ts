/**
 * Keeps a log bounded whose writer holds it open in append mode: it is copied to PATH.1 and cut, older copies move on to PATH.2 and so on, and the oldest
 * goes. Where the writer is this very thread nothing is lost; another's lines of those milliseconds may be. Not for logs of containers (CRI reopens those).
 */
import { copyFileSync, fstatSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import type { Clock, Timer } from './clock.ts';
import { errorMessage, type Logger } from './log.ts';

interface RotationBounds {
  readonly maxBytes: number;
  /** Copies that are kept. */
  readonly keptFiles: number;
}

/** 50 MB in all. */
const LOG_BOUNDS: RotationBounds = { maxBytes: 10 * 1024 * 1024, keptFiles: 4 };

/** True where the log was too long. Where its copy cannot be written (a full disk) it is cut all the same; throws what keeps it from being cut. */
export function rotateLog(path: string, { maxBytes, keptFiles }: RotationBounds): boolean {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= maxBytes) return false;
  for (let number = keptFiles; number > 1; number -= 1) move(`${path}.${number - 1}`, `${path}.${number}`);
  try {
    copyFileSync(path, `${path}.1`);
  } catch {
    // A log must not hold on to the disk that it filled.
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
  /** Where this program's log goes. Default: standard error. */
  readonly fd?: number;
}

const LOOK_EVERY_MS = 5_000;

/** Rotates this program's own log from now on, if it goes to that file: elsewhere somebody else keeps it. Returns how to end that. */
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
