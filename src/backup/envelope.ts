/**
 * Compression and encryption of a backup: zstd, then age (https://age-encryption.org/v1), by the package of age's author. `age -d | zstd -d` does the reverse.
 * Both are streams; a flipped bit or a missing end is an error before its plaintext is handed out.
 */
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { BackupError } from './errors.ts';

/** Level 3, zstd's own default: 300 MB of objects take 1–2 s. */
const ZSTD_OPTIONS = {
  params: { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 },
};
/** Encrypted in pieces of this size, however small those of the tar are. */
const PIECE_BYTES = 256 * 1024;

/** A key pair of age: 'AGE-SECRET-KEY-1…' and its 'age1…'. */
export interface KeyPair {
  readonly identity: string;
  readonly recipient: string;
}

export async function generateKeyPair(): Promise<KeyPair> {
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

export function recipientOf(identity: string): Promise<string> {
  return identityToRecipient(identity);
}

/** The lines of a recipients or identity file that are no comments. */
export function parseKeyFile(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** Throws a BackupError for a recipient that age does not know. */
export async function* seal(
  plain: AsyncIterable<Uint8Array>,
  recipients: readonly string[],
): AsyncGenerator<Uint8Array, void, void> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) addRecipient(encrypter, recipient);
  const compressed = Readable.from(gathered(plain), { objectMode: false }).compose(
    createZstdCompress(ZSTD_OPTIONS),
  );
  yield* await encrypter.encrypt(webOf(compressed as AsyncIterable<Uint8Array>));
}

/** Not Readable.toWeb: a reader that gives up, as on a full disk, is an uncaught AbortError there. */
function webOf(source: AsyncIterable<Uint8Array>): globalThis.ReadableStream<Uint8Array> {
  return ReadableStream.from(source) as unknown as globalThis.ReadableStream<Uint8Array>;
}

function addRecipient(encrypter: Encrypter, recipient: string): void {
  try {
    encrypter.addRecipient(recipient);
  } catch (error) {
    throw new BackupError(
      'wrong-key',
      `"${recipient.slice(0, 20)}…" is not a recipient of age, which begin with age1`,
      error,
    );
  }
}

async function* gathered(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void, void> {
  let chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source) {
    chunks.push(chunk);
    size += chunk.length;
    if (size < PIECE_BYTES) continue;
    yield Buffer.concat(chunks, size);
    chunks = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(chunks, size);
}

/** Throws BackupError 'wrong-key' or 'damaged'. Errors of the source pass as they are. */
export async function* unseal(
  sealed: AsyncIterable<Uint8Array>,
  identities: readonly string[],
): AsyncGenerator<Uint8Array, void, void> {
  let sourceError: unknown;
  const guarded = (async function* () {
    try {
      yield* sealed;
    } catch (error) {
      sourceError = error;
      throw error;
    }
  })();
  try {
    const decrypted = await decrypter(identities).decrypt(webOf(guarded));
    const source = Readable.fromWeb(decrypted as unknown as ReadableStream);
    yield* source.compose(createZstdDecompress()) as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw sourceError ?? explain(error);
  }
}

function decrypter(identities: readonly string[]): Decrypter {
  const made = new Decrypter();
  for (const identity of identities)
    try {
      made.addIdentity(identity);
    } catch (error) {
      throw new BackupError(
        'wrong-key',
        'a line of the identity file is not a key of age, which begin with AGE-SECRET-KEY-1',
        error,
      );
    }
  return made;
}

function explain(error: unknown): unknown {
  if (error instanceof BackupError || !(error instanceof Error)) return error;
  if (/no identity matched/.test(error.message))
    return new BackupError(
      'wrong-key',
      'it is encrypted for another key: give its key with --identity-file',
      error,
    );
  return new BackupError('damaged', 'it was altered or cut: it cannot be decrypted to its end', error);
}
