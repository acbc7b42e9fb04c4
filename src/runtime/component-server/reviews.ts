/**
 * Delegated authentication (TokenReview) and authorization (SubjectAccessReview), after upstream's: the API server is
 * queried, and results are cached with the TTLs of upstream's kubelet and components.
 */
import { createHash } from 'node:crypto';
import type { SubjectAccessReview, TokenReview } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { subjectAccessReviews, tokenReviews } from '#client/refs.ts';
import type { Clock } from '#stdx/clock.ts';
import { Lru } from '#stdx/lru.ts';

export type ReviewedUser = NonNullable<NonNullable<TokenReview['status']>['user']>;

type Attributes = Pick<SubjectAccessReview['spec'] & object, 'resourceAttributes' | 'nonResourceAttributes'>;

interface ReviewsOptions {
  readonly api: Pick<Client, 'create'>;
  readonly clock: Clock;
  readonly authenticatedMs: number;
  readonly allowedMs: number;
  readonly deniedMs: number;
}

const REMEMBERED = 1024;
/** Longer tokens are rejected without a TokenReview. */
const LONGEST_TOKEN = 64 * 1024;

export class Reviews {
  readonly #options: ReviewsOptions;
  /** Keyed by a digest, so that tokens themselves are not stored. */
  readonly #users: Lru<string, ReviewedUser>;
  readonly #decisions: Lru<string, boolean>;

  constructor(options: ReviewsOptions) {
    this.#options = options;
    const { clock, authenticatedMs } = options;
    this.#users = new Lru({ maximum: REMEMBERED, ttlMs: authenticatedMs, clock });
    this.#decisions = new Lru({ maximum: REMEMBERED, clock });
  }

  /** header: 'Bearer …'. Undefined: the token is invalid. Throws when the API server cannot be reached. */
  async userOfToken(header: string | undefined): Promise<ReviewedUser | undefined> {
    const token = /^Bearer +(\S+)$/i.exec(header ?? '')?.[1];
    if (token === undefined || token.length > LONGEST_TOKEN) return undefined;
    const digest = createHash('sha256').update(token).digest('base64');
    const known = this.#users.get(digest);
    if (known) return known;
    const review = { metadata: {}, spec: { token } } as TokenReview;
    const { status } = await this.#options.api.create(tokenReviews, review);
    if (!status?.authenticated || !status.user) return undefined;
    this.#users.set(digest, status.user);
    return status.user;
  }

  /** Throws when the API server cannot be reached. */
  async isAllowed({ username, uid, groups, extra }: ReviewedUser, attributes: Attributes): Promise<boolean> {
    const { api, allowedMs, deniedMs } = this.#options;
    const spec = {
      user: username ?? '',
      groups: groups ?? [],
      ...(uid ? { uid } : {}),
      ...(extra ? { extra } : {}),
      ...attributes,
    };
    const key = JSON.stringify(spec);
    const known = this.#decisions.get(key);
    if (known !== undefined) return known;
    const { status } = await api.create(subjectAccessReviews, { metadata: {}, spec } as SubjectAccessReview);
    const allowed = status?.allowed === true;
    this.#decisions.set(key, allowed, allowed ? allowedMs : deniedMs);
    return allowed;
  }
}
