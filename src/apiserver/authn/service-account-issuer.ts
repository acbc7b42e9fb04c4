/**
 * Signs the tokens of TokenRequest, and publishes the keys they are verified with (OIDC discovery). Claims, limits and the extension
 * of in-cluster tokens are upstream's: a token that a pod's kube-api-access volume asks for (3607 s, the API server's audiences)
 * lives a year, so that old clients which never reread the file keep working, and says when it should have been renewed.
 */
import { randomUUID } from 'node:crypto';
import { fieldErrors, statusErrors } from '#machinery/errors.ts';
import type { IssuedToken, TokenIssuer, TokenRequestSpec } from './authenticator.ts';
import { jsonWebKey } from '#stdx/jwt.ts';
import { formatTime } from '#machinery/time.ts';
import type { ServiceAccountKeys } from './service-account-keys.ts';
import { serviceAccountName, type PrivateClaims } from './service-account.ts';

const MINIMUM_EXPIRATION_SECONDS = 600;
const MAXIMUM_EXPIRATION_SECONDS = 2 ** 32;
/** Requested by the ServiceAccount admission plugin: an hour and 7 seconds, a value unlikely elsewhere. */
const EXTENDED_EXPIRATION_SECONDS = 3607;
const EXTENSION_SECONDS = 365 * 24 * 3600;

interface IssuerOptions {
  /** The first issues; tokens of all are accepted. */
  readonly issuers: readonly string[];
  readonly keys: ServiceAccountKeys;
  readonly apiAudiences: readonly string[];
  /** Default: '<issuer>/openid/v1/jwks'. */
  readonly jwksUri?: string | undefined;
  /** Default true, as upstream. */
  readonly extendExpiration?: boolean | undefined;
  /** Longer requests are cut to this. */
  readonly maxExpirationSeconds?: number | undefined;
  readonly nowMs: () => number;
}

export class ServiceAccountTokenIssuer implements TokenIssuer {
  readonly defaultAudiences: readonly string[];
  readonly #options: IssuerOptions;

  constructor(options: IssuerOptions) {
    this.#options = options;
    this.defaultAudiences = options.apiAudiences;
  }

  /** StatusError Invalid for a lifetime out of bounds. */
  async issue(spec: TokenRequestSpec): Promise<IssuedToken> {
    const { maxExpirationSeconds = Infinity, keys } = this.#options;
    const seconds = Math.min(checkedExpiration(spec.expirationSeconds), maxExpirationSeconds);
    const now = Math.floor(this.#options.nowMs() / 1000);
    const audiences = spec.audiences.length > 0 ? spec.audiences : this.defaultAudiences;
    const extended =
      (this.#options.extendExpiration ?? true) &&
      spec.boundTo?.kind === 'Pod' &&
      seconds === EXTENDED_EXPIRATION_SECONDS &&
      sameAudiences(audiences, this.defaultAudiences);
    const jti = randomUUID();
    const token = await keys.signer.sign({
      aud: audiences,
      exp: now + (extended ? EXTENSION_SECONDS : seconds),
      iat: now,
      iss: this.#options.issuers[0],
      jti,
      'kubernetes.io': privateClaims(spec, extended ? now + seconds : undefined),
      nbf: now,
      sub: serviceAccountName(spec.namespace, spec.serviceAccount.name),
    });
    return {
      token,
      expirationTimestamp: formatTime((now + seconds) * 1000),
      expirationSeconds: seconds,
      credentialId: `JTI=${jti}`,
      ...(seconds < spec.expirationSeconds
        ? {
            warning: `requested expiration of ${spec.expirationSeconds} seconds shortened to ${seconds} seconds`,
          }
        : {}),
    };
  }

  openidConfiguration(): Record<string, unknown> | undefined {
    const issuer = this.#options.issuers[0] ?? '';
    if (!isHttps(issuer)) return undefined;
    const algorithms = new Set(this.#options.keys.accepted.map(({ algorithm }) => algorithm));
    return {
      issuer,
      jwks_uri: this.#options.jwksUri ?? `${issuer.replace(/\/$/, '')}/openid/v1/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: [...algorithms],
    };
  }

  jwks(): Record<string, unknown> | undefined {
    return !isHttps(this.#options.issuers[0] ?? '')
      ? undefined
      : { keys: this.#options.keys.accepted.map(jsonWebKey) };
  }
}

function isHttps(url: string): boolean {
  return url.startsWith('https://') && URL.canParse(url);
}

function checkedExpiration(seconds: number): number {
  const field = 'spec.expirationSeconds';
  const refuse = (detail: string): Error =>
    statusErrors.invalid({ group: 'authentication.k8s.io', kind: 'TokenRequest', name: '' }, [
      fieldErrors.invalid(field, seconds, detail),
    ]);
  if (seconds < MINIMUM_EXPIRATION_SECONDS) throw refuse('may not specify a duration less than 10 minutes');
  if (seconds > MAXIMUM_EXPIRATION_SECONDS)
    throw refuse('may not specify a duration larger than 2^32 seconds');
  return seconds;
}

function sameAudiences(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((audience) => right.includes(audience));
}

function privateClaims(spec: TokenRequestSpec, warnafter: number | undefined): PrivateClaims {
  const bound = spec.boundTo && { name: spec.boundTo.name, uid: spec.boundTo.uid };
  const node = spec.boundTo?.kind === 'Node' ? bound : spec.node;
  return {
    namespace: spec.namespace,
    ...(node ? { node: { name: node.name, ...(node.uid ? { uid: node.uid } : {}) } } : {}),
    ...(bound && spec.boundTo?.kind === 'Pod' ? { pod: bound } : {}),
    ...(bound && spec.boundTo?.kind === 'Secret' ? { secret: bound } : {}),
    serviceaccount: { name: spec.serviceAccount.name, uid: spec.serviceAccount.uid },
    warnafter,
  };
}
