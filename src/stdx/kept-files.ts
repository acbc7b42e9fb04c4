/**
 * Detects that files which a running program holds open were removed or moved, together with their directory perhaps. Otherwise the program
 * would continue on files that no other process can find. Polls periodically; not for changes of contents (watched-files.ts).
 */
import { statSync, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Clock, Timer } from './clock.ts';

interface KeepFilesOptions {
  /** All must exist at the start. */
  readonly paths: readonly string[];
  readonly clock: Clock;
  /** Called once, with the first file that was removed or replaced; polling ends then. */
  readonly onLost: (path: string) => void;
}

export interface KeptFiles {
  close(): void;
}

/** Maximum time in which writes to a removed file may be acknowledged; a check costs some microseconds. */
const LOOK_EVERY_MS = 2_000;

export function keepFiles({ paths, clock, onLost }: KeepFilesOptions): KeptFiles {
  const kept = paths.map((path) => ({ path, identity: fileIdentity(path) }));
  let timer: Timer | undefined;
  let closed = false;
  const look = async (): Promise<void> => {
    for (const { path, identity } of kept) {
      const isThere = await isStill(path, identity);
      if (closed) return;
      if (!isThere) return onLost(path);
    }
    again();
  };
  const again = (): void => {
    timer = clock.after(LOOK_EVERY_MS, () => void look());
  };
  again();
  return {
    close() {
      closed = true;
      timer?.cancel();
    },
  };
}

/** Identifies a file independent of its path; undefined when it does not exist. Throws other file system errors. */
export function fileIdentity(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found && identityOf(found);
}

function identityOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`;
}

/** Only ENOENT counts as removed: a network file system that is unreachable may come back. */
async function isStill(path: string, identity: string | undefined): Promise<boolean> {
  return stat(path).then(
    (found) => identityOf(found) === identity,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
  );
}
