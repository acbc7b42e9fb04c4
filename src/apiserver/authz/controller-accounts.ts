/**
 * Which service account of kube-system a controller acts as: the default policy binds roles to these names, and upstream's names of
 * controllers (--controllers) are mostly others. Facts of kube-controller-manager.
 */
import { CONTROLLER_ROLES, GATED_CONTROLLER_ROLES } from './bootstrap-policy-data.ts';

/** Only those whose two names differ. */
const ACCOUNTS: Readonly<Record<string, string>> = {
  'bootstrap-signer-controller': 'bootstrap-signer',
  'certificatesigningrequest-approving-controller': 'certificate-controller',
  'certificatesigningrequest-cleaner-controller': 'certificate-controller',
  'certificatesigningrequest-signing-controller': 'certificate-controller',
  'daemonset-controller': 'daemon-set-controller',
  'endpoints-controller': 'endpoint-controller',
  'endpointslice-mirroring-controller': 'endpointslicemirroring-controller',
  'garbage-collector-controller': 'generic-garbage-collector',
  'horizontal-pod-autoscaler-controller': 'horizontal-pod-autoscaler',
  'legacy-serviceaccount-token-cleaner-controller': 'legacy-service-account-token-cleaner',
  'node-ipam-controller': 'node-controller',
  'node-lifecycle-controller': 'node-controller',
  'node-route-controller': 'route-controller',
  'persistentvolume-attach-detach-controller': 'attachdetach-controller',
  'persistentvolume-binder-controller': 'persistent-volume-binder',
  'persistentvolume-expander-controller': 'expand-controller',
  'persistentvolume-protection-controller': 'pv-protection-controller',
  'persistentvolumeclaim-protection-controller': 'pvc-protection-controller',
  'pod-garbage-collector-controller': 'pod-garbage-collector',
  'replicationcontroller-controller': 'replication-controller',
  'resourceclaim-controller': 'resource-claim-controller',
  'root-ca-certificate-publisher-controller': 'root-ca-cert-publisher',
  'service-cidr-controller': 'service-cidrs-controller',
  'service-lb-controller': 'service-controller',
  'serviceaccount-controller': 'service-account-controller',
  'taint-eviction-controller': 'node-controller',
  'token-cleaner-controller': 'token-cleaner',
};

/** Accounts whose rights are Roles in a namespace rather than a ClusterRole. */
export const NAMESPACED_ACCOUNTS: readonly string[] = ['bootstrap-signer', 'token-cleaner'];

/** 'daemonset-controller' → 'daemon-set-controller'; undefined for a controller the default policy does not know. */
export function controllerServiceAccount(controllerName: string): string | undefined {
  const account = Object.hasOwn(ACCOUNTS, controllerName) ? ACCOUNTS[controllerName]! : controllerName;
  return Object.hasOwn(CONTROLLER_ROLES, account) ||
    Object.hasOwn(GATED_CONTROLLER_ROLES, account) ||
    NAMESPACED_ACCOUNTS.includes(account)
    ? account
    : undefined;
}
