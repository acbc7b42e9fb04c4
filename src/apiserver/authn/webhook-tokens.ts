/**
 * Bearer tokens of an external authenticator: calls it with a TokenReview (authentication.k8s.io, v1 or v1beta1) and caches positive and negative
 * responses. webhooks/kubeconfig-client.ts makes the calls and retries. After upstream's webhook token authenticator.
 */
import { hash } from 'node:crypto';
import { isJsonObject } from '#machinery/json.ts';
import type { UserInfo } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Lru } from '#stdx/lru.ts';
import { createKubeconfigClient, withRetries, type KubeconfigClient } from '../webhooks/kubeconfig-client.ts';
import type { Authenticated } from './authenticator.ts';
import type { TokenAuthenticator } from './token.ts';

export interface WebhookTokenOptions {
  /** --authentication-token-webhook-config-file: a kubeconfig. */
  readonly configFile: string;
  /** --authentication-token-webhook-version. */
  readonly version: 'v1' | 'v1beta1';
  /** --authentication-token-webhook-cache-ttl, of positive and negative responses; 0 = no cache. Failed calls are never cached. */
  readonly cacheTtlMs: number;
  readonly apiAudiences: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

/** Of one call; with its repetitions all of them get TOTAL_MS. */
const CALL_MS = 10_000;
const TOTAL_MS = 30_000;
/** Cached responses, positive and negative ones separately: invented tokens evict no real one. Least recently used first. */
const CACHE_LIMIT = 4096;
/** Maximum of concurrent calls; further tokens are refused, which bounds the cost of an unreachable server. */
const MAX_ASKING = 1000;

interface ReviewStatus {
  readonly authenticated?: unknown;
  readonly user?: {
    readonly username?: unknown;
    readonly uid?: unknown;
    readonly groups?: unknown;
    readonly extra?: unknown;
  };
  readonly audiences?: unknown;
  readonly error?: unknown;
}

/** A negative response, with the server's reason if it gave one. */
interface Refusal {
  readonly reason: string | undefined;
}

export class WebhookTokens implements TokenAuthenticator {
  readonly #options: WebhookTokenOptions;
  readonly #client: KubeconfigClient;
  readonly #good: Lru<string, Authenticated>;
  readonly #bad: Lru<string, Refusal>;
  readonly #asking = new Map<string, Promise<Authenticated | undefined>>();
  readonly #closed = new AbortController();

  /** Throws an Error for a file that cannot be used. */
  constructor(options: WebhookTokenOptions) {
    const { configFile, cacheTtlMs: ttlMs, clock } = options;
    this.#options = options;
    this.#client = createKubeconfigClient({ file: configFile, clock });
    this.#good = new Lru({ maximum: CACHE_LIMIT, ttlMs, clock });
    this.#bad = new Lru({ maximum: CACHE_LIMIT, ttlMs, clock });
  }

  authenticateToken(
    token: string,
    audiences: readonly string[],
  ): Authenticated | undefined | Promise<Authenticated | undefined> {
    const key = hash('sha256', JSON.stringify([token, audiences]), 'base64');
    const good = this.#good.get(key);
    if (good) return good;
    const bad = this.#bad.get(key);
    if (bad) return refused(bad);
    const asking = this.#asking.get(key);
    if (asking) return asking;
    if (this.#asking.size >= MAX_ASKING)
      throw new Error('webhook authenticator: too many tokens are asked about already');
    const answer = this.#ask(token, { audiences, key }).finally(() => this.#asking.delete(key));
    this.#asking.set(key, answer);
    return answer;
  }

  close(): void {
    this.#closed.abort();
    this.#client.close();
  }

  async #ask(
    token: string,
    { audiences, key }: { readonly audiences: readonly string[]; readonly key: string },
  ): Promise<Authenticated | undefined> {
    const { version, cacheTtlMs, log, clock } = this.#options;
    const body = {
      kind: 'TokenReview',
      apiVersion: `authentication.k8s.io/${version}`,
      metadata: {},
      spec: { token, ...(audiences.length > 0 ? { audiences } : {}) },
    };
    const deadline = AbortSignal.any([AbortSignal.timeout(TOTAL_MS), this.#closed.signal]);
    let status: ReviewStatus;
    try {
      status = statusOf(
        await withRetries(() => this.#client.post(body, { timeoutMs: CALL_MS, signal: deadline }), {
          clock,
          signal: deadline,
        }),
        version,
      );
    } catch (error) {
      // The reason is only logged: clients learn nothing about other servers.
      log.error('failed to make webhook authenticator request', {
        server: this.#client.server,
        error: errorMessage(error),
      });
      throw new Error('webhook authenticator: the request failed', { cause: error });
    }
    const found = this.#read(status, audiences);
    if (cacheTtlMs > 0) {
      if ('user' in found) this.#good.set(key, found);
      else this.#bad.set(key, found);
    }
    return 'user' in found ? found : refused(found);
  }

  #read(status: ReviewStatus, audiences: readonly string[]): Authenticated | Refusal {
    if (status.authenticated !== true)
      return { reason: typeof status.error === 'string' && status.error !== '' ? status.error : undefined };
    const given = textsOf(status.audiences);
    const known = given.length > 0 ? given : this.#options.apiAudiences;
    const accepted = audiences.filter((audience) => known.includes(audience));
    const name = status.user?.username;
    if (accepted.length === 0 || typeof name !== 'string' || name === '') return { reason: undefined };
    return { user: createAuditUser(name, status.user ?? {}), audiences: accepted };
  }
}

function refused({ reason }: Refusal): undefined {
  if (reason !== undefined) throw new Error(reason);
  return undefined;
}

function statusOf(answer: unknown, version: string): ReviewStatus {
  if (
    !isJsonObject(answer) ||
    answer['kind'] !== 'TokenReview' ||
    answer['apiVersion'] !== `authentication.k8s.io/${version}`
  ) {
    throw new Error(`the answer is no TokenReview of authentication.k8s.io/${version}`);
  }
  return isJsonObject(answer['status']) ? answer['status'] : {};
}

function createAuditUser(name: string, { uid, groups, extra }: NonNullable<ReviewStatus['user']>): UserInfo {
  const more = Object.fromEntries(
    Object.entries(isJsonObject(extra) ? extra : {}).map(([key, values]) => [key, textsOf(values)]),
  );
  return {
    name,
    groups: textsOf(groups),
    ...(typeof uid === 'string' && uid !== '' ? { uid } : {}),
    ...(Object.keys(more).length > 0 ? { extra: more } : {}),
  };
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}
