/** What flags change of an API server, beside keys and addresses. `flags.ts` says which flag goes where; `compose.ts` acts on it. */
import type { AdmissionOptions } from '#apiserver/admission/list.ts';
import type { AuditSettings } from '#apiserver/audit/audit.ts';
import type { AuthenticationOptions, ServiceAccountOptions } from '#apiserver/authn/authentication.ts';
import type { LoginOptions } from '#apiserver/authn/logins.ts';
import type { TokenSourceOptions } from '#apiserver/authn/token-sources.ts';
import type { AuthorizationSettings } from '#apiserver/authz/authorization.ts';
import type { RequestLimits } from '#apiserver/flowcontrol/flow-control.ts';
import type { TlsSettings } from '../tls-flags.ts';
import type { FollowedFiles } from './follow-files.ts';

export type AdmissionSettings = Pick<AdmissionOptions, 'enabled' | 'disabled' | 'configuration'>;

export interface EncryptionSettings {
  readonly file: string;
  readonly reload: boolean;
}

export interface ApiServerSettings {
  /** Default true. */
  readonly profiling?: boolean;
  readonly authorization?: AuthorizationSettings;
  readonly admission?: AdmissionSettings;
  readonly authentication?: Pick<AuthenticationOptions, 'anonymous' | 'apiAudiences' | 'tokenFile'>;
  readonly serviceAccounts?: Pick<
    ServiceAccountOptions,
    'issuers' | 'jwksUri' | 'extendExpiration' | 'maxExpirationSeconds'
  >;
  readonly serviceNodePorts?: { readonly from: number; readonly to: number };
  /** Passwords, Kerberos, session tokens. */
  readonly login?: LoginOptions;
  readonly requestLimits?: RequestLimits;
  /** Share of HTTP/2 requests after which the client is asked to reconnect. */
  readonly goawayChance?: number;
  /** Between leave() and stop(), for the program that runs the server. */
  readonly shutdownDelayMs?: number;
  readonly audit?: AuditSettings | undefined;
  /** OIDC, webhook. */
  readonly tokenSources?: TokenSourceOptions;
  /** Certificates and keys that are read again when their files change. */
  readonly files?: FollowedFiles;
  /** Encryption at rest. Default: none. */
  readonly encryption?: EncryptionSettings;
  /** TLS versions and cipher suites. */
  readonly tls?: TlsSettings;
}
