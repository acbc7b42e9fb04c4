/**
 * Compiles a NetworkPolicy. Pure.
 * Semantics: https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
 */
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '#api/types.ts';
import { blockRanges, mergeRanges } from './address-ranges.ts';
import {
  selectPods,
  type CompiledPolicy,
  type Peers,
  type PolicyRule,
  type PortMatch,
} from './compiled-policy.ts';

export function compileNetworkPolicy({ metadata, spec }: NetworkPolicy): CompiledPolicy {
  const namespace = metadata?.namespace ?? '';
  const types = directionsOf(spec);
  const rule = (
    peers: readonly NetworkPolicyPeer[] | undefined,
    ports: readonly NetworkPolicyPort[] | undefined,
  ): PolicyRule => ({
    action: 'Accept',
    // An empty list is as one that is absent.
    peers: peers?.length ? compilePeers(peers, namespace) : undefined,
    ports: ports?.length ? ports.map(compilePort) : undefined,
  });
  return {
    key: `${namespace}/${metadata?.name ?? ''}`,
    tier: 'NetworkPolicy',
    priority: 0,
    // The field is required; decoded from JSON it may be absent, which upstream reads as the empty selector.
    subject: selectPods(spec?.podSelector ?? {}, { namespace }),
    ingress: types.includes('Ingress')
      ? (spec?.ingress ?? []).map(({ from, ports }) => rule(from, ports))
      : undefined,
    egress: types.includes('Egress')
      ? (spec?.egress ?? []).map(({ to, ports }) => rule(to, ports))
      : undefined,
  };
}

/** Stored policies have the field; the default is upstream's. */
function directionsOf(spec: NetworkPolicy['spec']): readonly string[] {
  if (spec?.policyTypes?.length) return spec.policyTypes;
  return spec?.egress?.length ? ['Ingress', 'Egress'] : ['Ingress'];
}

function compilePeers(peers: readonly NetworkPolicyPeer[], namespace: string): Peers {
  const blocks = peers.flatMap(({ ipBlock }) => ipBlock ?? []);
  const ranges = (family: 'ip' | 'ip6') =>
    mergeRanges(blocks.flatMap(({ cidr, except }) => blockRanges(cidr, { except, family })));
  return {
    pods: peers.flatMap(({ podSelector, namespaceSelector, ipBlock }) => {
      if (ipBlock || (!podSelector && !namespaceSelector)) return [];
      const where = namespaceSelector ? { namespaces: namespaceSelector } : { namespace };
      return [selectPods(podSelector ?? {}, where)];
    }),
    ranges: { ip: ranges('ip'), ip6: ranges('ip6') },
  };
}

function compilePort({ protocol: name = 'TCP', port, endPort }: NetworkPolicyPort): PortMatch {
  const protocol = name.toLowerCase() as NonNullable<PortMatch['protocol']>;
  if (port === undefined) return { protocol };
  if (typeof port === 'string') return { protocol, name: port };
  return { protocol, first: port, last: endPort ?? port };
}
