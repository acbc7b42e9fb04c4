/** Settings of an API server that flags change, beside keys and addresses. flags.ts maps flags to them; compose.ts applies them. */
import type { AdmissionOptions } from '#apiserver/admission/list.ts';
import type { AuditSettings } from '#apiserver/audit/audit.ts';
import type { AuthenticationOptions, ServiceAccountOptions } from '#apiserver/authn/authentication.ts';
import type { LoginOptions } from '#apiserver/authn/logins.ts';
import type { TokenSourceOptions } from '#apiserver/authn/token-sources.ts';
import type { AuthorizationSettings } from '#apiserver/authz/authorization.ts';
import type { ListenerLimits } from '#apiserver/http/listener.ts';
import type { ApiServerOptions } from '#apiserver/options.ts';
import type { RequestLimits } from '#apiserver/flowcontrol/flow-control.ts';
import type { ChangeLogSettings } from '#history/change-log.ts';
import type { TlsSettings } from '../tls-flags.ts';
import type { FollowedFiles } from './follow-files.ts';
import type { ResourceMetricsSettings } from './resource-metrics.ts';

export type AdmissionSettings = Pick<AdmissionOptions, 'enabled' | 'disabled' | 'configuration'>;

export interface EncryptionSettings {
  readonly file: string;
  readonly reload: boolean;
}

/** Each group is passed unchanged to the part of the server with such options: a new option of that part needs no line here. */
export interface ApiServerSettings {
  readonly server?: Partial<ApiServerOptions>;
  readonly listener?: Partial<ListenerLimits>;
  readonly requestLimits?: RequestLimits;
  readonly authentication?: Partial<AuthenticationOptions>;
  readonly serviceAccounts?: Partial<ServiceAccountOptions>;
  /** Passwords, Kerberos, session tokens. */
  readonly login?: LoginOptions;
  /** OIDC, webhook. */
  readonly tokenSources?: TokenSourceOptions;
  readonly authorization?: AuthorizationSettings;
  readonly admission?: AdmissionSettings;
  readonly audit?: AuditSettings | undefined;
  /** Default: no change log. */
  readonly changeLog?: ChangeLogSettings | undefined;
  /** Encryption at rest. Default: none. */
  readonly encryption?: EncryptionSettings;
  /** TLS versions and cipher suites. */
  readonly tls?: TlsSettings;
  /** Certificates and keys that are read again when their files change. */
  readonly files?: FollowedFiles;
  /** metrics.k8s.io, served by this server. */
  readonly resourceMetrics?: ResourceMetricsSettings;
  /** Between leave() and stop(), for the program that runs the server. */
  readonly shutdownDelayMs?: number;
}
