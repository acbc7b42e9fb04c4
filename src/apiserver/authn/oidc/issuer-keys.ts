/**
 * The keys of one issuer, by discovery (OpenID Connect Discovery 1.0) and its JSON Web Key Set (RFC 7517).
 *
 *   start() ─► discovering ──document, keys──► ready ──periodically, and for an unknown key ID──► fetching ─► ready
 *                  └─failed: retry in 10 s─┘
 *
 * Keys that the issuer withdrew are rejected. While the issuer is unavailable, the last known keys stay valid. One fetch at a time; callers wait for
 * it no longer than its timeout.
 */
import { createPublicKey, type JsonWebKey as NodeJsonWebKey } from 'node:crypto';
import type { Clock, Timer } from '#stdx/clock.ts';
import {
  fitsAlgorithm,
  MIN_RSA_BITS,
  SIGNING_ALGORITHMS,
  type SigningAlgorithm,
  type VerificationKey,
} from '#stdx/jwt.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { IssuerMetrics } from './issuer-metrics.ts';
import { httpsGet, parseJsonObject, type Got } from './https-get.ts';

interface IssuerKeysOptions {
  readonly url: string;
  readonly discoveryURL?: string | undefined;
  /** PEM; absent = the machine's. */
  readonly ca?: string | undefined;
  /** Those accepted of tokens; a key that names none is used with each it fits. */
  readonly algorithms: readonly SigningAlgorithm[];
  readonly metrics?: IssuerMetrics;
  readonly clock: Clock;
  readonly log: Logger;
}

const RETRY_MS = 10_000;
const REFRESH_MS = 10 * 60_000;
const MIN_REFRESH_MS = 60_000;
const MAX_REFRESH_MS = 60 * 60_000;
/** For key ids that are not known: anyone can invent those. */
const MIN_REFETCH_MS = 10_000;
const MAX_KEYS = 200;

export class IssuerKeys {
  readonly #options: IssuerKeysOptions;
  readonly #abort = new AbortController();
  #keys: readonly VerificationKey[] = [];
  #published = '';
  #jwksUri: string | undefined;
  #fetching: Promise<void> | undefined;
  #timer: Timer | undefined;
  #fetchedMs = -Infinity;
  #problem: string | undefined;
  #isReady = false;
  /** Incremented when the keys change: cached verifications are invalid. */
  generation = 0;

  constructor(options: IssuerKeysOptions) {
    this.#options = options;
    this.#problem = `oidc: authenticator for issuer ${JSON.stringify(options.url)} is not initialized`;
  }

  /** Starts discovery; never rejects. */
  start(): void {
    void this.#fetch();
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Why there are no keys yet; undefined once there are. */
  get problem(): string | undefined {
    return this.#isReady ? undefined : this.#problem;
  }

  /** Resolves when a fetch in flight is over. */
  settled(): Promise<void> {
    return this.#fetching ?? Promise.resolve();
  }

  /** Those a token of this header may be signed with. */
  find(kid: unknown, algorithm: SigningAlgorithm): VerificationKey[] {
    return this.#keys.filter(
      (key) => key.algorithm === algorithm && (kid === undefined || kid === '' || key.id === kid),
    );
  }

  /** For a token without a known signing key: undefined when the keys were fetched just now, else resolves after a new fetch. */
  refetch(): Promise<void> | undefined {
    if (!this.#fetching && this.#options.clock.monotonic() - this.#fetchedMs < MIN_REFETCH_MS)
      return undefined;
    return this.#fetch();
  }

  close(): void {
    this.#timer?.cancel();
    this.#abort.abort();
  }

  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchNow().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetchNow(): Promise<void> {
    const { clock, log, url, metrics } = this.#options;
    this.#timer?.cancel();
    this.#fetchedMs = clock.monotonic();
    let nextMs = RETRY_MS;
    try {
      this.#jwksUri ??= await this.#discover();
      const got = await this.#get(this.#jwksUri);
      this.#take(got.text);
      nextMs = refreshAfterMs(got);
      this.#isReady = true;
      metrics?.fetched(clock.now(), got.text);
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      metrics?.fetched(clock.now(), undefined);
      this.#problem = `oidc: authenticator for issuer ${JSON.stringify(url)} is not initialized: ${errorMessage(error)}`;
      log.warn(
        this.#isReady
          ? 'keys of an issuer cannot be fetched, those known stay'
          : 'oidc authenticator: initializing plugin',
        { issuer: url, error: errorMessage(error) },
      );
      // It may have moved its keys.
      this.#jwksUri = undefined;
    }
    this.#timer = clock.after(nextMs, () => void this.#fetch());
  }

  async #discover(): Promise<string> {
    const { url, discoveryURL } = this.#options;
    const { text } = await this.#get(
      discoveryURL ?? `${url.replace(/\/$/, '')}/.well-known/openid-configuration`,
    );
    const { issuer, jwks_uri: jwksUri } = parseJsonObject(text, 'the discovery document');
    if (issuer !== url)
      throw new Error(
        `oidc: issuer did not match the issuer returned by provider, expected ${JSON.stringify(url)} got ${JSON.stringify(issuer)}`,
      );
    if (typeof jwksUri !== 'string') throw new Error('the discovery document has no jwks_uri');
    return jwksUri;
  }

  #get(url: string): Promise<Got> {
    return httpsGet(url, { ca: this.#options.ca, signal: this.#abort.signal });
  }

  #take(text: string): void {
    const { keys } = parseJsonObject(text, 'the key set');
    if (!Array.isArray(keys)) throw new Error('the key set has no keys');
    if (text === this.#published) return;
    const found = keys.slice(0, MAX_KEYS).flatMap((jwk) => this.#readKey(jwk));
    this.#published = text;
    this.#keys = found;
    this.generation++;
  }

  /** Keys for other purposes, of other kinds, or too weak are ignored: a set may contain unknown keys. */
  #readKey(jwk: unknown): VerificationKey[] {
    const {
      kid = '',
      use,
      kty,
      alg,
    } = (jwk ?? {}) as { kid?: unknown; use?: unknown; kty?: unknown; alg?: unknown };
    if (typeof kid !== 'string' || (use !== undefined && use !== 'sig') || (kty !== 'RSA' && kty !== 'EC'))
      return [];
    try {
      const key = createPublicKey({ key: publicParts(jwk as NodeJsonWebKey), format: 'jwk' });
      if (kty === 'RSA' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < MIN_RSA_BITS) return [];
      const algorithms = SIGNING_ALGORITHMS.filter(
        (one) =>
          (alg === undefined || alg === one) &&
          this.#options.algorithms.includes(one) &&
          fitsAlgorithm(key, one),
      );
      return algorithms.map((algorithm) => ({ id: kid, algorithm, key }));
    } catch (error) {
      this.#options.log.warn('a key of an issuer cannot be used', {
        issuer: this.#options.url,
        kid,
        error: errorMessage(error),
      });
      return [];
    }
  }
}

function publicParts({ kty, n, e, crv, x, y }: NodeJsonWebKey): NodeJsonWebKey {
  return kty === 'RSA' ? { kty, n: n!, e: e! } : { kty: kty!, crv: crv!, x: x!, y: y! };
}

function refreshAfterMs({ headers }: Got): number {
  const [, seconds] = /max-age=(\d+)/.exec(String(headers['cache-control'] ?? '')) ?? [];
  return seconds === undefined
    ? REFRESH_MS
    : Math.min(MAX_REFRESH_MS, Math.max(MIN_REFRESH_MS, Number(seconds) * 1000));
}
