/** Flags of tokens that others vouch for (OIDC, webhook) and of the lives of service account tokens. Upstream's names. */
import type { ServiceAccountOptions } from '#apiserver/authn/authentication.ts';
import type { OidcFlags } from '#apiserver/authn/oidc/configuration.ts';
import type { TokenSourceOptions } from '#apiserver/authn/token-sources.ts';
import { UserError } from '#deploy/data-dir.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { AUTHENTICATION_FLAGS, SERVICE_ACCOUNT_FLAGS } from '../flags.ts';

type AuthenticationFlags = GivenFlags<typeof AUTHENTICATION_FLAGS>;
type ServiceAccountFlags = GivenFlags<typeof SERVICE_ACCOUNT_FLAGS>;

/** Upstream's, which is v1beta1 for servers that are older than v1. */
const DEFAULT_WEBHOOK_VERSION = 'v1beta1';
const DEFAULT_CACHE_TTL_MS = 120_000;
const HOUR_MS = 3_600_000;
const LONGEST_SECONDS = 2 ** 32;

/** undefined when nothing of it is configured. */
export function tokenSourcesFrom(flags: AuthenticationFlags): TokenSourceOptions | undefined {
  const jwt = jwtFrom(flags),
    webhook = webhookFrom(flags);
  return jwt || webhook ? { jwt, webhook } : undefined;
}

function jwtFrom(flags: AuthenticationFlags): TokenSourceOptions['jwt'] {
  const oidc = oidcFlags(flags);
  const isOidcSet = flags.oidcCaFile !== undefined || Object.keys(oidc).length > 0;
  if (flags.authenticationConfig !== undefined) {
    if (isOidcSet)
      throw new UserError(
        'authentication-config file and oidc-* flags are mutually exclusive: give one or the other.',
      );
    return { file: flags.authenticationConfig };
  }
  if (!isOidcSet) return undefined;
  if (!oidc.oidcIssuerUrl || !oidc.oidcClientId)
    throw new UserError(
      'oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set.',
    );
  return { flags: oidc, caFile: flags.oidcCaFile };
}

const OIDC_FLAGS = [
  'oidcIssuerUrl',
  'oidcClientId',
  'oidcUsernameClaim',
  'oidcUsernamePrefix',
  'oidcGroupsClaim',
  'oidcGroupsPrefix',
  'oidcRequiredClaim',
  'oidcSigningAlgs',
] as const;

function oidcFlags(flags: AuthenticationFlags): OidcFlags {
  return Object.fromEntries(
    OIDC_FLAGS.filter((name) => flags[name] !== undefined).map((name) => [name, flags[name]]),
  );
}

function webhookFrom(flags: AuthenticationFlags): TokenSourceOptions['webhook'] {
  const {
    authenticationTokenWebhookConfigFile: configFile,
    authenticationTokenWebhookVersion: version,
    authenticationTokenWebhookCacheTtl: ttlMs,
  } = readFlags(AUTHENTICATION_FLAGS, flags);
  if (configFile === undefined) {
    if (version !== undefined || ttlMs !== undefined)
      throw new UserError(
        '--authentication-token-webhook-version and --authentication-token-webhook-cache-ttl need --authentication-token-webhook-config-file.',
      );
    return undefined;
  }
  if (version !== undefined && version !== 'v1' && version !== 'v1beta1')
    throw new UserError(
      `--authentication-token-webhook-version is "${version}"; it should be v1 or v1beta1.`,
    );
  return {
    configFile,
    version: version ?? DEFAULT_WEBHOOK_VERSION,
    cacheTtlMs: ttlMs ?? DEFAULT_CACHE_TTL_MS,
  };
}

/** Throws a UserError for values that upstream refuses too. The maximum lifetime of a token; other flags set by `to`. */
export function serviceAccountTokensFrom(
  flags: ServiceAccountFlags,
): Pick<ServiceAccountOptions, 'maxExpirationSeconds'> {
  const { serviceAccountIssuer: issuers, serviceAccountJwksUri: jwksUri } = flags;
  for (const issuer of issuers ?? []) {
    if (issuer === '') throw new UserError('--service-account-issuer should not be an empty string.');
    if (issuer.includes(':') && !URL.canParse(issuer))
      throw new UserError(`--service-account-issuer "${issuer}" contained a ':' but was not a valid URL.`);
  }
  if (jwksUri !== undefined && !(URL.canParse(jwksUri) && jwksUri.startsWith('https://')))
    throw new UserError(`--service-account-jwks-uri is "${jwksUri}"; it should be an https:// URL.`);
  return maxExpirationFrom(flags);
}

function maxExpirationFrom(flags: ServiceAccountFlags): Pick<ServiceAccountOptions, 'maxExpirationSeconds'> {
  const { serviceAccountMaxTokenExpiration: maxMs = 0 } = readFlags(SERVICE_ACCOUNT_FLAGS, flags);
  if (maxMs !== 0 && (maxMs < HOUR_MS || maxMs / 1000 > LONGEST_SECONDS))
    throw new UserError(
      `--service-account-max-token-expiration is "${flags.serviceAccountMaxTokenExpiration ?? ''}"; it must be between 1 hour and 2^32 seconds.`,
    );
  return maxMs > 0 ? { maxExpirationSeconds: Math.floor(maxMs / 1000) } : {};
}
