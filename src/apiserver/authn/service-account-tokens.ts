/**
 * Authenticates service account tokens, bound (TokenRequest) and legacy (from a Secret). Signatures, which are expensive, are cached for a bounded
 * number of tokens; expiry and the bound objects are checked each time, so that a deleted pod's token is invalid at once. After upstream's
 * pkg/serviceaccount.
 */
import { timingSafeEqual } from 'node:crypto';
import { isoDay } from '#stdx/dates.ts';
import type { KubeObject } from '#machinery/object.ts';
import { parseJwt, verifyJwt, type Claims, type ParsedToken } from '#stdx/jwt.ts';
import { errorMessage, silentLogger, type Logger } from '#stdx/log.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import type { Authenticated } from './authenticator.ts';
import type { ServiceAccountKeys } from './service-account-keys.ts';
import type { ServiceAccountMetrics } from './service-account-metrics.ts';
import {
  LEGACY_ISSUER,
  parseServiceAccountName,
  serviceAccountName,
  serviceAccountUser,
  type ObjectRef,
  type PrivateClaims,
} from './service-account.ts';
import { tokenDigest } from './token-digest.ts';
import type { TokenAuthenticator } from './token.ts';

/** Clocks differ: this much is forgiven, as upstream does. */
const LEEWAY_MS = 60_000;
/** Bound of verified tokens and of tokens of other issuers (so that they are not parsed again); the oldest is evicted first. */
const CACHE_LIMIT = 4096;

const LAST_USED_LABEL = 'kubernetes.io/legacy-token-last-used';
const INVALID_SINCE_LABEL = 'kubernetes.io/legacy-token-invalid-since';
const AUDIT = 'authentication.k8s.io/';

interface ServiceAccountTokenOptions {
  readonly internal: InternalApi;
  readonly issuers: readonly string[];
  readonly keys: ServiceAccountKeys;
  readonly apiAudiences: readonly string[];
  readonly nowMs: () => number;
  readonly metrics: ServiceAccountMetrics;
  readonly log?: Logger;
}

/** A token with a valid signature, and the result for the API server's own audiences once computed. */
interface Verified {
  readonly claims: Claims;
  found: Authenticated | undefined;
}

export class ServiceAccountTokens implements TokenAuthenticator {
  readonly #options: ServiceAccountTokenOptions;
  /** By digest of the token. */
  readonly #verified = new Map<string, Verified>();
  /** Verifications in flight, by digest; bounded by the listener's requests. */
  readonly #verifying = new Map<string, Promise<Verified>>();
  readonly #foreign = new Set<string>();
  #generation = 0;
  /** Secrets whose label of last use is being written. */
  readonly #marking = new Set<string>();

  constructor(options: ServiceAccountTokenOptions) {
    this.#options = options;
  }

  /** Synchronous for tokens seen before and for those of other issuers. */
  authenticateToken(
    token: string,
    audiences: readonly string[],
  ): Authenticated | undefined | Promise<Authenticated> {
    const { keys } = this.#options;
    if (this.#generation !== keys.generation) {
      this.#generation = keys.generation;
      this.#verified.clear();
      this.#verifying.clear();
    }
    const digest = tokenDigest(token);
    const verified = this.#verified.get(digest);
    if (verified) return this.#authenticateVerified(token, { verified, audiences });
    if (this.#foreign.has(digest)) return undefined;
    const parsed = this.#parse(token);
    if (!parsed) {
      if (this.#foreign.size >= CACHE_LIMIT) this.#foreign.delete(this.#foreign.values().next().value!);
      this.#foreign.add(digest);
      return undefined;
    }
    return this.#verifyOnce(parsed, digest).then((found) =>
      this.#authenticateVerified(token, { verified: found, audiences }),
    );
  }

  #authenticateVerified(
    token: string,
    { verified, audiences }: { readonly verified: Verified; readonly audiences: readonly string[] },
  ): Authenticated {
    return verified.claims['iss'] === LEGACY_ISSUER
      ? this.#authenticateLegacy(token, verified, audiences)
      : this.#authenticateBound(verified, audiences);
  }

  /** undefined = a token of another issuer, or none. */
  #parse(token: string): ParsedToken | undefined {
    const parsed = parseJwt(token);
    const issuer = parsed?.claims['iss'];
    return typeof issuer === 'string' && (issuer === LEGACY_ISSUER || this.#options.issuers.includes(issuer))
      ? parsed
      : undefined;
  }

