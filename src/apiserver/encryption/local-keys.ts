/**
 * Providers with keys in the configuration, in upstream's formats:
 *
 *   aesgcm     nonce (12) │ ciphertext │ tag (16), the storage key as additional data
 *   aescbc     IV (16) │ ciphertext, PKCS #7 padding; not authenticated
 *   secretbox  nonce (24) │ tag (16) │ ciphertext of XSalsa20-Poly1305
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  randomBytes,
  type CipherGCMTypes,
  type KeyObject,
} from 'node:crypto';
import { createRequire } from 'node:module';
import type { Key } from './configuration.ts';
import { IDENTITY_PROBLEM, isEncrypted, TransformError, type Transformer } from './transformer.ts';

const GCM_NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CBC_BLOCK_BYTES = 16;
const BOX_NONCE_BYTES = 24;

/** AES-GCM with a random nonce, on raw bytes. */
export function sealGcm(key: KeyObject, value: Buffer, context: string): Buffer {
  const nonce = randomBytes(GCM_NONCE_BYTES);
  const cipher = createCipheriv(gcmOf(key), key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(context));
  return Buffer.concat([nonce, cipher.update(value), cipher.final(), cipher.getAuthTag()]);
}

/** Throws TransformError for a value of another key or context, or a modified one. */
export function openGcm(key: KeyObject, stored: Buffer, context: string): Buffer {
  if (stored.length < GCM_NONCE_BYTES + TAG_BYTES)
    throw new TransformError('the stored data was shorter than the required size');
  const decipher = createDecipheriv(gcmOf(key), key, stored.subarray(0, GCM_NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(Buffer.from(context));
  decipher.setAuthTag(stored.subarray(stored.length - TAG_BYTES));
  try {
    return Buffer.concat([
      decipher.update(stored.subarray(GCM_NONCE_BYTES, stored.length - TAG_BYTES)),
      decipher.final(),
    ]);
  } catch (error) {
    throw new TransformError('cipher: message authentication failed', { cause: error });
  }
}

function gcmOf(key: KeyObject): CipherGCMTypes {
  return `aes-${key.symmetricKeySize! * 8}-gcm` as CipherGCMTypes;
}

export function aesGcm({ name, secret }: Key): Transformer {
  const key = createSecretKey(secret);
  return {
    prefix: `k8s:enc:aesgcm:v1:${name}:`,
    fromStorage: (stored, context) => ({ value: openGcm(key, stored, context), stale: false }),
    toStorage: (value, context) => sealGcm(key, value, context),
  };
}

export function aesCbc({ name, secret }: Key): Transformer {
  const algorithm = `aes-${secret.length * 8}-cbc`,
    key = createSecretKey(secret);
  return {
    prefix: `k8s:enc:aescbc:v1:${name}:`,
    fromStorage(stored) {
      if (stored.length < CBC_BLOCK_BYTES)
        throw new TransformError('the stored data was shorter than the required size');
      if (stored.length % CBC_BLOCK_BYTES !== 0)
        throw new TransformError('the stored data is not a multiple of the block size');
      const decipher = createDecipheriv(algorithm, key, stored.subarray(0, CBC_BLOCK_BYTES));
      try {
        return {
          value: Buffer.concat([decipher.update(stored.subarray(CBC_BLOCK_BYTES)), decipher.final()]),
          stale: false,
        };
      } catch (error) {
        throw new TransformError('invalid padding on input', { cause: error });
      }
    },
    toStorage(value) {
      const iv = randomBytes(CBC_BLOCK_BYTES);
      const cipher = createCipheriv(algorithm, key, iv);
      return Buffer.concat([iv, cipher.update(value), cipher.final()]);
    },
  };
}

type Salsa = typeof import('@noble/ciphers/salsa.js');
const require = createRequire(import.meta.url);
let salsa: Salsa | undefined;

export function secretbox({ name, secret }: Key): Transformer {
  salsa ??= require('@noble/ciphers/salsa.js') as Salsa;
  const { xsalsa20poly1305 } = salsa;
  return {
    prefix: `k8s:enc:secretbox:v1:${name}:`,
    fromStorage(stored) {
      if (stored.length < BOX_NONCE_BYTES + TAG_BYTES)
        throw new TransformError('the stored data was shorter than the required size');
      try {
        return {
          value: Buffer.from(
            xsalsa20poly1305(secret, stored.subarray(0, BOX_NONCE_BYTES)).decrypt(
              stored.subarray(BOX_NONCE_BYTES),
            ),
          ),
          stale: false,
        };
      } catch (error) {
        throw new TransformError('secretbox: message authentication failed', { cause: error });
      }
    },
    toStorage(value) {
      const nonce = randomBytes(BOX_NONCE_BYTES);
      return Buffer.concat([nonce, xsalsa20poly1305(secret, nonce).encrypt(value)]);
    },
  };
}

export const identity: Transformer = {
  prefix: '',
  fromStorage(stored) {
    if (isEncrypted(stored)) throw new TransformError(IDENTITY_PROBLEM);
    return { value: stored, stale: false };
  },
  toStorage: (value) => value,
};
