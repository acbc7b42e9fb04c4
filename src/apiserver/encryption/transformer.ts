/** What stands between an object's bytes and the store's: one for each resource that is encrypted. */

export interface Plain {
  readonly value: Buffer;
  /** It would be stored otherwise if it were written now: with another key or provider. */
  readonly stale: boolean;
}

/**
 * context is the object's storage key ('/registry/secrets/ns/name'), which the stored form is bound to: bytes that are moved to another key
 * do not decrypt there. Both throw TransformError. Values are never changed in place.
 */
export interface Transformer {
  /** Under this the stored form begins; '' for what is stored as it is. */
  readonly prefix: string;
  /** Without the prefix. A promise only where a remote key has to be fetched first; rejects with TransformError. */
  fromStorage(stored: Buffer, context: string): Plain | Promise<Plain>;
  /** Without the prefix. */
  toStorage(value: Buffer, context: string): Buffer;
}

export class TransformError extends Error {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = 'TransformError';
  }
}

/** All stored forms but plain ones begin so. */
const ENCRYPTED_PREFIX = Buffer.from('k8s:enc:');

export function isEncrypted(stored: Buffer): boolean {
  return (
    stored[0] === ENCRYPTED_PREFIX[0] && stored.subarray(0, ENCRYPTED_PREFIX.length).equals(ENCRYPTED_PREFIX)
  );
}

export const IDENTITY_PROBLEM = 'identity transformer tried to read encrypted data';
