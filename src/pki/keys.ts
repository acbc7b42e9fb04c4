/** Private and public keys: makes them, hashes them, signs with them. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
  type KeyObject,
  type X509Certificate,
} from 'node:crypto';
import { assert } from '#stdx/assert.ts';
import { bitString, derNull, oid, readAll, readOne, sequence } from './der.ts';

/** kubeadm's encryptionAlgorithm. */
export const KEY_ALGORITHMS = ['ECDSA-P256', 'ECDSA-P384', 'RSA-2048', 'RSA-3072', 'RSA-4096'] as const;
export type KeyAlgorithm = (typeof KEY_ALGORITHMS)[number];

/** A new private key, PKCS#8 PEM. RSA keys take a tenth of a second to some seconds. */
export function generateKeyPem(algorithm: KeyAlgorithm = 'ECDSA-P256'): string {
  const [, kind = '', size = ''] = /^(ECDSA-P|RSA-)(\d+)$/.exec(algorithm) ?? [];
  const { privateKey } =
    kind === 'RSA-'
      ? generateKeyPairSync('rsa', { modulusLength: Number(size) })
      : generateKeyPairSync('ec', { namedCurve: `P-${size}` });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

/** SubjectPublicKeyInfo, PEM. From a private key's PEM. */
export function publicKeyPem(keyPem: string): string {
  return createPublicKey(keyPem).export({ type: 'spki', format: 'pem' }) as string;
}

/** SubjectPublicKeyInfo of a private or public key, DER. */
export function publicKeyDer(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key as unknown as string) : key;
  return publicKey.export({ type: 'spki', format: 'der' });
}

/** 'sha256:HEX' of a certificate's SubjectPublicKeyInfo, as kubeadm's --discovery-token-ca-cert-hash. */
export function publicKeyHash(certificate: X509Certificate): string {
  return `sha256:${createHash('sha256').update(publicKeyDer(certificate.publicKey)).digest('hex')}`;
}

/** RFC 5280, 4.2.1.2 method 1: SHA-1 of the public key's bits. */
export function computeKeyId(spki: Buffer): Buffer {
  const bits = readAll(readOne(spki).content)[1];
  assert(bits !== undefined, 'a SubjectPublicKeyInfo has an algorithm and a key');
  return createHash('sha1').update(bits.content.subarray(1)).digest();
}

/** Comparing public parts is not enough: a private key contains a copy of its public one, which stays right when a bit of the rest has flipped. */
export function signsForItself(key: KeyObject): boolean {
  const text = Buffer.from('signed to be verified at once');
  const hash = key.asymmetricKeyType === 'rsa' || key.asymmetricKeyType === 'ec' ? 'sha256' : null;
  try {
    return verify(hash, text, createPublicKey(key as unknown as string), sign(hash, text, key));
  } catch {
    return false; // OpenSSL found it itself
  }
}

const OID = {
  rsaSha256: '1.2.840.113549.1.1.11',
  ecdsaSha256: '1.2.840.10045.4.3.2',
  ecdsaSha384: '1.2.840.10045.4.3.3',
  ecdsaSha512: '1.2.840.10045.4.3.4',
  ed25519: '1.3.101.112',
} as const;

/** A key that certificates and requests cannot be signed with. */
class KeyError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'KeyError';
  }
}

interface SignatureAlgorithm {
  /** null: the algorithm has its own. */
  readonly hash: string | null;
  /** AlgorithmIdentifier, DER. */
  readonly identifier: Buffer;
}

/** The key's signature algorithm. Throws KeyError. */
export function signatureAlgorithm(key: KeyObject): SignatureAlgorithm {
  const { asymmetricKeyType: type } = key;
  if (type === 'rsa') return { hash: 'sha256', identifier: sequence(oid(OID.rsaSha256), derNull()) };
  if (type === 'ed25519') return { hash: null, identifier: sequence(oid(OID.ed25519)) };
  const curve = type === 'ec' ? key.asymmetricKeyDetails?.namedCurve : undefined;
  if (curve === 'prime256v1') return { hash: 'sha256', identifier: sequence(oid(OID.ecdsaSha256)) };
  if (curve === 'secp384r1') return { hash: 'sha384', identifier: sequence(oid(OID.ecdsaSha384)) };
  if (curve === 'secp521r1') return { hash: 'sha512', identifier: sequence(oid(OID.ecdsaSha512)) };
  throw new KeyError(
    `the signing key is of type ${curve ?? type ?? 'unknown'}; it should be RSA, Ed25519, or ECDSA on P-256, P-384 or P-521`,
  );
}

/** SEQUENCE { body, algorithm, signature }: a certificate or a request. */
export function signed(body: Buffer, key: KeyObject): Buffer {
  const { hash, identifier } = signatureAlgorithm(key);
  return sequence(body, identifier, bitString(sign(hash, body, key)));
}

/** Throws KeyError for anything but a private key in PEM. */
export function parsePrivateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw new KeyError('not a private key in PEM');
  }
}
