/** Signature, issuer, audience and times of an ID token, in the order and with the words of the library upstream uses. */
import { verifySignature, SIGNING_ALGORITHMS, type ParsedToken, type SigningAlgorithm } from '#stdx/jwt.ts';
import type { IssuerKeys } from './issuer-keys.ts';

interface VerifyOptions {
  readonly issuer: string;
  /** One of them must be the token's. */
  readonly audiences: readonly string[];
  readonly algorithms: readonly SigningAlgorithm[];
  readonly keys: IssuerKeys;
  readonly nowMs: number;
}

/** "Not before" is forgiven this much, since clocks differ; the end is not. */
const NOT_BEFORE_LEEWAY_MS = 5 * 60_000;

/** Throws an Error for a token that is not good; a promise only where the issuer's keys have to be fetched anew. */
export function verifyIdToken(token: ParsedToken, options: VerifyOptions): void | Promise<void> {
  checkClaims(token, options);
  const algorithm = algorithmOf(token, options);
  if (isSigned(token, algorithm, options)) return undefined;
  const refetched = options.keys.refetch();
  if (!refetched) throw notVerified();
  return refetched.then(() => {
    if (!isSigned(token, algorithm, options)) throw notVerified();
  });
}

function notVerified(): Error {
  return new Error('oidc: verify token: failed to verify signature: failed to verify id token signature');
}

function isSigned(token: ParsedToken, algorithm: SigningAlgorithm, { keys }: VerifyOptions): boolean {
  return keys.find(token.header['kid'], algorithm).some((key) => verifySignature(token, key));
}

function algorithmOf(
  { header: { alg, crit } }: ParsedToken,
  { algorithms }: VerifyOptions,
): SigningAlgorithm {
  const known = SIGNING_ALGORITHMS.find((one) => one === alg);
  if (crit !== undefined)
    throw new Error('oidc: verify token: oidc: malformed jwt: critical header parameters are not supported');
  if (!known || !algorithms.includes(known))
    throw new Error(
      `oidc: verify token: oidc: id token signed with unsupported algorithm, expected ${quoted(algorithms)} got ${JSON.stringify(String(alg))}`,
    );
  return known;
}

function checkClaims({ claims }: ParsedToken, { issuer, audiences, nowMs }: VerifyOptions): void {
  const { iss, aud, exp, nbf } = claims;
  if (iss !== issuer)
    throw new Error(
      `oidc: verify token: oidc: id token issued by a different provider, expected ${JSON.stringify(issuer)} got ${JSON.stringify(iss)}`,
    );
  if (typeof exp !== 'number' || exp * 1000 < nowMs)
    throw new Error(
      `oidc: verify token: oidc: token is expired (Token Expiry: ${typeof exp === 'number' ? timeOf(exp) : 'none'})`,
    );
  if (nbf !== undefined && (typeof nbf !== 'number' || nowMs + NOT_BEFORE_LEEWAY_MS < nbf * 1000)) {
    throw new Error(
      `oidc: verify token: oidc: current time ${timeOf(nowMs / 1000)} before the nbf (not before) time: ${typeof nbf === 'number' ? timeOf(nbf) : String(nbf)}`,
    );
  }
  const given =
    typeof aud === 'string'
      ? [aud]
      : Array.isArray(aud)
        ? aud.filter((one): one is string => typeof one === 'string')
        : [];
  if (!given.some((one) => audiences.includes(one)))
    throw new Error(
      `oidc: verify token: oidc: expected audience in ${quoted(audiences.toSorted())} got ${quoted(given)}`,
    );
}

function timeOf(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString();
}

function quoted(values: readonly string[]): string {
  return `[${values.map((value) => JSON.stringify(value)).join(' ')}]`;
}
