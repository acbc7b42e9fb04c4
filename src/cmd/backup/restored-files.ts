/** The files of a backup on the machine that it is restored to: those of a data directory, and the key that opens its next backups. What is there already stays. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { BackupFile } from '#backup/format.ts';
import { createSettings, DATA_FORMAT, newClusterId, readSettings, type DataDir } from '#deploy/data-dir.ts';
import { ENCRYPTION_FILE as MANAGED_FILE, ENCRYPTION_FLAG } from '#deploy/machine/encryption-file.ts';
import type { ClusterFacts } from './cluster-facts.ts';
import { IDENTITY_FILE, isOwnIdentity, RECIPIENTS_FILE } from './keys.ts';

/** In a backup, wherever the cluster had it. */
const ENCRYPTION_FILE = 'encryption-provider-config.yaml';
const MACHINE_FILE = 'machine.json';
/** As `up` begins. */
const HTTPS_PORT = 6443;
const BIND_ADDRESS = '127.0.0.1';

/** The keys of encryption at rest; undefined: the cluster encrypts nothing. */
export function encryptionIn(files: readonly BackupFile[], facts: ClusterFacts): BackupFile | undefined {
  const named = files.find(({ path }) => path === ENCRYPTION_FILE);
  const isUsed = facts.configuration().apiServer?.extraArgs?.some(({ name }) => name === ENCRYPTION_FLAG);
  return named ?? (isUsed ? files.find(({ path }) => path === `pki/${MANAGED_FILE}`) : undefined);
}

/** What is on this machine stays: its certificates may be newer than the backup. A cluster of `init` gets settings of `up` with its ranges. */
export function writeMissing(
  dir: DataDir,
  {
    files,
    facts,
    identityFile,
  }: {
    readonly files: readonly BackupFile[];
    readonly facts: ClusterFacts;
    readonly identityFile: string | undefined;
  },
): void {
  const encryption = encryptionIn(files, facts);
  for (const file of files)
    if (file.path !== ENCRYPTION_FILE && file.path !== MACHINE_FILE)
      writeNew(join(dir.path, file.path), file);
  if (!existsSync(dir.settingsFile))
    createSettings(dir, {
      format: DATA_FORMAT,
      id: newClusterId(),
      httpsPort: HTTPS_PORT,
      bindAddress: BIND_ADDRESS,
      runtime: facts.runtime,
      nodes: 1,
      ...facts.ranges(),
      ...(encryption && { apiServerArgs: [`${ENCRYPTION_FLAG}=${join(dir.pki, MANAGED_FILE)}`] }),
    });
  const encryptionFile = encryptionFileOf(dir);
  if (encryption && encryptionFile !== undefined) writeNew(encryptionFile, encryption);
  const identity = ownIdentity(identityFile, files);
  if (identity) writeNew(join(dir.path, identity.path), identity);
}

/** The cluster's own key of backups, so that the same one opens the next; undefined: they are for recipients, or the key is one of people, which stays with them. */
export function ownIdentity(
  identityFile: string | undefined,
  files: readonly BackupFile[],
): BackupFile | undefined {
  if (identityFile === undefined || files.some(({ path }) => path === `pki/${RECIPIENTS_FILE}`))
    return undefined;
  const content = readFileSync(identityFile);
  return isOwnIdentity(content.toString())
    ? { path: `pki/${IDENTITY_FILE}`, mode: 0o600, content }
    : undefined;
}

function writeNew(path: string, { mode, content }: Pick<BackupFile, 'mode' | 'content'>): void {
  if (existsSync(path)) return;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, content, { mode });
  renameSync(`${path}.new`, path);
}

/** Where the settings say that it is. */
function encryptionFileOf(dir: DataDir): string | undefined {
  const name = `${ENCRYPTION_FLAG}=`;
  return readSettings(dir)
    ?.apiServerArgs?.find((arg) => arg.startsWith(name))
    ?.slice(name.length);
}
