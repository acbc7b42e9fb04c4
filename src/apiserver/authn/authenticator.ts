/**
 * Authentication: the interface of the pipeline's authenticate stage, and of the two users of the same keys, TokenRequest and TokenReview.
 * Implementations are beside it; after upstream's authenticator.Request.
 */
import type { UserInfo } from '#machinery/object.ts';
import type { ApiRequest } from '../http/request.ts';

export interface Authenticated {
  readonly user: UserInfo;
  /** Audiences of the credential that the server accepts; absent = the credential has none. */
  readonly audiences?: readonly string[];
  /** For the audit event of the request. */
  readonly auditAnnotations?: Readonly<Record<string, string>>;
  /** For the client: Warning headers. */
  readonly warnings?: readonly string[];
}

export interface Authenticator {
  /**
   * undefined = no credential of this authenticator's kind in the request: the next one is called; if none returns a user, the request is 401
   * (anonymous is the last authenticator). A bad credential throws StatusError 401.
   * Called for every request: return synchronously unless a call is needed (cached token or certificate).
   */
  authenticate(request: ApiRequest): Authenticated | undefined | Promise<Authenticated | undefined>;
  /** Schemes of the Authorization header that a 401 offers (WWW-Authenticate): for clients that answer only when asked. */
  readonly challenges?: readonly string[];
  /** Headers of the response to an authenticated request (mutual authentication of Kerberos). Absent where there are none. */
  readonly answerHeaders?: (request: ApiRequest) => Readonly<Record<string, string>> | undefined;
}

export interface TokenRequestSpec {
  readonly namespace: string;
  readonly serviceAccount: { readonly name: string; readonly uid: string };
  /** Empty = the API server's own audiences. */
  readonly audiences: readonly string[];
  readonly expirationSeconds: number;
  /** The object the token is bound to (dies with it). Existence was checked by the caller. */
  readonly boundTo?: {
    readonly kind: 'Pod' | 'Secret' | 'Node';
    readonly name: string;
    readonly uid: string;
  };
  /** For a pod-bound token, the node the pod runs on. */
  readonly node?: { readonly name: string; readonly uid?: string };
}

export interface IssuedToken {
  readonly token: string;
  readonly expirationTimestamp: string;
  /** The granted lifetime: shorter than requested where the server has a maximum. */
  readonly expirationSeconds: number;
  /** 'JTI=…', as audit events and users' extra have it. */
  readonly credentialId: string;
  readonly warning?: string;
}

export interface TokenIssuer {
  issue(spec: TokenRequestSpec): Promise<IssuedToken>;
  /** Default audiences of a token. */
  readonly defaultAudiences: readonly string[];
  /** Body of /.well-known/openid-configuration; undefined (and so for the keys) when the issuer is no https URL, where no client could fetch it. */
  openidConfiguration(): Record<string, unknown> | undefined;
  /** Body of /openid/v1/jwks. */
  jwks(): Record<string, unknown> | undefined;
}

export interface TokenReviewer {
  /** Authenticates a bare token for TokenReview. undefined = not a valid token; error text goes to status.error. */
  review(
    token: string,
    audiences: readonly string[],
  ): Promise<{ readonly authenticated?: Authenticated; readonly error?: string }>;
}
