/** Flags of authorization, with upstream's names, turned into settings. Files are read when the authorizers are created. */
import type { AuthorizationSettings, WebhookSettings } from '#apiserver/authz/authorization.ts';
import { UserError } from '#deploy/data-dir.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { AUTHORIZATION_FLAGS } from '../flags.ts';

type AuthorizationFlags = GivenFlags<typeof AUTHORIZATION_FLAGS>;

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
  const {
    authorizationWebhookConfigFile: configFile,
    authorizationWebhookVersion: version,
    authorizationWebhookCacheAuthorizedTtl: authorizedTtlMs,
    authorizationWebhookCacheUnauthorizedTtl: unauthorizedTtlMs,
  } = readFlags(AUTHORIZATION_FLAGS, flags);
  if (configFile === undefined) return undefined;
  if (version !== undefined && version !== 'v1' && version !== 'v1beta1')
    throw new UserError(`--authorization-webhook-version is "${version}"; it should be v1 or v1beta1.`);
  return {
    configFile,
    version,
    authorizedTtlMs,
    unauthorizedTtlMs,
  };
}
