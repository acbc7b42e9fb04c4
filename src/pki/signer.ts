/** Which certificate of a bundle signs: that of the key beside it, wherever it stands. Reads no files. */
import { X509Certificate, type KeyObject } from 'node:crypto';
import { splitPem } from './pem.ts';

/**
 * The bundle with the key's certificate first. While an authority is rotated, its key and its bundle are two files that are replaced one after the other:
 * in between, the key's certificate stands behind another one. Unchanged where none belongs to the key.
 */
export function signerFirst(bundle: string, key: KeyObject): string {
  const certificates = splitPem(bundle, 'CERTIFICATE');
  const signer = certificates.find((text) => belongs(text, key));
  if (signer === undefined || signer === certificates[0]) return bundle;
  return [signer, ...certificates.filter((text) => text !== signer)].join('');
}

function belongs(text: string, key: KeyObject): boolean {
  try {
    return new X509Certificate(text).checkPrivateKey(key);
  } catch {
    // A damaged one signs nothing; who reads the whole bundle reports it.
    return false;
  }
}
