/**
 * Signed JSON Web Tokens (RFC 7519, 7515, 7518) with `jose`: asymmetric algorithms only, neither 'none' nor HMAC. A token's header never
 * selects a key (jku, jwk, x5u and x5c are ignored), and claims are checked by the caller. Tokens are parsed here, because
 * that must be synchronous and selects the verifier; the library signs and verifies, in the thread pool.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

interface AlgorithmFacts {
  readonly keyType: 'rsa' | 'ec';
  readonly curve?: string;
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
  RS256: { keyType: 'rsa' },
  RS384: { keyType: 'rsa' },
  RS512: { keyType: 'rsa' },
  ES256: { keyType: 'ec', curve: 'prime256v1' },
  ES384: { keyType: 'ec', curve: 'secp384r1' },
  ES512: { keyType: 'ec', curve: 'secp521r1' },
  PS256: { keyType: 'rsa' },
  PS384: { keyType: 'rsa' },
  PS512: { keyType: 'rsa' },
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
  /** The whole token, unchanged. */
  readonly compact: string;
}

/** RFC 7518 requires this for every RSA algorithm, and so does the library. */
export const MIN_RSA_BITS = 2048;

interface Jose {
  readonly CompactSign: typeof import('jose').CompactSign;
  readonly compactVerify: typeof import('jose').compactVerify;
}
let library: Promise<Jose> | undefined;

/** Loaded with the first token, so that the server starts faster. */
function jose(): Promise<Jose> {
  library ??= Promise.all([import('jose/jws/compact/sign'), import('jose/jws/compact/verify')]).then(
    ([{ CompactSign }, { compactVerify }]) => ({ CompactSign, compactVerify }),
  );
  return library;
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
  const { modulusLength } = key.asymmetricKeyDetails ?? {};
  if (modulusLength !== undefined && modulusLength < MIN_RSA_BITS)
    throw new Error(`an RSA signing key must have at least ${MIN_RSA_BITS} bits, not ${modulusLength}`);
  return found;
}

/** Signs claims with one private key. */
export class JwtSigner {
  readonly publicKey: VerificationKey;
  readonly #key: KeyObject;

  /** Throws an Error for a key that cannot be used. */
  constructor(privateKeyPem: string) {
    this.#key = createPrivateKey(privateKeyPem);
    this.publicKey = verificationKey(privateKeyPem);
  }

  async sign(claims: Claims): Promise<string> {
    const { CompactSign } = await jose();
    const { algorithm: alg, id: kid } = this.publicKey;
    return new CompactSign(Buffer.from(JSON.stringify(claims)))
      .setProtectedHeader({ alg, kid })
      .sign(this.#key);
  }
}

/** undefined when it is not a well-formed JWT. Verifies nothing. */
export function parseJwt(token: string): ParsedToken | undefined {
  const parts = token.split('.');
  if (parts.length !== 3 || parts.some((part) => !/^[A-Za-z0-9_-]+$/.test(part))) return undefined;
  const [head = '', body = ''] = parts;
  const header = decode(head);
  const claims = decode(body);
  return header && claims ? { header, claims, compact: token } : undefined;
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
export async function verifyJwt(token: ParsedToken, keys: readonly VerificationKey[]): Promise<boolean> {
  const { alg, kid } = token.header;
  const named = keys.filter(({ id }) => id === kid);
  const candidates = (named.length > 0 ? named : keys).filter(({ algorithm }) => algorithm === alg);
  return verifySignature(token, candidates);
}

/** Verifies only the signature, by any of these keys; extensions (`crit`) are rejected. */
export async function verifySignature(
  { header, compact }: ParsedToken,
  keys: readonly VerificationKey[],
): Promise<boolean> {
  if (header['crit'] !== undefined) return false;
  const { compactVerify } = await jose();
  for (const { key, algorithm } of keys) {
    try {
      await compactVerify(compact, key, { algorithms: [algorithm] });
      return true;
    } catch (error) {
      if (!isVerdict(error)) throw error;
    }
  }
  return false;
}

/** Errors of the library have a code; any other error says nothing about the token. */
function isVerdict(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_J');
}

/** Whether this key supports the algorithm. */
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
