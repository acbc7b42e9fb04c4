/** Authenticates tokens of one configured issuer. jwt-authenticators.ts selects it by the token's issuer claim. */
import type { UserInfo } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import { SIGNING_ALGORITHMS, type Claims, type ParsedToken } from '#stdx/jwt.ts';
import type { Logger } from '#stdx/log.ts';
import { claimsToUser } from './claims-to-user.ts';
import type { JwtConfiguration } from './configuration.ts';
import { DistributedClaims } from './distributed-claims.ts';
import { IssuerMetrics } from './issuer-metrics.ts';
import { IssuerKeys } from './issuer-keys.ts';
import type { CompiledExpressions } from './validation.ts';
import { verifyIdToken } from './verify-id-token.ts';

interface JwtAuthenticatorOptions {
  readonly configuration: JwtConfiguration;
  readonly expressions: CompiledExpressions;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A user, the expiry of the cached result, and the issuer's key that verified it. */
export interface JwtUser {
  readonly user: UserInfo;
  readonly untilMs: number;
  readonly generation: number;
}

/** Claims from other sources than the token are refreshed after this time. */
const DISTRIBUTED_MS = 10_000;
/** Tokens that wait for keys or distributed claims at a time; more are refused, so that a slow issuer costs no more than this. */
const MAX_WAITING = 1000;

export class JwtAuthenticator {
  readonly keys: IssuerKeys;
  readonly metrics: IssuerMetrics;
  readonly #options: JwtAuthenticatorOptions;
  readonly #distributed: DistributedClaims | undefined;
  #waiting = 0;

  constructor(options: JwtAuthenticatorOptions) {
    const {
      configuration: { issuer, claimMappings, signingAlgorithms: algorithms = SIGNING_ALGORITHMS },
      clock,
      log,
    } = options;
    const { url, discoveryURL, certificateAuthority: ca, audiences = [] } = issuer;
    this.#options = options;
    this.metrics = new IssuerMetrics(url);
    this.keys = new IssuerKeys({ url, discoveryURL, ca, algorithms, metrics: this.metrics, clock, log });
    const claim = claimMappings.groups?.claim;
    this.#distributed = claim
      ? new DistributedClaims({ claim, audiences, algorithms, ca, clock, log })
      : undefined;
  }

  /** Rejects with an Error for a token that is not good. */
  async authenticate(token: ParsedToken): Promise<JwtUser> {
    const { clock } = this.#options;
    const startMs = clock.monotonic();
    try {
      const user = await this.#authenticate(token);
      this.metrics.verified('success', clock.monotonic() - startMs);
      return user;
    } catch (error) {
      this.metrics.verified('failure', clock.monotonic() - startMs);
      throw error;
    }
  }

  async #authenticate(token: ParsedToken): Promise<JwtUser> {
    const {
      configuration: {
        issuer: { url, audiences = [] },
        signingAlgorithms: algorithms = SIGNING_ALGORITHMS,
      },
      clock,
    } = this.#options;
    if (!this.keys.isReady)
      throw new Error(`oidc: verifier not initialized for issuer ${JSON.stringify(url)}`);
    const generation = await verifyIdToken(token, {
      issuer: url,
      audiences,
      algorithms,
      keys: this.keys,
      nowMs: clock.now(),
      waitForKeys: (fetched) => this.#bounded(fetched),
    });
    return this.#createAuditUser(token.claims, generation);
  }

  close(): void {
    this.keys.close();
    this.#distributed?.close();
  }

  async #createAuditUser(claims: Claims, generation: number): Promise<JwtUser> {
    const expiresMs = (claims['exp'] as number) * 1000;
    const resolved = this.#distributed?.resolve(claims);
    if (!resolved) return { user: claimsToUser(claims, this.#options), untilMs: expiresMs, generation };
    const all = await this.#bounded(resolved);
    return {
      user: claimsToUser(all, this.#options),
      untilMs: Math.min(expiresMs, this.#options.clock.now() + DISTRIBUTED_MS),
      generation,
    };
  }

  /** What waits for an issuer. */
  #bounded<T>(answer: Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING) {
      answer.catch(() => {});
      throw new Error(
        `oidc: too many tokens of issuer ${JSON.stringify(this.#options.configuration.issuer.url)} wait already`,
      );
    }
    this.#waiting++;
    return answer.finally(() => {
      this.#waiting--;
    });
  }
}
