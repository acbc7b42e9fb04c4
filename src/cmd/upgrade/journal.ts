/** What a rollback to a backup was about when it was killed: a file of the machine that runs it, since no API can be asked while it restores. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import type { RollbackJournal, RollbackOptions } from '#upgrade/rollback.ts';

export function rollbackJournal({ capstan }: Pick<MachinePaths, 'capstan'>): RollbackOptions['journal'] {
  const path = join(capstan, 'upgrade-rollback.json');
  return {
    read: () => (existsSync(path) ? parse(path) : undefined),
    write(journal) {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      writeFileAtomic(path, `${JSON.stringify(journal, undefined, 2)}\n`);
    },
    remove: () => rmSync(path, { force: true }),
  };
}

function parse(path: string): RollbackJournal {
  try {
    const journal = JSON.parse(readFileSync(path, 'utf8')) as RollbackJournal;
    if (journal.format === 1 && Array.isArray(journal.machines)) return journal;
  } catch {
    // Said below.
  }
  throw new UserError(
    `${path} is damaged: it was left as it is. If every API server runs, remove it and run capstan upgrade rollback again; else restore the backup by hand: capstan backup list, capstan backup restore.`,
  );
}
