/** How backups are shown: sizes, ages; and errors as one sentence. */
import { BackupError } from '#backup/errors.ts';
import { UserError } from '#deploy/data-dir.ts';
import { LockedError } from '#stdx/process-lock.ts';
import { StoreError } from '#storage/store.ts';

export type Say = (line: string) => void;

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function sizeText(bytes: number): string {
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), UNITS.length - 1);
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[power]}`;
}

/** As kubectl shows it: 45s, 12m, 5h, 3d. */
export function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

export function countText(count: number): string {
  return String(count).replaceAll(/\B(?=(\d{3})+$)/g, ',');
}

/** Errors of stores, locations and backups as the sentence of a UserError. */
export async function explained<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof BackupError || error instanceof StoreError)
      throw new UserError(`${capitalized(error.message)}.`, error);
    if (error instanceof LockedError)
      throw new UserError(`The cluster is run by process ${error.holder.pid}: stop it first.`, error);
    throw error;
  }
}

function capitalized(text: string): string {
  return /^(capstan-|\/|s3:)/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
}
