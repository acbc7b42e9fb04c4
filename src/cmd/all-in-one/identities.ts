/** API identities of the parts of the all-in-one program: the same users as in the certificates of the separate commands. */
import type { UserInfo } from '#machinery/object.ts';

const AUTHENTICATED = 'system:authenticated';

export const identities = {
  scheduler: { name: 'system:kube-scheduler', groups: [AUTHENTICATED] },
  controllerManager: { name: 'system:kube-controller-manager', groups: [AUTHENTICATED] },
  proxy: { name: 'system:kube-proxy', groups: ['system:node-proxier', AUTHENTICATED] },
  dns: serviceAccount('coredns'),
  gateway: serviceAccount('gateway'),
  /** What `capstan up` itself writes about its machine; there are no credentials for it outside of the program. */
  up: { name: 'system:capstan:up', groups: ['system:masters', AUTHENTICATED] },
  /**
   * Registers any number of nodes and acts for all of them: no single node's identity fits. In system:nodes for the priority level of
   * nodes' requests; its rights are those of ClusterRole capstan:simulated-nodes.
   */
  simulatedNodes: { name: 'system:capstan:simulated-nodes', groups: ['system:nodes', AUTHENTICATED] },
} as const satisfies Record<string, UserInfo>;

export function nodeIdentity(nodeName: string): UserInfo {
  return { name: `system:node:${nodeName}`, groups: ['system:nodes', AUTHENTICATED] };
}

/** Each controller uses its own service account in kube-system, as with kube-controller-manager --use-service-account-credentials. */
export function controllerIdentity(account: string): UserInfo {
  return serviceAccount(account);
}

function serviceAccount(name: string): UserInfo {
  return {
    name: `system:serviceaccount:kube-system:${name}`,
    groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system', AUTHENTICATED],
  };
}
