/**
 * What the rules of a node need to know of a policy, whatever kind it is of: whom it applies to, and for each direction its rules in order. Made by
 * compile-network-policy.ts and compile-cluster-network-policy.ts, read by ruleset.ts.
 */
import type { Labels } from '#machinery/labels.ts';
import { compileLabelSelector, LabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import type { AddressRange, Family } from './address-ranges.ts';

export type Direction = 'ingress' | 'egress';

/** In the order of evaluation: the tiers of ClusterNetworkPolicies are before and after that of NetworkPolicies. */
export type Tier = 'Admin' | 'NetworkPolicy' | 'Baseline';

/** Accept and Deny end the evaluation of this direction; Pass goes on with the next tier. */
export type Action = 'Accept' | 'Deny' | 'Pass';

/** Selects pods of the cluster. Equal keys select the same. */
export interface PodSelection {
  readonly key: string;
  /** Of this namespace only. */
  readonly namespace?: string;
  /** Else of the namespaces with such labels. */
  readonly namespaces?: LabelSelector;
  readonly pods: LabelSelector;
}

/** Neither name nor first: every port of the protocol. No protocol: a named port of any. */
export interface PortMatch {
  readonly protocol?: 'tcp' | 'udp' | 'sctp';
  readonly name?: string;
  readonly first?: number;
  readonly last?: number;
}

/** Traffic with any of these peers. Empty lists: with none. */
export interface Peers {
  readonly pods: readonly PodSelection[];
  /** Disjoint and in order. */
  readonly ranges: Readonly<Record<Family, readonly AddressRange[]>>;
}

/** Traffic of one of the peers at one of the ports; undefined: of all, at all. */
export interface PolicyRule {
  readonly action: Action;
  readonly peers: Peers | undefined;
  readonly ports: readonly PortMatch[] | undefined;
}

export interface CompiledPolicy {
  /** 'namespace/name'; of a ClusterNetworkPolicy '/name'. */
  readonly key: string;
  readonly tier: Tier;
  /** Of a ClusterNetworkPolicy: lower is evaluated first. */
  readonly priority: number;
  readonly subject: PodSelection;
  /** undefined: the policy does not apply to that direction. */
  readonly ingress: readonly PolicyRule[] | undefined;
  readonly egress: readonly PolicyRule[] | undefined;
}

/** Pods of one namespace, or of those with such labels. */
export function selectPods(
  selector: LabelSelectorObject,
  where: { readonly namespace: string } | { readonly namespaces: LabelSelectorObject },
): PodSelection {
  const pods = compileLabelSelector(selector);
  if ('namespace' in where) return { key: `${where.namespace}|${pods.toString()}`, pods, ...where };
  const namespaces = compileLabelSelector(where.namespaces);
  return { key: `?${namespaces.toString()}|${pods.toString()}`, pods, namespaces };
}

/** namespaceLabels: undefined for a namespace that is not known (yet), which no selector of namespaces selects. */
export function selects(
  { namespace, namespaces, pods }: PodSelection,
  pod: { readonly namespace: string; readonly labels: Labels },
  namespaceLabels: Labels | undefined,
): boolean {
  if (namespace !== undefined && pod.namespace !== namespace) return false;
  if (namespaces !== undefined && (namespaceLabels === undefined || !namespaces.matches(namespaceLabels)))
    return false;
  return pods.matches(pod.labels);
}
