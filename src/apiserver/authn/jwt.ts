/** Signed JSON Web Tokens (RFC 7519) as service account tokens use them: ES256/384/512 and RS256, nothing else. Claims are the caller's concern. */
import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';

type Algorithm = 'ES256' | 'ES384' | 'ES512' | 'RS256';

const HASHES: Readonly<Record<Algorithm, string>> = { ES256: 'sha256', ES384: 'sha384', ES512: 'sha512', RS256: 'sha256' };
const CURVES: Readonly<Record<string, Algorithm>> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' };

export interface VerificationKey { readonly id: string; readonly algorithm: Algorithm; readonly key: KeyObject }
export type Claims = Readonly<Record<string, unknown>>;
export interface ParsedToken { readonly header: Claims; readonly claims: Claims; readonly signed: Buffer; readonly signature: Buffer }

/** From a public (or private) key in PEM. The id is upstream's: SHA-256 of the SubjectPublicKeyInfo. Throws for a key of another kind. */
export function verificationKey(pem: string): VerificationKey {
  const key = createPublicKey(pem);
  const id = createHash('sha256').update(key.export({ type: 'spki', format: 'der' })).digest('base64url');
  return { id, key, algorithm: algorithmOf(key) };
}

function algorithmOf(key: KeyObject): Algorithm {
  if (key.asymmetricKeyType === 'rsa') return 'RS256';
  const algorithm = CURVES[key.asymmetricKeyDetails?.namedCurve ?? ''];
  if (!algorithm) throw new Error(`a service account key must be RSA or ECDSA (P-256, P-384, P-521), not ${key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType}`);
  return algorithm;
}

/** Signs claims with one private key. */
export class JwtSigner {
  readonly publicKey: VerificationKey;
  readonly #key: KeyObject;
  readonly #header: string;

  constructor(privateKeyPem: string) {
    this.#key = createPrivateKey(privateKeyPem);
    this.publicKey = verificationKey(privateKeyPem);
    this.#header = encode({ alg: this.publicKey.algorithm, kid: this.publicKey.id });
  }

  sign(claims: Claims): string {
    const signed = `${this.#header}.${encode(claims)}`;
    const signature = sign(HASHES[this.publicKey.algorithm], Buffer.from(signed), { key: this.#key, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  }
}

function encode(value: Claims): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** undefined when it is not of a JWT's form. Nothing is verified. */
export function parseJwt(token: string): ParsedToken | undefined {
  const parts = token.split('.');
  if (parts.length !== 3 || parts.some((part) => !/^[A-Za-z0-9_-]+$/.test(part))) return undefined;
  const [head = '', body = '', tail = ''] = parts;
  const header = decode(head);
  const claims = decode(body);
  return header && claims ? { header, claims, signed: Buffer.from(`${head}.${body}`), signature: Buffer.from(tail, 'base64url') } : undefined;
}

function decode(part: string): Claims | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Claims : undefined;
  } catch {
    return undefined;
  }
}

/** The key named by `kid` first, else every key: the algorithm is always the key's own, never the token's choice. */
export function verifyJwt(token: ParsedToken, keys: readonly VerificationKey[]): boolean {
  const { alg, kid, crit } = token.header;
  if (crit !== undefined) return false;
  const named = keys.filter(({ id }) => id === kid);
  return (named.length > 0 ? named : keys).some(({ algorithm, key }) =>
    alg === algorithm && verify(HASHES[algorithm], token.signed, { key, dsaEncoding: 'ieee-p1363' }, token.signature));
}

/** One key of a JSON Web Key Set. */
export function jsonWebKey({ key, id, algorithm }: VerificationKey): Record<string, unknown> {
  const { kty, crv, x, y, n, e } = key.export({ format: 'jwk' });
  return { use: 'sig', kty, kid: id, alg: algorithm, ...(kty === 'EC' ? { crv, x, y } : { n, e }) };
}
