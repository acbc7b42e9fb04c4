/** Names of the plugins that are off by default, and the way to one of them: optional.ts, loaded for the first. */
import { createRequire } from 'node:module';
import type { OptionalPluginOptions } from './optional.ts';
import type { AdmissionPlugin } from './plugin.ts';

const require = createRequire(import.meta.url);

export const OPTIONAL_PLUGINS = [
  'AlwaysAdmit',
  'AlwaysDeny',
  'AlwaysPullImages',
  'DenyServiceExternalIPs',
  'EventRateLimit',
  'ExtendedResourceToleration',
  'ImagePolicyWebhook',
  'LimitPodHardAntiAffinityTopology',
  'NamespaceAutoProvision',
  'NamespaceExists',
  'OwnerReferencesPermissionEnforcement',
  'PodNodeSelector',
  'PodTolerationRestriction',
] as const;

export type OptionalPlugin = (typeof OPTIONAL_PLUGINS)[number];

/** Throws an Error when the plugin's configuration is missing or cannot be used. */
export function loadOptionalPlugin(name: OptionalPlugin, options: OptionalPluginOptions): AdmissionPlugin {
  return (require('./optional.ts') as typeof import('./optional.ts')).optionalPlugin(name, options);
}
