/**
 * Authenticates tokens of all configured issuers: selects the issuer, caches a bounded number of verified tokens, and accepts a new set of issuers
 * at run time. A slow or unavailable issuer delays its own tokens only.
 */
import { hash } from 'node:crypto';
import type { Clock } from '#stdx/clock.ts';
import { parseJwt } from '#stdx/jwt.ts';
import type { Authenticated } from '../authenticator.ts';
import type { TokenAuthenticator } from '../token.ts';
import type { JwtAuthenticator, JwtUser } from './jwt-authenticator.ts';

interface JwtAuthenticatorsOptions {
  readonly apiAudiences: readonly string[];
  readonly clock: Clock;
}

/** Verified tokens remembered; the oldest is forgotten first. */
const CACHE_LIMIT = 8192;

interface Remembered {
  readonly by: JwtAuthenticator;
  readonly generation: number;
  readonly untilMs: number;
  readonly found: Authenticated;
}

export class JwtAuthenticators implements TokenAuthenticator {
  readonly #options: JwtAuthenticatorsOptions;
  readonly #remembered = new Map<string, Remembered>();
  #byIssuer: ReadonlyMap<string, JwtAuthenticator> = new Map();
  #current: ReadonlySet<JwtAuthenticator> = new Set();

  constructor(options: JwtAuthenticatorsOptions) {
    this.#options = options;
  }

  /** Replaces the authenticators, by issuer. The caller closes the removed ones. */
  replace(byIssuer: ReadonlyMap<string, JwtAuthenticator>): void {
    this.#byIssuer = byIssuer;
    this.#current = new Set(byIssuer.values());
    this.#remembered.clear();
  }

  /** Synchronous for tokens seen before and for those of other issuers. */
  authenticateToken(
    token: string,
    audiences: readonly string[],
  ): Authenticated | undefined | Promise<Authenticated> {
    if (this.#byIssuer.size === 0) return undefined;
    const { apiAudiences, clock } = this.#options;
    // ID tokens are valid for the server, whatever its audience names.
    const accepted =
      audiences === apiAudiences
        ? apiAudiences
        : apiAudiences.filter((audience) => audiences.includes(audience));
    if (accepted.length === 0) return undefined;
    const digest = hash('sha256', token, 'base64');
    const known = this.#remembered.get(digest);
    if (known && known.generation === known.by.keys.generation && clock.now() <= known.untilMs)
      return accepted === apiAudiences ? known.found : { ...known.found, audiences: accepted };
    this.#remembered.delete(digest);
    const parsed = parseJwt(token);
    const issuer = parsed?.claims['iss'];
    const by = typeof issuer === 'string' ? this.#byIssuer.get(issuer) : undefined;
    if (!parsed || !by) return undefined;
    return by.authenticate(parsed).then((answer) => {
      const found = this.#remember(digest, { by, answer });
      return accepted === apiAudiences ? found : { ...found, audiences: accepted };
    });
  }

  #remember(
    digest: string,
    {
      by,
      answer: { user, untilMs, generation },
    }: { readonly by: JwtAuthenticator; readonly answer: JwtUser },
  ): Authenticated {
    const found: Authenticated = { user, audiences: this.#options.apiAudiences };
    // The issuers may have been replaced in the meantime.
    if (!this.#current.has(by)) return found;
    if (this.#remembered.size >= CACHE_LIMIT) this.#remembered.delete(this.#remembered.keys().next().value!);
    this.#remembered.set(digest, { by, generation, untilMs, found });
    return found;
  }
}
