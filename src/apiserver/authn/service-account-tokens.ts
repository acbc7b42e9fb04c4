/**
 * Authenticates service account tokens, bound (TokenRequest) and legacy (from a Secret). What costs time, the signature, is remembered
 * for a bounded number of tokens; what can change, time and the objects the token is bound to, is looked at every time, so that a
 * deleted pod's token ends with the pod. After upstream's pkg/serviceaccount.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import type { KubeObject } from '#machinery/object.ts';
import type { InternalApi } from '../internal.ts';
import type { Authenticated } from './authenticator.ts';
import { parseJwt, verifyJwt, type Claims, type VerificationKey } from '#stdx/jwt.ts';
import { LEGACY_ISSUER, parseServiceAccountName, serviceAccountName, serviceAccountUser, type ObjectRef, type PrivateClaims } from './service-account.ts';
import type { TokenAuthenticator } from './token.ts';

/** Clocks differ: this much is forgiven, as upstream does. */
const LEEWAY_MS = 60_000;
/** Verified tokens remembered; the oldest is forgotten first. */
const CACHE_LIMIT = 4096;

export interface ServiceAccountTokenOptions {
  readonly internal: InternalApi;
  readonly issuers: readonly string[];
  readonly keys: readonly VerificationKey[];
  readonly apiAudiences: readonly string[];
  readonly nowMs: () => number;
}

export class ServiceAccountTokens implements TokenAuthenticator {
  readonly #options: ServiceAccountTokenOptions;
  /** Digest of a token whose signature is good → its claims. */
  readonly #verified = new Map<string, Claims>();

  constructor(options: ServiceAccountTokenOptions) {
    this.#options = options;
  }

  authenticateToken(token: string, audiences: readonly string[]): Authenticated | undefined {
    const digest = hash('sha256', token, 'base64');
    const claims = this.#verified.get(digest) ?? this.#verify(token, digest);
    if (!claims) return undefined;
    return claims['iss'] === LEGACY_ISSUER ? this.#authenticateLegacy(token, claims, audiences) : this.#authenticateBound(claims, audiences);
  }

  #verify(token: string, digest: string): Claims | undefined {
    const parsed = parseJwt(token);
    const issuer = parsed?.claims['iss'];
    if (!parsed || typeof issuer !== 'string' || (issuer !== LEGACY_ISSUER && !this.#options.issuers.includes(issuer))) return undefined;
    if (!verifyJwt(parsed, this.#options.keys)) throw new Error('invalid bearer token');
    if (this.#verified.size >= CACHE_LIMIT) this.#verified.delete(this.#verified.keys().next().value!);
    this.#verified.set(digest, parsed.claims);
    return parsed.claims;
  }

  #authenticateBound(claims: Claims, audiences: readonly string[]): Authenticated {
    const accepted = intersect(stringList(claims['aud']), audiences);
    if (accepted.length === 0) throw new Error(`token audiences ${quoted(stringList(claims['aud']))} is invalid for the target audiences ${quoted(audiences)}`);
    this.#checkTimes(claims);
    const own = claims['kubernetes.io'] as PrivateClaims | undefined;
    const { namespace, serviceaccount: account } = own ?? {};
    if (!own || !namespace || !account?.name || claims['sub'] !== serviceAccountName(namespace, account.name)) throw new Error('service account token claims are invalid');
    this.#checkObject('serviceaccounts', namespace, account);
    if (own.secret) this.#checkObject('secrets', namespace, own.secret);
    if (own.pod) this.#checkObject('pods', namespace, own.pod);
    // The node of a pod-bound token is information; only a token bound to the node itself ends with it.
    if (own.node && !own.pod) this.#checkObject('nodes', '', own.node);
    const jti = claims['jti'];
    const user = serviceAccountUser({ namespace, serviceAccount: account, pod: own.pod, node: own.node, credentialId: typeof jti === 'string' && jti !== '' ? `JTI=${jti}` : undefined });
    return { user, audiences: accepted };
  }

  #checkTimes(claims: Claims): void {
    const nowMs = this.#options.nowMs();
    const { exp, nbf, iat } = claims;
    if (typeof exp !== 'number' || nowMs - LEEWAY_MS > exp * 1000) throw new Error('service account token has expired');
    if (typeof nbf === 'number' && nowMs + LEEWAY_MS < nbf * 1000) throw new Error('service account token is not valid yet');
    if (typeof iat === 'number' && nowMs + LEEWAY_MS < iat * 1000) throw new Error('service account token is issued in the future');
  }

  #checkObject(resource: 'serviceaccounts' | 'secrets' | 'pods' | 'nodes', namespace: string, ref: ObjectRef): KubeObject {
    const object = this.#options.internal.get({ group: '', resource }, { name: ref.name, namespace });
    if (!object) throw new Error('service account token has been invalidated');
    const deletedAt = object.metadata?.deletionTimestamp;
    if (deletedAt !== undefined && Date.parse(deletedAt) < this.#options.nowMs() - LEEWAY_MS) throw new Error('service account token has been invalidated');
    if (ref.uid !== object.metadata?.uid) throw new Error(`${SINGULAR[resource]} UID (${object.metadata?.uid ?? ''}) does not match claim (${ref.uid ?? ''})`);
    return object;
  }

  /** A token kept in a Secret of type kubernetes.io/service-account-token: valid as long as that Secret holds it. */
  #authenticateLegacy(token: string, claims: Claims, audiences: readonly string[]): Authenticated {
    const accepted = intersect(this.#options.apiAudiences, audiences);
    if (accepted.length === 0) throw new Error(`token audiences ${quoted(this.#options.apiAudiences)} is invalid for the target audiences ${quoted(audiences)}`);
    const claim = (name: string): string => (typeof claims[`kubernetes.io/serviceaccount/${name}`] === 'string' ? claims[`kubernetes.io/serviceaccount/${name}`] as string : '');
    const subject = parseServiceAccountName(typeof claims['sub'] === 'string' ? claims['sub'] : '');
    const namespace = claim('namespace');
    const account = { name: claim('service-account.name'), uid: claim('service-account.uid') };
    const secretName = claim('secret.name');
    if (!namespace || !secretName || subject?.namespace !== namespace || subject.name !== account.name) throw new Error('service account token claims are invalid');
    const secret = this.#options.internal.get({ group: '', resource: 'secrets' }, { name: secretName, namespace });
    const kept = Buffer.from((secret?.['data'] as Record<string, string> | undefined)?.['token'] ?? '', 'base64');
    if (!secret || secret.metadata?.deletionTimestamp !== undefined || !sameBytes(kept, Buffer.from(token))) throw new Error('service account token has been invalidated');
    if (secret.metadata?.labels?.['kubernetes.io/legacy-token-invalid-since'] !== undefined) throw new Error('service account token has been invalidated');
    this.#checkObject('serviceaccounts', namespace, account);
    return { user: serviceAccountUser({ namespace, serviceAccount: account }), audiences: accepted };
  }
}

const SINGULAR = { serviceaccounts: 'service account', secrets: 'secret', pods: 'pod', nodes: 'node' } as const;

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
