/**
 * Salted password hashes: scrypt (RFC 7914) in the PHC string format, '$scrypt$ln=15,r=8,p=1$SALT$HASH' with unpadded base64. ln is the base-2
 * logarithm of scrypt's N. Hashing runs on libuv's threads, a few at a time and with a bounded queue, so that a flood of guesses neither stops
 * the event loop nor fills memory.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

export interface PasswordHash {
  readonly log2N: number;
  readonly blockSize: number;
  readonly parallelism: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** OWASP's second choice of equal strength: 32 MiB and some 80 ms a guess. */
const DEFAULTS = { log2N: 15, blockSize: 8, parallelism: 3 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Memory of one running hash: 128 · N · r bytes. */
const MAX_MEMORY_BYTES = 256 * 1024 * 1024;
const FORM = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/** Throws an Error with the reason, without quoting the hash. */
export function parsePasswordHash(text: string): PasswordHash {
  const [, ln, r, p, salt, hash] = FORM.exec(text) ?? [];
  if (ln === undefined || salt === undefined || hash === undefined)
    throw new Error(
      "the password is not a hash of the form $scrypt$ln=15,r=8,p=3$SALT$HASH (make one with 'capstan user hash-password')",
    );
  const parsed = {
    log2N: Number(ln),
    blockSize: Number(r),
    parallelism: Number(p),
    salt: Buffer.from(salt, 'base64'),
    hash: Buffer.from(hash, 'base64'),
  };
  if (parsed.log2N < 14 || parsed.log2N > 20)
    throw new Error(`the password hash has ln=${parsed.log2N}; it should be from 14 to 20`);
  if (parsed.blockSize < 8 || parsed.blockSize > 32)
    throw new Error(`the password hash has r=${parsed.blockSize}; it should be from 8 to 32`);
  if (parsed.parallelism < 1 || parsed.parallelism > 16)
    throw new Error(`the password hash has p=${parsed.parallelism}; it should be from 1 to 16`);
  if (memoryBytes(parsed) > MAX_MEMORY_BYTES)
    throw new Error(`the password hash needs more than ${MAX_MEMORY_BYTES / 1024 / 1024} MiB to check`);
  if (parsed.salt.length < SALT_BYTES || parsed.salt.length > 64)
    throw new Error(
      `the salt of the password hash has ${parsed.salt.length} bytes; it should have from 16 to 64`,
    );
  if (parsed.hash.length < HASH_BYTES || parsed.hash.length > 64)
    throw new Error(`the password hash has ${parsed.hash.length} bytes; it should have from 32 to 64`);
  return parsed;
}

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(password, { ...DEFAULTS, salt, hash: Buffer.alloc(HASH_BYTES) });
  const base64 = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '');
  return `$scrypt$ln=${DEFAULTS.log2N},r=${DEFAULTS.blockSize},p=${DEFAULTS.parallelism}$${base64(salt)}$${base64(hash)}`;
}

/** Takes as long for a right password as for a wrong one. */
export async function matchesHash(password: string, expected: PasswordHash): Promise<boolean> {
  return timingSafeEqual(await derive(password, expected), expected.hash);
}

/** A dummy hash as costly as `like`: verified for unknown names. */
export function createDecoy(like: PasswordHash): PasswordHash {
  return { ...like, salt: randomBytes(like.salt.length), hash: randomBytes(like.hash.length) };
}

export function defaultDecoy(): PasswordHash {
  return { ...DEFAULTS, salt: randomBytes(SALT_BYTES), hash: randomBytes(HASH_BYTES) };
}

function memoryBytes({ log2N, blockSize }: Pick<PasswordHash, 'log2N' | 'blockSize'>): number {
  return 128 * 2 ** log2N * blockSize;
}

function derive(
  password: string,
  { log2N, blockSize, parallelism, salt, hash }: PasswordHash,
): Promise<Buffer> {
  const options = {
    N: 2 ** log2N,
    r: blockSize,
    p: parallelism,
    maxmem: memoryBytes({ log2N, blockSize }) + 4 * 1024 * 1024,
  };
  return new Promise((resolve, reject) =>
    scrypt(password.normalize('NFC'), salt, hash.length, options, (error, derived) => {
      if (error) reject(error);
      else resolve(derived);
    }),
  );
}
