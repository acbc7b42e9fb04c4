/**
 * Files that a running program holds open and that must stay where they are. Somebody may remove or move their directory under it: everything
 * goes on working then, on files that nobody will find again. Looked at now and then; not for files whose contents change (watched-files.ts).
 */
import { statSync, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Clock, Timer } from './clock.ts';

interface KeepFilesOptions {
  /** All there when this begins. */
  readonly paths: readonly string[];
  readonly clock: Clock;
  /** Called once, with the first of them that is no longer the file it was; nothing is looked at after that. */
  readonly onLost: (path: string) => void;
}

export interface KeptFiles {
  close(): void;
}

/** How long writes may be acknowledged to a file that is gone; a look costs some microseconds. */
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

/** What tells a file from another one at the same path; undefined where there is none. Throws the file system's other errors. */
export function fileIdentity(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found && identityOf(found);
}

function identityOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`;
}

/** Only what is known to be gone is gone: a network disk that does not answer may come back. */
async function isStill(path: string, identity: string | undefined): Promise<boolean> {
  return stat(path).then(
    (found) => identityOf(found) === identity,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
  );
}
