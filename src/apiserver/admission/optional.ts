/** The plugins that are off unless --enable-admission-plugins names them. Loaded when one is: most servers have none. */
import { alwaysAdmit, alwaysDeny } from './plugins/always.ts';
import { alwaysPullImages } from './plugins/always-pull-images.ts';
import { denyServiceExternalIPs } from './plugins/deny-service-external-ips.ts';
import { eventRateLimit, type EventLimit } from './plugins/event-rate-limit.ts';
import { extendedResourceToleration } from './plugins/extended-resource-toleration.ts';
import { imagePolicyWebhook, type ImagePolicyOptions } from './plugins/image-policy-webhook.ts';
import { limitPodHardAntiAffinityTopology } from './plugins/limit-pod-hard-anti-affinity-topology.ts';
import { namespaceAutoProvision, namespaceExists } from './plugins/namespace-existence.ts';
import type { OptionalPlugin } from './optional-plugin-names.ts';
import { ownerReferencesPermissionEnforcement } from './plugins/owner-references-permission-enforcement.ts';
import type { AdmissionPlugin } from './plugin.ts';
import { podNodeSelector, type PodNodeSelectorOptions } from './plugins/pod-node-selector.ts';
import {
  podTolerationRestriction,
  type PodTolerationRestrictionOptions,
} from './plugins/pod-toleration-restriction.ts';

/** From their sections of the AdmissionConfiguration. */
export interface OptionalPluginOptions {
  readonly eventRateLimit?: readonly EventLimit[];
  readonly imagePolicy?: ImagePolicyOptions;
  readonly podNodeSelector?: PodNodeSelectorOptions;
  readonly podTolerationRestriction?: PodTolerationRestrictionOptions;
}

/** Throws an Error that names the plugin whose configuration is missing. */
export function optionalPlugin(name: OptionalPlugin, options: OptionalPluginOptions): AdmissionPlugin {
  const needed = <T>(value: T | undefined): T => {
    if (value === undefined)
      throw new Error(
        `admission plugin ${name} needs its configuration: give it by --admission-control-config-file`,
      );
    return value;
  };
  switch (name) {
    case 'AlwaysAdmit':
      return alwaysAdmit;
    case 'AlwaysDeny':
      return alwaysDeny;
    case 'AlwaysPullImages':
      return alwaysPullImages;
    case 'DenyServiceExternalIPs':
      return denyServiceExternalIPs;
    case 'EventRateLimit':
      return eventRateLimit(needed(options.eventRateLimit));
    case 'ExtendedResourceToleration':
      return extendedResourceToleration;
    case 'ImagePolicyWebhook':
      return imagePolicyWebhook(needed(options.imagePolicy));
    case 'LimitPodHardAntiAffinityTopology':
      return limitPodHardAntiAffinityTopology;
    case 'NamespaceAutoProvision':
      return namespaceAutoProvision;
    case 'NamespaceExists':
      return namespaceExists;
    case 'OwnerReferencesPermissionEnforcement':
      return ownerReferencesPermissionEnforcement();
    case 'PodNodeSelector':
      return podNodeSelector(options.podNodeSelector);
    case 'PodTolerationRestriction':
      return podTolerationRestriction(options.podTolerationRestriction);
  }
}
