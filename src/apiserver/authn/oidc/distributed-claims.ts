/**
 * Distributed claims (OpenID Connect Core 5.6.2): a groups claim too long for the token, which names an endpoint instead. Its response is a token of
 * another issuer and verified as such. JWTs in `_claim_sources` (aggregated claims) are ignored, as upstream does.
 */
import type { Clock } from '#stdx/clock.ts';
import { parseJwt, type Claims, type SigningAlgorithm } from '#stdx/jwt.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { httpsGet } from './https-get.ts';
import { IssuerKeys } from './issuer-keys.ts';
import { verifyIdToken } from './verify-id-token.ts';

interface DistributedClaimsOptions {
  /** The claim that may be elsewhere. */
  readonly claim: string;
  readonly audiences: readonly string[];
  readonly algorithms: readonly SigningAlgorithm[];
  readonly ca?: string | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Maximum of claim issuers whose keys are cached; more are refused. */
const MAX_ISSUERS = 16;

export class DistributedClaims {
  readonly #options: DistributedClaimsOptions;
  readonly #issuers = new Map<string, IssuerKeys>();

  constructor(options: DistributedClaimsOptions) {
    this.#options = options;
  }

  /** undefined = the claim is not elsewhere. Throws an Error for claims that cannot be made sense of; rejects when asking fails. */
  resolve(claims: Claims): Promise<Claims> | undefined {
    const { claim } = this.#options;
    if (claims[claim] !== undefined || claims['_claim_names'] === undefined) return undefined;
    const names = claims['_claim_names'] as Readonly<Record<string, unknown>> | null;
    if (typeof names !== 'object')
      throw new Error(
        'oidc: could not expand distributed claims: oidc: error parsing distributed claim names',
      );
    const sources = claims['_claim_sources'] as Readonly<Record<string, unknown>> | null | undefined;
    if (sources === undefined)
      throw new Error('oidc: could not expand distributed claims: oidc: no claim sources');
    const name = names?.[claim];
    if (typeof name !== 'string') return undefined;
    const source = sources?.[name] as { endpoint?: unknown; access_token?: unknown } | undefined;
    if (!source)
      throw new Error(
        `oidc: could not expand distributed claims: id token _claim_names contained a source ${name} missing in _claims_sources`,
      );
    if (typeof source.endpoint !== 'string' || source.endpoint === '') return undefined;
    return this.#ask(
      source.endpoint,
      typeof source.access_token === 'string' ? source.access_token : '',
    ).then(
      (value) => ({ ...claims, [claim]: value }),
      (error: unknown) => {
        throw new Error(`oidc: could not expand distributed claims: ${errorMessage(error)}`, {
          cause: error,
        });
      },
    );
  }

  close(): void {
    for (const issuer of this.#issuers.values()) issuer.close();
  }

  async #ask(endpoint: string, accessToken: string): Promise<unknown> {
    const { claim, ca, audiences, algorithms, clock } = this.#options;
    const { text } = await httpsGet(endpoint, {
      ca,
      headers: {
        accept: 'application/jwt',
        ...(accessToken ? { authorization: `Bearer ${accessToken}` } : {}),
      },
    }).catch((error: unknown) => {
      throw new Error(`while getting distributed claim ${JSON.stringify(claim)}: ${errorMessage(error)}`, {
        cause: error,
      });
    });
    const token = parseJwt(text.trim());
    const issuer = token?.claims['iss'];
    if (!token || typeof issuer !== 'string')
      throw new Error(
        `getting untrusted issuer from endpoint ${endpoint} failed for claim ${JSON.stringify(claim)}: oidc: malformed JWT`,
      );
    const keys = this.#keysOf(issuer);
    await keys.settled();
    if (keys.problem) throw new Error(`verifying untrusted issuer ${issuer} failed: ${keys.problem}`);
    await verifyIdToken(token, { issuer, audiences, algorithms, keys, nowMs: clock.now() });
    if (token.claims[claim] === undefined)
      throw new Error(
        `jwt returned by distributed claim endpoint ${endpoint} did not contain claim: ${claim}`,
      );
    return token.claims[claim];
  }

  #keysOf(url: string): IssuerKeys {
    const known = this.#issuers.get(url);
    if (known) return known;
    if (this.#issuers.size >= MAX_ISSUERS)
      throw new Error(
        `verifying untrusted issuer ${url} failed: more than ${MAX_ISSUERS} issuers of distributed claims`,
      );
    const { ca, algorithms, clock, log } = this.#options;
    const keys = new IssuerKeys({ url, ca, algorithms, clock, log });
    this.#issuers.set(url, keys);
    keys.start();
    return keys;
  }
}
