/**
 * Composition of authentication: every way in that is configured, in upstream's order, as the one authenticator of the pipeline.
 *
 *   in-process user → front proxy → client certificate → bearer token (static file, bootstrap, service account) → expired node certificate
 *   → anonymous
 *
 * The first success wins. A credential that is wrong, with no other one right, is 401 and never anonymous.
 */
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import type { UserInfo } from '#machinery/object.ts';
import { errorMessage, silentLogger, type Logger } from '#stdx/log.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import type { ApiRequest } from '../http/request.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import type { Authenticated, Authenticator, TokenIssuer, TokenReviewer } from './authenticator.ts';
import { AuthenticationMetrics } from './authentication-metrics.ts';
import { BootstrapTokens } from './bootstrap-tokens.ts';
import {
  CertificateAuthenticator,
  ExpiredNodeAuthenticator,
  RequestHeaderAuthenticator,
  type RequestHeaderOptions,
} from './certificates.ts';
import { ServiceAccountTokenIssuer } from './service-account-issuer.ts';
import { ServiceAccountKeys, type ServiceAccountKeyMaterial } from './service-account-keys.ts';
import { ServiceAccountMetrics } from './service-account-metrics.ts';
import { ServiceAccountTokens } from './service-account-tokens.ts';
import { StaticTokens } from './static-token-file.ts';
import { BearerAuthenticator, TokenUnion, type TokenAuthenticator } from './token.ts';

export interface ServiceAccountOptions extends ServiceAccountKeyMaterial {
  /** Default 'https://kubernetes.default.svc.cluster.local'. The first issues. */
  readonly issuers?: readonly string[];
  readonly jwksUri?: string;
  readonly extendExpiration?: boolean;
  readonly maxExpirationSeconds?: number;
}

export interface AuthenticationOptions {
  readonly internal: InternalApi;
  readonly nowMs: () => number;
  /** For files that are followed. Default: the real one. */
  readonly clock?: Clock;
  readonly serviceAccounts: ServiceAccountOptions;
  /** Default: the issuers. */
  readonly apiAudiences?: readonly string[];
  /** Followed while the server runs. */
  readonly tokenFile?: string;
  /** Default true, as kubeadm's. */
  readonly bootstrapTokens?: boolean;
  readonly requestHeader?: RequestHeaderOptions;
  /** How long after its end a node's certificate may ask for another one; 0: never. Default: a year. */
  readonly expiredNodeGraceMs?: number;
  /** Default: enabled for every path. paths: exactly these only. Read for each anonymous request. */
  readonly anonymous?: { readonly enabled: boolean; readonly paths?: readonly string[] | undefined };
  /** Further token authenticators (OIDC, webhook): called after the built-in ones. */
  readonly extraTokens?: readonly TokenAuthenticator[];
  /** Authenticators of other credentials (passwords, Kerberos tickets): called after bearer tokens. */
  readonly extraAuthenticators?: readonly Authenticator[];
  readonly log?: Logger;
}

export interface Authentication {
  readonly authenticator: Authenticator;
  readonly tokenIssuer: TokenIssuer;
  readonly tokenReviewer: TokenReviewer;
  /** Replaced when keys are rotated. */
  readonly serviceAccountKeys: ServiceAccountKeys;
  /** Lines for a scrape. */
  metrics(): string;
  /** Stops its watches; the caller closes extraTokens and extraAuthenticators. */
  close(): void;
}

const EXPIRED_NODE_GRACE_MS = 365 * 86_400_000;
export const DEFAULT_ISSUER = 'https://kubernetes.default.svc.cluster.local';

/** Throws an Error for keys or files that cannot be used. */
export function createAuthentication(options: AuthenticationOptions): Authentication {
  const { internal, nowMs, serviceAccounts, log = silentLogger } = options;
  const issuers = serviceAccounts.issuers ?? [DEFAULT_ISSUER];
  const apiAudiences = options.apiAudiences ?? issuers;
  const keys = new ServiceAccountKeys(serviceAccounts);
  const metrics = new AuthenticationMetrics(),
    accountMetrics = new ServiceAccountMetrics();
  const staticTokens =
    options.tokenFile === undefined
      ? undefined
      : new StaticTokens(options.tokenFile, { apiAudiences, clock: options.clock ?? realClock, log });
  const tokens = new TokenUnion([
    ...(staticTokens ? [staticTokens] : []),
    new ServiceAccountTokens({ internal, issuers, keys, apiAudiences, nowMs, log, metrics: accountMetrics }),
    ...((options.bootstrapTokens ?? true) ? [new BootstrapTokens({ internal, apiAudiences, nowMs })] : []),
    ...(options.extraTokens ?? []),
  ]);
  const { jwksUri, extendExpiration, maxExpirationSeconds } = serviceAccounts;
  const tokenIssuer = new ServiceAccountTokenIssuer({
    issuers,
    keys,
    apiAudiences,
    nowMs,
    jwksUri,
    extendExpiration,
    maxExpirationSeconds,
  });
  const chain = [
    ...(options.requestHeader ? [new RequestHeaderAuthenticator(options.requestHeader, nowMs)] : []),
    new CertificateAuthenticator(nowMs),
    new BearerAuthenticator(tokens, apiAudiences),
    ...(options.extraAuthenticators ?? []),
    new ExpiredNodeAuthenticator({ graceMs: options.expiredNodeGraceMs ?? EXPIRED_NODE_GRACE_MS, nowMs }),
  ];
  const anonymous = options.anonymous ?? { enabled: true };
  return {
    authenticator: new RequestAuthenticator({ chain, anonymous, log, metrics }),
    tokenIssuer,
    tokenReviewer: createReviewer(tokens, apiAudiences),
    serviceAccountKeys: keys,
    metrics: () => `${metrics.render()}\n${accountMetrics.render()}`,
    close: () => staticTokens?.close(),
  };
}

