/** ClusterNetworkPolicy as policy.networking.k8s.io/v1alpha2 has it: the fields that the cluster's CustomResourceDefinition takes. */
import type { ResourceRef } from '#client/client.ts';
import type { LabelSelectorObject } from '#machinery/labels.ts';
import type { KubeObject } from '#machinery/object.ts';

export interface ClusterNetworkPolicy extends KubeObject {
  readonly spec: {
    readonly tier: 'Admin' | 'Baseline';
    /** 0 to 1000; lower is evaluated first. */
    readonly priority: number;
    readonly subject: PodsPeer;
    readonly ingress?: readonly (ClusterRule & { readonly from: readonly PodsPeer[] })[];
    readonly egress?: readonly (ClusterRule & { readonly to: readonly EgressPeer[] })[];
  };
}

export interface ClusterRule {
  readonly name?: string;
  readonly action: 'Accept' | 'Deny' | 'Pass';
  readonly protocols?: readonly ProtocolMatch[];
}

/** One of the fields. */
export interface PodsPeer {
  readonly namespaces?: LabelSelectorObject;
  readonly pods?: {
    readonly namespaceSelector?: LabelSelectorObject;
    readonly podSelector?: LabelSelectorObject;
  };
}

/** One of the fields. */
export interface EgressPeer extends PodsPeer {
  readonly networks?: readonly string[];
}

/** One of the fields. */
export interface ProtocolMatch {
  readonly tcp?: TransportMatch;
  readonly udp?: TransportMatch;
  readonly sctp?: TransportMatch;
  readonly destinationNamedPort?: string;
}

export interface TransportMatch {
  readonly destinationPort?: {
    readonly number?: number;
    readonly range?: { readonly start: number; readonly end: number };
  };
}

export const clusterNetworkPolicies: ResourceRef<ClusterNetworkPolicy> = {
  group: 'policy.networking.k8s.io',
  version: 'v1alpha2',
  plural: 'clusternetworkpolicies',
  kind: 'ClusterNetworkPolicy',
  namespaced: false,
};
