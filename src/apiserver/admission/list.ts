/**
 * Composition of admission: every built-in plugin, in upstream's order. Adding one = one file, one test, one line in `build`.
 *
 *   createApiServer({ …, admission: () => createAdmission({ authorization }) })
 */
import type { Authorization } from '../authz/authorization.ts';
import { defaultIngressClass } from './plugins/default-ingress-class.ts';
import { defaultStorageClass } from './plugins/default-storage-class.ts';
import { defaultTolerationSeconds } from './plugins/default-toleration-seconds.ts';
import { hierarchicalNamespaces } from './plugins/hierarchy/hierarchical-namespaces.ts';
import { hierarchicalResourceQuota } from './plugins/hierarchy/hierarchical-resource-quota.ts';
import { LiveTrees } from './plugins/hierarchy/live-trees.ts';
import { limitRanger } from './plugins/limit-ranger.ts';
import { namespaceLifecycle } from './plugins/namespace-lifecycle.ts';
import { nodeRestriction } from './plugins/node-restriction.ts';
import { persistentVolumeClaimResize } from './plugins/persistent-volume-claim-resize.ts';
import type { OptionalPluginOptions } from './optional.ts';
import { loadOptionalPlugin } from './optional-plugins.ts';
import { OPTIONAL_PLUGINS, type OptionalPlugin } from './optional-plugin-names.ts';
import type { AdmissionPlugin } from './plugin.ts';
import { podTopologyLabels } from './plugins/pod-topology-labels.ts';
import { mutatingAdmissionPolicy } from './policies/mutating.ts';
import { validatingAdmissionPolicy } from './policies/validating.ts';
import { podSecurity, type PodSecurityOptions } from './plugins/pod-security/pod-security.ts';
import { priority } from './plugins/priority.ts';
import { rbacEscalation } from './plugins/rbac-escalation.ts';
import { resourceQuota, type ResourceQuotaOptions } from './plugins/resource-quota/resource-quota.ts';
import { runtimeClass } from './plugins/runtime-class.ts';
import { serviceAccount } from './plugins/service-account.ts';
import {
  certificateApproval,
  certificateSigning,
  certificateSubjectRestriction,
  clusterTrustBundleAttest,
} from './plugins/signers.ts';
import { podGroupProtection, podGroupWorkloadExists } from './plugins/pod-groups.ts';
import { storageObjectInUseProtection } from './plugins/storage-object-in-use-protection.ts';
import { taintNodesByCondition } from './plugins/taint-nodes-by-condition.ts';
import { mutatingAdmissionWebhook } from './webhooks/mutating.ts';
import { validatingAdmissionWebhook } from './webhooks/validating.ts';

export interface AdmissionOptions {
  readonly authorization: Authorization;
  /** Upstream's plugin names, as in --disable-admission-plugins. An unknown one is refused. */
  readonly disabled?: readonly string[] | undefined;
  /** As in --enable-admission-plugins: of those that are off by default; others are on anyhow. */
  readonly enabled?: readonly string[] | undefined;
  /** Of plugins that have any. */
  readonly configuration?: AdmissionPluginConfiguration;
}

/** Sections of an AdmissionConfiguration, see configuration.ts. */
export interface AdmissionPluginConfiguration extends OptionalPluginOptions {
  readonly podSecurity?: PodSecurityOptions;
  readonly resourceQuota?: ResourceQuotaOptions;
}

/** The list in the order it runs. Throws an Error that names a plugin it does not know, or whose configuration is missing. */
export function createAdmission(options: AdmissionOptions): readonly AdmissionPlugin[] {
  const { disabled = [], enabled = [] } = options;
  const plugins = build(options);
  const known = new Set([...plugins.map(({ name }) => name), ...OPTIONAL_PLUGINS]);
  for (const name of [...disabled, ...enabled]) {
    if (!known.has(name))
      throw new Error(
        `admission plugin ${JSON.stringify(name)} is unknown: known are ${[...known].join(', ')}`,
      );
  }
  const both = enabled.find((name) => disabled.includes(name));
  if (both !== undefined)
    throw new Error(`admission plugin ${JSON.stringify(both)} is both enabled and disabled`);
  return plugins.filter(({ name }) => !disabled.includes(name));
}

function build({ authorization, enabled = [], configuration = {} }: AdmissionOptions): AdmissionPlugin[] {
  const { authorizer, rbac } = authorization;
  const trees = new LiveTrees();
  const optional = (...names: OptionalPlugin[]): AdmissionPlugin[] =>
    names.filter((name) => enabled.includes(name)).map((name) => loadOptionalPlugin(name, configuration));
  return [
    ...optional('AlwaysAdmit', 'NamespaceAutoProvision'),
    namespaceLifecycle,
    ...optional('NamespaceExists', 'LimitPodHardAntiAffinityTopology'),
    limitRanger,
    serviceAccount,
    nodeRestriction(authorizer),
    taintNodesByCondition,
    ...optional('AlwaysPullImages', 'ImagePolicyWebhook'),
    podSecurity(configuration.podSecurity),
    ...optional('PodNodeSelector'),
    priority,
    defaultTolerationSeconds,
    ...optional('PodTolerationRestriction', 'EventRateLimit', 'ExtendedResourceToleration'),
    defaultStorageClass,
    storageObjectInUseProtection,
    podGroupProtection,
    ...optional('OwnerReferencesPermissionEnforcement'),
    persistentVolumeClaimResize,
    runtimeClass,
    certificateApproval(authorizer),
    certificateSigning(authorizer),
    clusterTrustBundleAttest(authorizer),
    certificateSubjectRestriction,
    defaultIngressClass,
    ...optional('DenyServiceExternalIPs'),
    podTopologyLabels,
    podGroupWorkloadExists,
    rbacEscalation(authorizer, rbac),
    hierarchicalNamespaces(authorizer, trees),
    mutatingAdmissionPolicy(),
    mutatingAdmissionWebhook(),
    validatingAdmissionPolicy(),
    validatingAdmissionWebhook(),
    resourceQuota(configuration.resourceQuota),
    hierarchicalResourceQuota(trees),
    ...optional('AlwaysDeny'),
  ];
}
