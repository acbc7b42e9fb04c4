/**
 * Compiles a ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2. Pure.
 * A peer or protocol of a field that is not known fails closed, as the API asks for: an Accept matches nothing, a Deny or Pass denies everything.
 */
import { blockRanges, mergeRanges } from './address-ranges.ts';
import type {
  ClusterNetworkPolicy,
  ClusterRule,
  EgressPeer,
  PodsPeer,
  ProtocolMatch,
  TransportMatch,
} from './cluster-network-policy.ts';
import {
  selectPods,
  type CompiledPolicy,
  type Peers,
  type PodSelection,
  type PolicyRule,
  type PortMatch,
} from './compiled-policy.ts';

const NO_PEERS: Peers = { pods: [], ranges: { ip: [], ip6: [] } };

/** undefined where the subject is of a field that is not known: it is not known whom the policy applies to. */
export function compileClusterNetworkPolicy({
  metadata,
  spec,
}: ClusterNetworkPolicy): CompiledPolicy | undefined {
  const subject = podsOf(spec.subject);
  if (!subject) return undefined;
  const ingress = (spec.ingress ?? []).map((rule) => compileRule(rule, rule.from));
  const egress = (spec.egress ?? []).map((rule) => compileRule(rule, rule.to));
  return {
    key: `/${metadata?.name ?? ''}`,
    tier: spec.tier,
    priority: spec.priority,
    subject,
    ingress: ingress.length > 0 ? ingress : undefined,
    egress: egress.length > 0 ? egress : undefined,
  };
}

function compileRule({ action, protocols }: ClusterRule, list: readonly EgressPeer[]): PolicyRule {
  const peers = compilePeers(list);
  const ports = protocols?.length ? compileProtocols(protocols) : 'any';
  if (peers !== undefined && ports !== undefined)
    return { action, peers, ports: ports === 'any' ? undefined : ports };
  return action === 'Accept'
    ? { action, peers: NO_PEERS, ports: undefined }
    : { action: 'Deny', peers: undefined, ports: undefined };
}

function compilePeers(list: readonly EgressPeer[]): Peers | undefined {
  const networks = list.flatMap((peer) => peer.networks ?? []);
  const ranges = (family: 'ip' | 'ip6') =>
    mergeRanges(networks.flatMap((cidr) => blockRanges(cidr, { family })));
  const isKnown = ({ namespaces, pods, networks: ofPeer }: EgressPeer): boolean =>
    [namespaces, pods, ofPeer].some((field) => field !== undefined);
  if (!list.every(isKnown)) return undefined;
  return {
    pods: list.flatMap((peer) => podsOf(peer) ?? []),
    ranges: { ip: ranges('ip'), ip6: ranges('ip6') },
  };
}

function podsOf({ namespaces, pods }: PodsPeer): PodSelection | undefined {
  if (namespaces) return selectPods({}, { namespaces });
  return pods && selectPods(pods.podSelector ?? {}, { namespaces: pods.namespaceSelector ?? {} });
}

function compileProtocols(protocols: readonly ProtocolMatch[]): PortMatch[] | undefined {
  const matches = protocols.map((match) => {
    if (match.tcp) return transport('tcp', match.tcp);
    if (match.udp) return transport('udp', match.udp);
    if (match.sctp) return transport('sctp', match.sctp);
    return match.destinationNamedPort === undefined ? undefined : { name: match.destinationNamedPort };
  });
  return matches.every((match) => match !== undefined) ? matches : undefined;
}

function transport(
  protocol: 'tcp' | 'udp' | 'sctp',
  { destinationPort }: TransportMatch,
): PortMatch | undefined {
  if (!destinationPort) return { protocol };
  const { number, range } = destinationPort;
  if (range) return { protocol, first: range.start, last: range.end };
  return number === undefined ? undefined : { protocol, first: number, last: number };
}
