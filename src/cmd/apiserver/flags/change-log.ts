/** --change-log-*: the log of changes that history reads. */
import { resolve } from 'node:path';
import type { ChangeLogSettings } from '#history/change-log.ts';
import { UserError } from '#deploy/data-dir.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { CHANGE_LOG_FLAGS } from '../flags.ts';

const MB = 1024 * 1024;
const DAY_MS = 86_400_000;

/** Undefined: none is written. Throws a UserError. */
export function changeLogFrom(flags: GivenFlags<typeof CHANGE_LOG_FLAGS>): ChangeLogSettings | undefined {
  const { changeLogPath, changeLogMaxsize, changeLogMaxbackup, changeLogMaxage } = readFlags(
    CHANGE_LOG_FLAGS,
    flags,
  );
  if (changeLogPath === undefined) return undefined;
  if (changeLogPath === '') throw new UserError('--change-log-path is empty; it should be a directory.');
  return {
    dir: resolve(changeLogPath),
    maxFileBytes: changeLogMaxsize * MB,
    maxFiles: changeLogMaxbackup + 1,
    maxAgeMs: changeLogMaxage * DAY_MS,
  };
}
