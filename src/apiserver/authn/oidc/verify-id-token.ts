/** Signature, issuer, audience and times of an ID token, in the order and with the words of the library upstream uses. */
import { isoTime } from '#stdx/dates.ts';
import { verifySignature, SIGNING_ALGORITHMS, type ParsedToken, type SigningAlgorithm } from '#stdx/jwt.ts';
import type { IssuerKeys } from './issuer-keys.ts';

interface VerifyOptions {
  readonly issuer: string;
  /** One of them must be the token's. */
  readonly audiences: readonly string[];
  readonly algorithms: readonly SigningAlgorithm[];
  readonly keys: IssuerKeys;
  readonly nowMs: number;
  /** Waits for a fetch of the keys; may refuse, to bound the number of waiting tokens. */
  readonly waitForKeys?: ((fetched: Promise<void>) => Promise<void>) | undefined;
}

/** "Not before" is forgiven this much, since clocks differ; the end is not. */
const NOT_BEFORE_LEEWAY_MS = 5 * 60_000;

/** Resolves to the generation of the keys that signed it; rejects with an Error for a token that is not good. */
export async function verifyIdToken(token: ParsedToken, options: VerifyOptions): Promise<number> {
  const { keys, waitForKeys = (fetched) => fetched } = options;
  checkClaims(token, options);
  const algorithm = algorithmOf(token, options);
  let { generation } = keys;
  if (await isSigned(token, algorithm, options)) return generation;
  const refetched = keys.refetch();
  if (!refetched) throw notVerified();
  await waitForKeys(refetched);
  ({ generation } = keys);
  if (await isSigned(token, algorithm, options)) return generation;
  throw notVerified();
}

function notVerified(): Error {
  return new Error('oidc: verify token: failed to verify signature: failed to verify id token signature');
}

function isSigned(
  token: ParsedToken,
  algorithm: SigningAlgorithm,
  { keys }: VerifyOptions,
): Promise<boolean> {
  return verifySignature(token, keys.find(token.header['kid'], algorithm));
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

/** ECMAScript: dates reach so far. */
const MAX_DATE_SECONDS = 8.64e12;

function timeOf(seconds: number): string {
  return Math.abs(seconds) <= MAX_DATE_SECONDS ? isoTime(seconds * 1000) : String(seconds);
}

function quoted(values: readonly string[]): string {
  return `[${values.map((value) => JSON.stringify(value)).join(' ')}]`;
}
