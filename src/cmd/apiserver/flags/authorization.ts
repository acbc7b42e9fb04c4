/** Flags of authorization, with upstream's names, turned into settings. Files are read where authorizers are made of them. */
import type { AuthorizationSettings, WebhookSettings } from '#apiserver/authz/authorization.ts';
import { UserError } from '#deploy/data-dir.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { errorMessage } from '#stdx/log.ts';

export interface AuthorizationFlags {
  readonly authorizationMode?: readonly string[];
  readonly authorizationPolicyFile?: string;
  readonly authorizationConfig?: string;
  readonly authorizationWebhookConfigFile?: string;
  readonly authorizationWebhookVersion?: string;
  readonly authorizationWebhookCacheAuthorizedTtl?: string;
  readonly authorizationWebhookCacheUnauthorizedTtl?: string;
}

/** undefined = the defaults. */
export function authorizationSettings(flags: AuthorizationFlags): AuthorizationSettings | undefined {
  const {
    authorizationMode: modes,
    authorizationPolicyFile: policyFile,
    authorizationConfig: configFile,
  } = flags;
  const webhookFlags = [
    flags.authorizationWebhookConfigFile,
    flags.authorizationWebhookVersion,
    flags.authorizationWebhookCacheAuthorizedTtl,
    flags.authorizationWebhookCacheUnauthorizedTtl,
  ];
  const webhookGiven = webhookFlags.some((value) => value !== undefined);
  if (configFile !== undefined && (modes || webhookGiven))
    throw new UserError(
      '--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined.',
    );
  if (webhookGiven && flags.authorizationWebhookConfigFile === undefined)
    throw new UserError('--authorization-webhook-* flags need --authorization-webhook-config-file.');
  if (!modes && !webhookGiven && policyFile === undefined && configFile === undefined) return undefined;
  return { modes, policyFile, configFile, webhook: webhookSettings(flags) };
}

function webhookSettings(flags: AuthorizationFlags): WebhookSettings | undefined {
  const { authorizationWebhookConfigFile: configFile, authorizationWebhookVersion: version } = flags;
  if (configFile === undefined) return undefined;
  if (version !== undefined && version !== 'v1' && version !== 'v1beta1')
    throw new UserError(`--authorization-webhook-version is "${version}"; it should be v1 or v1beta1.`);
  return {
    configFile,
    version,
    authorizedTtlMs: ttlMs(
      '--authorization-webhook-cache-authorized-ttl',
      flags.authorizationWebhookCacheAuthorizedTtl,
    ),
    unauthorizedTtlMs: ttlMs(
      '--authorization-webhook-cache-unauthorized-ttl',
      flags.authorizationWebhookCacheUnauthorizedTtl,
    ),
  };
}

function ttlMs(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  let ms: number;
  try {
    ms = goDurationMs(text);
  } catch (error) {
    throw new UserError(
      `${flag} is "${text}"; it should be a duration such as 5m: ${errorMessage(error)}.`,
      error,
    );
  }
  if (ms < 0) throw new UserError(`${flag} is "${text}"; it should not be negative.`);
  return ms;
}
