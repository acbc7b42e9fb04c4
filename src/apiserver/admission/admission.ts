/**
 * Composition of admission: every built-in plugin, in upstream's order. Adding one = one file, one test, one line in `build`.
 *
 *   createApiServer({ …, admission: () => createAdmission({ authorization }) })
 */
import type { Authorization } from '../authz/authorization.ts';
import { defaultIngressClass } from './default-ingress-class.ts';
import { defaultStorageClass } from './default-storage-class.ts';
import { defaultTolerationSeconds } from './default-toleration-seconds.ts';
import { limitRanger } from './limit-ranger.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { nodeRestriction } from './node-restriction.ts';
import { persistentVolumeClaimResize } from './persistent-volume-claim-resize.ts';
import type { AdmissionPlugin } from './plugin.ts';
import { mutatingAdmissionPolicy } from './policies/mutating.ts';
import { validatingAdmissionPolicy } from './policies/validating.ts';
import { podSecurity, type PodSecurityOptions } from './pod-security/pod-security.ts';
import { priority } from './priority.ts';
import { rbacEscalation } from './rbac-escalation.ts';
import { resourceQuota } from './resource-quota/resource-quota.ts';
import { runtimeClass } from './runtime-class.ts';
import { serviceAccount } from './service-account.ts';
import { certificateApproval, certificateSigning, certificateSubjectRestriction, clusterTrustBundleAttest } from './signers.ts';
import { storageObjectInUseProtection } from './storage-object-in-use-protection.ts';
import { taintNodesByCondition } from './taint-nodes-by-condition.ts';
import { mutatingAdmissionWebhook } from './webhooks/mutating.ts';
import { validatingAdmissionWebhook } from './webhooks/validating.ts';

export interface AdmissionOptions {
  readonly authorization: Authorization;
  /** Upstream's plugin names, as in --disable-admission-plugins. An unknown one is refused. */
  readonly disabled?: readonly string[];
  readonly podSecurity?: PodSecurityOptions;
}

/** The list in the order it runs. Throws an Error that names a plugin it does not know. */
export function createAdmission(options: AdmissionOptions): readonly AdmissionPlugin[] {
  const plugins = build(options);
  const known = new Set(plugins.map(({ name }) => name));
  for (const name of options.disabled ?? []) {
    if (!known.has(name)) throw new Error(`admission plugin ${JSON.stringify(name)} is unknown: known are ${[...known].join(', ')}`);
  }
  return plugins.filter(({ name }) => !options.disabled?.includes(name));
}

function build({ authorization, podSecurity: podSecurityOptions }: AdmissionOptions): AdmissionPlugin[] {
  const { authorizer, rbac, rbacEnabled } = authorization;
  return [
    namespaceLifecycle,
    limitRanger,
    serviceAccount,
    nodeRestriction(authorizer),
    taintNodesByCondition,
    podSecurity(podSecurityOptions),
    priority,
    defaultTolerationSeconds,
    defaultStorageClass,
    storageObjectInUseProtection,
    persistentVolumeClaimResize,
    runtimeClass,
    certificateApproval(authorizer),
    certificateSigning(authorizer),
    clusterTrustBundleAttest(authorizer),
    certificateSubjectRestriction,
    defaultIngressClass,
    ...(rbacEnabled ? [rbacEscalation(authorizer, rbac)] : []),
    mutatingAdmissionPolicy(),
    mutatingAdmissionWebhook(),
    validatingAdmissionPolicy(),
    validatingAdmissionWebhook(),
    resourceQuota(),
  ];
}
