/** Opens a backup: decrypts, decodes every object, and compares the digests. */
import { readArchive, type ArchiveVisitor } from './archive.ts';
import { unseal } from './envelope.ts';
import { BackupError } from './errors.ts';
import type { BackupRecord, Manifest } from './format.ts';
import type { BackupTarget } from './targets/target.ts';

interface OpenOptions {
  readonly target: BackupTarget;
  readonly name: string;
  readonly identities: readonly string[];
  /** From upstream's encoding to the server's JSON; throws where it cannot be read. */
  readonly decode: (key: string, stored: Buffer) => Buffer;
  /** Objects with their value in the server's JSON, before their digest is compared. */
  readonly onObject?: ((record: BackupRecord) => Promise<void> | void) | undefined;
  readonly onHeader?: ArchiveVisitor['onHeader'];
  readonly onFile?: ArchiveVisitor['onFile'];
}

/** Rejects with a BackupError whose sentence names the backup. */
export async function openBackup(options: OpenOptions): Promise<Manifest> {
  const { target, name, identities, decode, onObject, onHeader, onFile } = options;
  try {
    return await readArchive(unseal(target.read(name), identities), {
      onHeader,
      onFile,
      async onRecord(record) {
        const value = decoded(record, decode);
        await onObject?.({ ...record, value });
      },
    });
  } catch (error) {
    if (!(error instanceof BackupError) || error.code === 'missing' || error.code === 'unavailable')
      throw error;
    throw new BackupError(error.code, `${name} cannot be used: ${error.message}`, error);
  }
}

function decoded({ key, value }: BackupRecord, decode: OpenOptions['decode']): Buffer {
  try {
    return decode(key, value);
  } catch (error) {
    throw new BackupError('damaged', `${key} cannot be decoded: ${(error as Error).message}`, error);
  }
}
