/** An etcd that holds half of what a restore or a migration writes, by the mark of it that is removed at its end: nobody may serve that. */
import { UserError } from '#deploy/data-dir.ts';
import type { Store } from '#storage/store.ts';

export const RESTORE_MARK = '/registry/capstan.restore';
export const MIGRATION_MARK = '/registry/capstan.migration';
const UNFINISHED = {
  [RESTORE_MARK]:
    'a restore that is not finished: run capstan backup restore again, or capstan init as it was',
  [MIGRATION_MARK]: 'a migration that is not finished: run capstan store migrate again',
};

/** Throws a UserError. */
export async function requireFinished(raw: Store, name: string): Promise<void> {
  for (const [mark, what] of Object.entries(UNFINISHED))
    if (await raw.get(mark)) throw new UserError(`${name} holds half of ${what}.`);
}
