/** --backup*: scheduled backups. */
import { UserError, type DataDir } from '#deploy/data-dir.ts';
import type { BackupSchedule } from '../../backup/schedule.ts';
import { dataDirLocation, dataDirRoots, encryptionRoot } from '../../backup/place.ts';
import { readFlags } from '../../flags/define.ts';
import { BACKUP_FLAGS, type ApiServerFlags } from '../flags.ts';

const MIN_INTERVAL_MS = 60_000;

/** Undefined where none are made. dir: of a server that keeps something there. Throws a UserError. */
export function backupsFrom(flags: ApiServerFlags, dir: DataDir | undefined): BackupSchedule | undefined {
  const { backup, backupInterval: intervalMs, ...given } = readFlags(BACKUP_FLAGS, flags);
  const location = given.backupLocation ?? (dir && dataDirLocation(dir));
  if (intervalMs < MIN_INTERVAL_MS)
    throw new UserError('--backup-interval is shorter than a minute; --backup=false turns backups off.');
  if (backup === false) return undefined;
  if (location === undefined) {
    if (backup) throw new UserError('--backup needs --backup-location PLACE or --data-dir DIR.');
    return undefined;
  }
  const pkiDir = given.backupPkiDir ?? dir?.pki;
  if (pkiDir === undefined && given.backupRecipientsFile === undefined)
    throw new UserError('--backup-location needs --backup-pki-dir DIR or --backup-recipients-file FILE.');
  const encryptionFile = flags.encryptionProviderConfig;
  return {
    intervalMs,
    target: {
      location,
      s3Endpoint: given.backupS3Endpoint,
      s3Region: given.backupS3Region,
      s3CredentialsFile: given.backupS3CredentialsFile,
    },
    roots:
      dir && given.backupPkiDir === undefined
        ? dataDirRoots(dir, encryptionFile)
        : [...(pkiDir === undefined ? [] : [{ from: pkiDir, to: 'pki' }]), ...encryptionRoot(encryptionFile)],
    recipientsFile: given.backupRecipientsFile,
    pkiDir,
  };
}
