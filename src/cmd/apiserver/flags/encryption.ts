/** Flags of encryption at rest. */
import { readFileSync } from 'node:fs';
import { parseEncryptionConfiguration } from '#apiserver/encryption/configuration.ts';
import { UserError } from '#deploy/data-dir.ts';
import { errorMessage } from '#stdx/log.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { ENCRYPTION_FLAGS } from '../flags.ts';
import type { EncryptionSettings } from '../settings.ts';

type EncryptionFlags = GivenFlags<typeof ENCRYPTION_FLAGS>;

/** undefined when objects are stored in plain. Throws a UserError for an unusable file. */
export function encryptionFrom(flags: EncryptionFlags): EncryptionSettings | undefined {
  const { encryptionProviderConfig: file, encryptionProviderConfigAutomaticReload: reload } = readFlags(
    ENCRYPTION_FLAGS,
    flags,
  );
  if (file === undefined) {
    if (reload)
      throw new UserError(
        '--encryption-provider-config-automatic-reload needs --encryption-provider-config FILE.',
      );
    return undefined;
  }
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(
      `--encryption-provider-config ${file} cannot be read: ${errorMessage(error)}.`,
      error,
    );
  }
  try {
    parseEncryptionConfiguration(content);
  } catch (error) {
    throw new UserError(`--encryption-provider-config ${file}: ${errorMessage(error)}.`, error);
  }
  return { file, reload: reload ?? false };
}
