/**
 * Signed JSON Web Tokens (RFC 7519, 7515, 7518): the asymmetric algorithms, and only those. 'none' and HMAC do not exist here, nothing in a
 * token's header chooses a key (jku, jwk, x5u and x5c are never read), and claims are the caller's concern.
 */
import {
  constants,
  createHash,
  createPrivateKey,
  createPublicKey,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';

interface AlgorithmFacts {
  readonly hash: string;
  readonly keyType: 'rsa' | 'ec';
  readonly curve?: string;
  readonly pss?: boolean;
}

export type SigningAlgorithm =
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'ES256'
  | 'ES384'
  | 'ES512'
  | 'PS256'
  | 'PS384'
  | 'PS512';

const ALGORITHMS: Readonly<Record<SigningAlgorithm, AlgorithmFacts>> = {
  RS256: { hash: 'sha256', keyType: 'rsa' },
  RS384: { hash: 'sha384', keyType: 'rsa' },
  RS512: { hash: 'sha512', keyType: 'rsa' },
  ES256: { hash: 'sha256', keyType: 'ec', curve: 'prime256v1' },
  ES384: { hash: 'sha384', keyType: 'ec', curve: 'secp384r1' },
  ES512: { hash: 'sha512', keyType: 'ec', curve: 'secp521r1' },
  PS256: { hash: 'sha256', keyType: 'rsa', pss: true },
  PS384: { hash: 'sha384', keyType: 'rsa', pss: true },
  PS512: { hash: 'sha512', keyType: 'rsa', pss: true },
};

export const SIGNING_ALGORITHMS = Object.keys(ALGORITHMS) as readonly SigningAlgorithm[];

/** A key and the one algorithm it is used with. */
export interface VerificationKey {
  readonly id: string;
  readonly algorithm: SigningAlgorithm;
  readonly key: KeyObject;
}
export type Claims = Readonly<Record<string, unknown>>;
export interface ParsedToken {
  readonly header: Claims;
  readonly claims: Claims;
  readonly signed: Buffer;
  readonly signature: Buffer;
}

/** From a public (or private) key in PEM. The id is SHA-256 of the SubjectPublicKeyInfo. Throws for a key of another kind. */
export function verificationKey(pem: string): VerificationKey {
  const key = createPublicKey(pem);
  const id = createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64url');
  return { id, key, algorithm: usualAlgorithm(key) };
}

function usualAlgorithm(key: KeyObject): SigningAlgorithm {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  const found =
    key.asymmetricKeyType === 'rsa'
      ? 'RS256'
      : SIGNING_ALGORITHMS.find((name) => curve !== undefined && ALGORITHMS[name].curve === curve);
  if (!found)
    throw new Error(
      `a signing key must be RSA or ECDSA (P-256, P-384, P-521), not ${curve ?? key.asymmetricKeyType}`,
    );
  return found;
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
    const signature = sign(ALGORITHMS[this.publicKey.algorithm].hash, Buffer.from(signed), {
      key: this.#key,
      dsaEncoding: 'ieee-p1363',
    });
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
  return header && claims
    ? { header, claims, signed: Buffer.from(`${head}.${body}`), signature: Buffer.from(tail, 'base64url') }
    : undefined;
}

function decode(part: string): Claims | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Claims)
      : undefined;
  } catch {
    return undefined;
  }
}

/** The key named by `kid` first, else every key: the algorithm is always the key's own, never the token's choice. */
export function verifyJwt(token: ParsedToken, keys: readonly VerificationKey[]): boolean {
  const { alg, kid, crit } = token.header;
  if (crit !== undefined) return false;
  const named = keys.filter(({ id }) => id === kid);
  return (named.length > 0 ? named : keys).some(
    (key) => alg === key.algorithm && verifySignature(token, key),
  );
}

/** Nothing but the signature; the caller has checked that the token's algorithm is one it accepts. */
export function verifySignature(
  { signed, signature }: ParsedToken,
  { algorithm, key }: VerificationKey,
): boolean {
  const { hash, pss } = ALGORITHMS[algorithm];
  const padding = pss
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    : {};
  return verify(hash, signed, { key, dsaEncoding: 'ieee-p1363', ...padding }, signature);
}

/** Whether this key can have made a signature of this algorithm. */
export function fitsAlgorithm(key: KeyObject, algorithm: SigningAlgorithm): boolean {
  const { keyType, curve } = ALGORITHMS[algorithm];
  return (
    key.asymmetricKeyType === keyType &&
    (curve === undefined || key.asymmetricKeyDetails?.namedCurve === curve)
  );
}

/** One key of a JSON Web Key Set. */
export function jsonWebKey({ key, id, algorithm }: VerificationKey): Record<string, unknown> {
  const { kty, crv, x, y, n, e } = key.export({ format: 'jwk' });
  return { use: 'sig', kty, kid: id, alg: algorithm, ...(kty === 'EC' ? { crv, x, y } : { n, e }) };
}
