/** The keys of encryption as a changed configuration sees them: this control plane's file beside the one that is asked for, and the flags that name it. */
import { existsSync, readFileSync } from 'node:fs';
import type { DefaultedCluster } from '#deploy/config/defaults.ts';
import type { Arg, ClusterConfiguration } from '#deploy/config/types.ts';
import { UserError } from '#deploy/data-dir.ts';
import {
  argument,
  ENCRYPTION_FLAG,
  encryptionPath,
  managedEncryptionPath,
} from '#deploy/machine/encryption-file.ts';
import { machineFile } from '#deploy/machine/record.ts';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import { planEncryption, type EncryptionPlan } from '#upgrade/configuration/encryption-keys.ts';
import { readEncryption, type GivenConfiguration } from './documents.ts';

const RELOAD_FLAG = `${ENCRYPTION_FLAG}-automatic-reload`;

/** With what is in use now, undefined where nothing is encrypted. */
export interface PlannedEncryption extends EncryptionPlan {
  readonly current: string | undefined;
}

/** Undefined: the file does not ask for any. Throws a UserError where this machine cannot know what is in use. */
export function plannedEncryption(
  { encryption }: GivenConfiguration,
  { cluster, paths }: { readonly cluster: DefaultedCluster; readonly paths: MachinePaths },
): PlannedEncryption | undefined {
  if (!encryption) return undefined;
  const machine = machineFile(paths);
  if (!machine.exists() || machine.read().role !== 'control-plane')
    throw new UserError('Keys of encryption are compared with the file of a control plane: run it there.');
  const { apiServer, certificatesDir } = cluster;
  const named = argument(apiServer?.extraArgs, ENCRYPTION_FLAG);
  const path = encryptionPath(paths, {
    path: named ?? managedEncryptionPath(certificatesDir),
    certificatesDir,
  });
  const isThere = existsSync(path);
  if (named !== undefined && !isThere)
    throw new UserError(`${path}, which --${ENCRYPTION_FLAG} names, is not on this machine.`);
  const current = isThere ? readFileSync(path, 'utf8') : undefined;
  const before = current === undefined ? { resources: [] } : readEncryption(current, path);
  return { ...planEncryption(before, encryption), current };
}

/** Where keys are asked for, API servers have a file and follow it. */
export function withEncryptionFlags(
  cluster: ClusterConfiguration,
  { certificatesDir }: Pick<DefaultedCluster, 'certificatesDir'>,
): ClusterConfiguration {
  const { apiServer = {} } = cluster;
  const { extraArgs = [] } = apiServer;
  const others = extraArgs.filter(({ name }) => name !== RELOAD_FLAG);
  const named: readonly Arg[] =
    argument(extraArgs, ENCRYPTION_FLAG) === undefined
      ? [{ name: ENCRYPTION_FLAG, value: managedEncryptionPath(certificatesDir) }]
      : [];
  const reload = { name: RELOAD_FLAG, value: 'true' };
  return { ...cluster, apiServer: { ...apiServer, extraArgs: [...others, ...named, reload] } };
}

/** What is stored encrypted could not be read without the file. */
export function refusedEncryptionFlags(before: DefaultedCluster, wanted: DefaultedCluster): string[] {
  const [from, to] = [before, wanted].map(({ apiServer }) => argument(apiServer?.extraArgs, ENCRYPTION_FLAG));
  return from === undefined || from === to
    ? []
    : [
        `apiServer.extraArgs.${ENCRYPTION_FLAG} cannot be changed from ${from} to ${to ?? '(none)'}: what is stored encrypted could not be read. To decrypt, keep it, and give an EncryptionConfiguration whose first provider is identity`,
      ];
}
