/**
 * The keys of backups. Without --recipients-file these are the recipients of PKI/backup-recipients.txt, else a key pair of the cluster's own beside its certificates:
 * PKI/backup-identity.txt, in the form of age-keygen. It opens the cluster's backups, so a copy belongs to a safe place; it is in no backup. Control planes that join get both files.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateKeyPair, parseKeyFile, recipientOf } from '#backup/envelope.ts';
import { UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import { isoTime } from '#stdx/dates.ts';

export const IDENTITY_FILE = 'backup-identity.txt';
export const RECIPIENTS_FILE = 'backup-recipients.txt';
/** By which the cluster's own key is known from those of people. */
const OWN_REMARK = "# opens this cluster's backups";

export interface KeyFlags {
  readonly recipientsFile?: string | undefined;
  readonly identityFile?: string | undefined;
}

/** Throws a UserError. pkiDir: where the cluster's own pair is, made at the first backup. */
export async function recipientsFor(
  { recipientsFile }: KeyFlags,
  pkiDir: string | undefined,
): Promise<readonly string[]> {
  if (recipientsFile !== undefined) return readRecipients('--recipients-file', recipientsFile);
  const shared = pkiDir === undefined ? undefined : join(pkiDir, RECIPIENTS_FILE);
  if (shared !== undefined && existsSync(shared)) return readRecipients('The recipients of backups,', shared);
  if (pkiDir === undefined) throw new UserError('--recipients-file FILE is needed: who may open the backup.');
  const file = join(pkiDir, IDENTITY_FILE);
  if (!existsSync(file)) await makeIdentity(file);
  return Promise.all(readKeys('The key of backups,', file).map(recipientOf));
}

function readRecipients(what: string, file: string): readonly string[] {
  const recipients = readKeys(what, file);
  const wrong = recipients.find((one) => !one.startsWith('age1'));
  if (wrong === undefined) return recipients;
  throw new UserError(
    `${what} ${file} has a line that is no recipient of age, which begin with age1${wrong.startsWith('AGE-SECRET-KEY') ? ': it is a secret key' : ''}.`,
  );
}

/** Throws a UserError. */
export function identitiesFor({ identityFile }: KeyFlags, pkiDir: string | undefined): readonly string[] {
  if (identityFile !== undefined) return readKeys('--identity-file', identityFile);
  const file = pkiDir === undefined ? undefined : join(pkiDir, IDENTITY_FILE);
  if (file === undefined || !existsSync(file))
    throw new UserError('--identity-file FILE is needed: the key that opens the backup, as age has it.');
  return readKeys('The key of backups,', file);
}

async function makeIdentity(file: string): Promise<void> {
  const { identity, recipient } = await generateKeyPair();
  writeFileAtomic(
    file,
    `# created: ${isoTime(Date.now())}\n# public key: ${recipient}\n${OWN_REMARK}: keep a copy where the cluster's disks are not\n${identity}\n`,
  );
}

/** The content of a key file. */
export function isOwnIdentity(text: string): boolean {
  return text.includes(OWN_REMARK);
}

function readKeys(what: string, file: string): readonly string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`${what} ${file} cannot be read: ${(error as Error).message}.`, error);
  }
  const keys = parseKeyFile(text);
  if (keys.length === 0) throw new UserError(`${what} ${file} has no key.`);
  return keys;
}