function createReviewer(tokens: TokenAuthenticator, apiAudiences: readonly string[]): TokenReviewer {
  return {
    async review(token, audiences) {
      try {
        const found = await tokens.authenticateToken(token, audiences.length > 0 ? audiences : apiAudiences);
        return found ? { authenticated: withAuthenticatedGroup(found) } : { error: 'invalid bearer token' };
      } catch (error) {
        return { error: `[invalid bearer token, ${errorMessage(error)}]` };
      }
    },
  };
}

const ANONYMOUS: Authenticated = { user: { name: 'system:anonymous', groups: ['system:unauthenticated'] } };
const AUTHENTICATED_GROUP = 'system:authenticated';

interface RequestAuthenticatorOptions {
  readonly chain: readonly Authenticator[];
  readonly anonymous: { readonly enabled: boolean; readonly paths?: readonly string[] | undefined };
  readonly log: Logger;
  readonly metrics: AuthenticationMetrics;
}

class RequestAuthenticator implements Authenticator {
  readonly #options: RequestAuthenticatorOptions;
  readonly #withGroup = new WeakMap<Authenticated, Authenticated>();
  readonly challenges: readonly string[];
  readonly answerHeaders?: NonNullable<Authenticator['answerHeaders']>;

  constructor(options: RequestAuthenticatorOptions) {
    this.#options = options;
    this.challenges = options.chain.flatMap(({ challenges = [] }) => challenges);
    const proving = options.chain.find(({ answerHeaders }) => answerHeaders);
    if (proving) this.answerHeaders = (request) => proving.answerHeaders?.(request);
  }

  authenticate(request: ApiRequest): Authenticated | undefined | Promise<Authenticated | undefined> {
    if (request.user) return { user: request.user };
    return this.#from(request, 0, undefined);
  }

  /** Stays synchronous as long as the authenticators do. */
  #from(
    request: ApiRequest,
    start: number,
    failure: string | undefined,
  ): Authenticated | undefined | Promise<Authenticated | undefined> {
    let failed = failure;
    for (let index = start; index < this.#options.chain.length; index++) {
      try {
        const answer = this.#options.chain[index]!.authenticate(request);
        if (answer instanceof Promise) {
          return answer.then(
            (found) => (found ? this.#finish(found) : this.#from(request, index + 1, failed)),
            (error: unknown) => this.#from(request, index + 1, classifyFailure(error)),
          );
        }
        if (answer) return this.#finish(answer);
      } catch (error) {
        failed = classifyFailure(error);
      }
    }
    const { metrics } = this.#options;
    if (failed !== undefined) {
      metrics.attempts.error++;
      // The reason goes to the log, never to the client: it would help an attacker.
      this.#options.log.warn('unable to authenticate the request', {
        error: failed,
        remote: request.remoteAddress,
      });
      throw statusErrors.unauthorized();
    }
    if (this.#allowsAnonymous(request.path)) {
      metrics.succeeded(ANONYMOUS.user.name);
      return ANONYMOUS;
    }
    metrics.attempts.failure++;
    return undefined;
  }

  #finish(found: Authenticated): Authenticated {
    this.#options.metrics.succeeded(found.user.name);
    let finished = this.#withGroup.get(found);
    if (!finished) this.#withGroup.set(found, (finished = withAuthenticatedGroup(found)));
    return finished;
  }

  #allowsAnonymous(path: string): boolean {
    const { enabled, paths } = this.#options.anonymous;
    return enabled && (paths === undefined || paths.includes(path));
  }
}

/** The reason of a failure, for the log. Rethrows errors that are no verdict on the credential: too many attempts, unavailable backends. */
function classifyFailure(error: unknown): string {
  if (isStatusError(error, 'TooManyRequests') || isStatusError(error, 'ServiceUnavailable')) throw error;
  return errorMessage(error);
}

function withAuthenticatedGroup(found: Authenticated): Authenticated {
  const { user } = found;
  if (
    user.name === ANONYMOUS.user.name ||
    user.groups.includes(AUTHENTICATED_GROUP) ||
    user.groups.includes('system:unauthenticated')
  )
    return found;
  const grouped: UserInfo = { ...user, groups: [...user.groups, AUTHENTICATED_GROUP] };
  return { ...found, user: grouped };
}