  /** Requests with the same token wait for one verification. */
  #verifyOnce(parsed: ParsedToken, digest: string): Promise<Verified> {
    const pending = this.#verifying.get(digest);
    if (pending) return pending;
    const verifying = this.#verify(parsed, digest).finally(() => {
      if (this.#verifying.get(digest) === verifying) this.#verifying.delete(digest);
    });
    this.#verifying.set(digest, verifying);
    return verifying;
  }

  async #verify(parsed: ParsedToken, digest: string): Promise<Verified> {
    const { keys } = this.#options;
    const { generation } = keys;
    if (!(await verifyJwt(parsed, keys.accepted)))
      throw new Error('go-jose/go-jose: error in cryptographic primitive');
    const verified = { claims: parsed.claims, found: undefined };
    // Keys that were replaced meanwhile may no longer include the one that signed it.
    if (generation !== keys.generation) return this.#verify(parsed, digest);
    if (this.#verified.size >= CACHE_LIMIT) this.#verified.delete(this.#verified.keys().next().value!);
    this.#verified.set(digest, verified);
    return verified;
  }

  #authenticateBound(verified: Verified, audiences: readonly string[]): Authenticated {
    const { claims } = verified;
    const { apiAudiences, nowMs, metrics } = this.#options;
    const accepted =
      verified.found && audiences === apiAudiences
        ? (verified.found.audiences ?? [])
        : intersect(audiences, stringList(claims['aud']));
    if (accepted.length === 0)
      throw new Error(
        `token audiences ${quoted(stringList(claims['aud']))} is invalid for the target audiences ${quoted(audiences)}`,
      );
    const now = nowMs();
    checkTimes(claims, now);
    const own = claims['kubernetes.io'] as PrivateClaims | undefined;
    const { namespace, serviceaccount: account } = own ?? {};
    if (!own || !namespace || !account?.name || claims['sub'] !== serviceAccountName(namespace, account.name))
      throw new Error('service account token claims are invalid');
    this.#checkObject('serviceaccounts', namespace, account);
    if (own.secret) this.#checkObject('secrets', namespace, own.secret);
    if (own.pod) this.#checkObject('pods', namespace, own.pod);
    // The node of a pod-bound token is information; only a token bound to the node itself ends with it.
    if (own.node && !own.pod) this.#checkObject('nodes', '', own.node);
    let found = audiences === apiAudiences ? verified.found : undefined;
    if (!found) {
      const jti = claims['jti'];
      const user = serviceAccountUser({
        namespace,
        serviceAccount: account,
        pod: own.pod,
        node: own.node,
        credentialId: typeof jti === 'string' && jti !== '' ? `JTI=${jti}` : undefined,
      });
      found = { user, audiences: accepted };
      if (audiences === apiAudiences) verified.found = found;
    }
    const overdueSeconds = own.warnafter ? Math.floor(now / 1000) - own.warnafter : 0;
    if (overdueSeconds <= 0) {
      metrics.valid++;
      return found;
    }
    metrics.stale++;
    return {
      ...found,
      auditAnnotations: {
        [`${AUDIT}stale-token`]: `subject: ${String(claims['sub'])}, seconds after warning threshold: ${overdueSeconds}`,
      },
    };
  }

  #checkObject(resource: keyof typeof WORDS, namespace: string, ref: ObjectRef): KubeObject {
    const { internal, nowMs } = this.#options;
    const object = internal.get({ group: '', resource }, { name: ref.name, namespace });
    if (!object) throw new Error('service account token has been invalidated');
    const { uid = '', deletionTimestamp } = object.metadata ?? {};
    if (deletionTimestamp !== undefined && Date.parse(deletionTimestamp) < nowMs() - LEEWAY_MS)
      throw new Error('service account token has been invalidated');
    if (ref.uid !== uid)
      throw new Error(
        `${WORDS[resource][0]} UID (${uid}) does not match ${WORDS[resource][1]}claim (${ref.uid ?? ''})`,
      );
    return object;
  }

  // ------------------------------------------------------------------------------------------------------------- legacy

  /** A token of a Secret of type kubernetes.io/service-account-token: valid while that Secret contains it. */
  #authenticateLegacy(token: string, { claims }: Verified, audiences: readonly string[]): Authenticated {
    const { apiAudiences, internal, metrics } = this.#options;
    const accepted = intersect(apiAudiences, audiences);
    if (accepted.length === 0)
      throw new Error(
        `token audiences ${quoted(apiAudiences)} is invalid for the target audiences ${quoted(audiences)}`,
      );
    const claim = (name: string): string =>
      typeof claims[`kubernetes.io/serviceaccount/${name}`] === 'string'
        ? (claims[`kubernetes.io/serviceaccount/${name}`] as string)
        : '';
    const subject = parseServiceAccountName(typeof claims['sub'] === 'string' ? claims['sub'] : '');
    const namespace = claim('namespace');
    const account = { name: claim('service-account.name'), uid: claim('service-account.uid') };
    const secretName = claim('secret.name');
    if (!namespace || !secretName || subject?.namespace !== namespace || subject.name !== account.name)
      throw new Error('service account token claims are invalid');
    const secret = internal.get({ group: '', resource: 'secrets' }, { name: secretName, namespace });
    const kept = Buffer.from(
      (secret?.['data'] as Record<string, string> | undefined)?.['token'] ?? '',
      'base64',
    );
    if (!secret || secret.metadata?.deletionTimestamp !== undefined || !sameBytes(kept, Buffer.from(token)))
      throw new Error('service account token has been invalidated');
    const serviceAccount = this.#checkObject('serviceaccounts', namespace, account);
    const isGenerated = (
      (serviceAccount['secrets'] as readonly { readonly name?: string }[] | undefined) ?? []
    ).some(({ name }) => name === secretName);
    const labels = secret.metadata?.labels ?? {};
    if (labels[INVALID_SINCE_LABEL] !== undefined) {
      metrics.invalidGenerated++;
      throw new Error(
        `the token in secret ${namespace}/${secretName} for service account ${namespace}/${account.name} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '${INVALID_SINCE_LABEL}' label from the secret to temporarily allow use of this token`,
      );
    }
    this.#markUsed({ namespace, name: secretName, label: labels[LAST_USED_LABEL] });
    metrics.legacy++;
    if (isGenerated) metrics.legacyGenerated++;
    else metrics.legacyManual++;
    return {
      user: serviceAccountUser({ namespace, serviceAccount: account }),
      audiences: accepted,
      auditAnnotations: {
        [`${AUDIT}legacy-token`]: String(claims['sub']),
        [`${AUDIT}legacy-token-${isGenerated ? 'autogenerated' : 'manual'}-secret`]: secretName,
      },
      ...(isGenerated
        ? {
            warnings: [
              'Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.',
            ],
          }
        : {}),
    };
  }

  /** Once a day for each secret: the last-used label shows which tokens are unused. Asynchronous. */
  #markUsed({
    namespace,
    name,
    label,
  }: {
    readonly namespace: string;
    readonly name: string;
    readonly label: string | undefined;
  }): void {
    const { internal, nowMs, log = silentLogger } = this.#options;
    const today = isoDay(nowMs());
    const key = `${namespace}/${name}`;
    if (label === today || this.#marking.has(key)) return;
    this.#marking.add(key);
    internal
      .modify({ group: '', resource: 'secrets' }, { namespace, name }, (secret) => {
        secret.metadata = {
          ...secret.metadata,
          labels: { ...secret.metadata?.labels, [LAST_USED_LABEL]: today },
        };
      })
      .catch((error: unknown) =>
        log.warn('error recording the last use of a legacy token', {
          namespace,
          name,
          error: errorMessage(error),
        }),
      )
      .finally(() => this.#marking.delete(key));
  }
}

/** What upstream's messages call them. */
const WORDS = {
  serviceaccounts: ['service account', ''],
  secrets: ['secret', 'service account secret ref '],
  pods: ['pod', 'service account pod ref '],
  nodes: ['node', 'service account node ref '],
} as const;

function checkTimes({ exp, nbf, iat }: Claims, nowMs: number): void {
  if (typeof exp !== 'number' || nowMs - LEEWAY_MS > exp * 1000)
    throw new Error('service account token has expired');
  if (typeof nbf === 'number' && nowMs + LEEWAY_MS < nbf * 1000)
    throw new Error('service account token is not valid yet');
  if (typeof iat === 'number' && nowMs + LEEWAY_MS < iat * 1000)
    throw new Error('service account token is issued in the future');
}

function sameBytes(left: Buffer, right: Buffer): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

/** 'aud' may be one string or several. */
function stringList(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

function intersect(left: readonly string[], right: readonly string[]): string[] {
  return left.filter((item) => right.includes(item));
}

function quoted(values: readonly string[]): string {
  return `[${values.map((value) => JSON.stringify(value)).join(' ')}]`;
}
