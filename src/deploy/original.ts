/**
 * Distinguishes a copy of a data directory from the original. A copy has the same id in its settings, but the service rules and address ranges of that id
 * belong to the directory that claimed them, so operations on a copy must not touch them. Simulated clusters claim nothing.
 */
import { fileIdentity } from '#stdx/kept-files.ts';
import { dataDir, readSettings, SettingsError, UserError, type DataDir } from './data-dir.ts';
import { claimedBy } from './networks.ts';

interface OriginalOptions {
  /** Directory of the claims of address ranges. Default: one for the machine. */
  readonly claimsDir?: string | undefined;
}

/** The directory that this one is a copy of, if it still exists. A moved directory is not a copy. */
export function findOriginal(
  dir: DataDir,
  { id, claimsDir }: OriginalOptions & { readonly id: string },
): string | undefined {
  const owner = claimedBy(id, claimsDir);
  if (owner === undefined || fileIdentity(owner) === fileIdentity(dir.path)) return undefined;
  return hasCluster(owner, id) ? owner : undefined;
}

function hasCluster(path: string, id: string): boolean {
  try {
    return readSettings(dataDir(path))?.id === id;
  } catch (error) {
    // Damaged, but present: its state stays its own.
    if (error instanceof SettingsError) return true;
    throw error;
  }
}

/** UserError for a copy: two clusters of one id would undo each other's service rules and give out the same addresses. */
export function refuseCopy(dir: DataDir, options: OriginalOptions & { readonly id: string }): void {
  const original = findOriginal(dir, options);
  if (original !== undefined)
    throw new UserError(
      `${dir.path} is a copy of the cluster in ${original}, and both would use the same service rules and address ranges: start that one, or remove one of them with: capstan delete --data-dir DIR`,
    );
}
