/** External token authenticators from settings: issuers of ID tokens (OIDC), and a webhook. Loaded only where one of them is configured. */
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { OidcFlags } from './oidc/configuration.ts';
import type { AnonymousPolicy, JwtSource } from './oidc/jwt-source.ts';
import type { TokenAuthenticator } from './token.ts';
import type { WebhookTokenOptions } from './webhook-tokens.ts';

export interface TokenSourceOptions {
  /** A file of kind AuthenticationConfiguration, or flags. */
  readonly jwt?:
    | { readonly file: string }
    | { readonly flags: OidcFlags; readonly caFile: string | undefined }
    | undefined;
  readonly webhook?: Pick<WebhookTokenOptions, 'configFile' | 'version' | 'cacheTtlMs'> | undefined;
}

export interface TokenSources {
  /** In this order, after the server's own tokens. */
  readonly tokens: readonly TokenAuthenticator[];
  /** The file's current setting of anonymous requests. */
  readonly anonymous: AnonymousPolicy | undefined;
  metrics(): string;
  close(): void;
}

export interface TokenSourceContext {
  readonly apiAudiences: readonly string[];
  /** Those of service accounts, which no other issuer may be. */
  readonly serviceAccountIssuers: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

/** Throws an Error, beginning with the flag in question, for files that cannot be used. */
export async function openTokenSources(
  { jwt, webhook }: TokenSourceOptions,
  { apiAudiences, serviceAccountIssuers, clock, log }: TokenSourceContext,
): Promise<TokenSources> {
  const source: JwtSource | undefined =
    jwt &&
    (await (
      await import('./oidc/jwt-source.ts')
    )
      .openJwtSource({ ...jwt, disallowedIssuers: serviceAccountIssuers, apiAudiences, clock, log })
      .catch((error: unknown) => {
        throw new Error(
          `${'file' in jwt ? `--authentication-config ${jwt.file}` : '--oidc-issuer-url'}: ${errorMessage(error)}`,
          { cause: error },
        );
      }));
  const webhooks =
    webhook &&
    new (await import('./webhook-tokens.ts')).WebhookTokens({ ...webhook, apiAudiences, clock, log });
  return {
    tokens: [...(source ? [source.tokens] : []), ...(webhooks ? [webhooks] : [])],
    get anonymous() {
      return source?.anonymous;
    },
    metrics: () => source?.metrics() ?? '',
    close() {
      source?.close();
      webhooks?.close();
    },
  };
}
