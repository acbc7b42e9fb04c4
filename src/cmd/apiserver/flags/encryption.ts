/** Flags of encryption at rest. */
import { readFileSync } from 'node:fs';
import { parseEncryptionConfiguration } from '#apiserver/encryption/configuration.ts';
import { UserError } from '#deploy/data-dir.ts';
import { errorMessage } from '#stdx/log.ts';

export interface EncryptionFlags {
  readonly encryptionProviderConfig?: string;
  readonly encryptionProviderConfigAutomaticReload?: boolean;
}

export interface EncryptionSettings {
  readonly file: string;
  readonly reload: boolean;
}

/** undefined when objects are stored as they are. Throws a UserError for a file that cannot be used. */
export function encryptionFrom({
  encryptionProviderConfig: file,
  encryptionProviderConfigAutomaticReload: reload,
}: EncryptionFlags): EncryptionSettings | undefined {
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
