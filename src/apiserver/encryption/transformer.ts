/** Transforms an object's bytes before they are stored: one for each encrypted resource. */

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
  /** Prefix of the stored form; '' for plain values. */
  readonly prefix: string;
  /** Without the prefix. Asynchronous only where a remote key must be fetched first; rejects with TransformError. */
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

/** Prefix of all stored forms except plain ones. */
const ENCRYPTED_PREFIX = Buffer.from('k8s:enc:');

export function isEncrypted(stored: Buffer): boolean {
  return (
    stored[0] === ENCRYPTED_PREFIX[0] && stored.subarray(0, ENCRYPTED_PREFIX.length).equals(ENCRYPTED_PREFIX)
  );
}

export const IDENTITY_PROBLEM = 'identity transformer tried to read encrypted data';
