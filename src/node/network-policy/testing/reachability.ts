/**
 * For tests only: whether a pod may reach another by the text of the APIs, slowly and from the objects themselves. Shares nothing with what it is held
 * against but the selectors' library.
 */
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, Pod } from '#api/types.ts';
import { cidrContains, parseCIDR, parseIP } from '#machinery/ip.ts';
import { compileLabelSelector } from '#machinery/labels.ts';
import type { ClusterNetworkPolicy, EgressPeer, PodsPeer, ProtocolMatch } from '../cluster-network-policy.ts';

export interface World {
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly pods: readonly Pod[];
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterNetworkPolicy[];
}

export interface Attempt {
  readonly from: Pod;
  readonly to: Pod;
  readonly source: string;
  readonly destination: string;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly port: number;
}

type PolicyDirection = 'Ingress' | 'Egress';

/** node: only what pods of this node may send and receive is judged. */
export function isAllowed(world: World, { node, ...attempt }: Attempt & { readonly node?: string }): boolean {
  if (attempt.source === attempt.destination || isOfOwnNode(attempt)) return true;
  const judged = ({ spec }: Pod): boolean => node === undefined || spec?.nodeName === node;
  return (
    (!judged(attempt.from) || isAllowedIn('Egress', { world, attempt })) &&
    (!judged(attempt.to) || isAllowedIn('Ingress', { world, attempt }))
  );
}

/** A node and its own pods always reach each other. */
function isOfOwnNode({ from, to }: Attempt): boolean {
  return (
    (from.spec?.hostNetwork === true || to.spec?.hostNetwork === true) &&
    from.spec?.nodeName !== undefined &&
    from.spec.nodeName === to.spec?.nodeName
  );
}

interface Judged {
  readonly world: World;
  readonly attempt: Attempt;
}

function isAllowedIn(type: PolicyDirection, { world, attempt }: Judged): boolean {
  const subject = type === 'Ingress' ? attempt.to : attempt.from;
  if (subject.spec?.hostNetwork) return true;
  const admin = tierVerdict('Admin', { world, attempt, type });
  if (admin !== undefined) return admin;
  const isolating = world.policies.filter(
    ({ metadata, spec }) =>
      metadata?.namespace === subject.metadata?.namespace &&
      compileLabelSelector(spec?.podSelector ?? {}).matches(subject.metadata?.labels) &&
      (spec?.policyTypes?.includes(type) ??
        (type === 'Ingress' || (spec?.egress !== undefined && spec.egress.length > 0))),
  );
  if (isolating.length === 0) return tierVerdict('Baseline', { world, attempt, type }) ?? true;
  return isolating.some((policy) => policyAllows(policy, { world, attempt, type }));
}

/** undefined: no rule decides, or the one that matches first passes. */
function tierVerdict(
  tier: 'Admin' | 'Baseline',
  { world, attempt, type }: Judged & { readonly type: PolicyDirection },
): boolean | undefined {
  const subject = type === 'Ingress' ? attempt.to : attempt.from;
  const other = type === 'Ingress' ? attempt.from : attempt.to;
  const address = type === 'Ingress' ? attempt.source : attempt.destination;
  const applying = world.clusterPolicies
    .filter(({ spec }) => spec.tier === tier && matchesPods(spec.subject, { world, pod: subject }))
    .sort((a, b) => a.spec.priority - b.spec.priority);
  for (const { spec } of applying) {
    const rules =
      type === 'Ingress'
        ? (spec.ingress ?? []).map(({ from, ...rule }) => ({ ...rule, peers: from as readonly EgressPeer[] }))
        : (spec.egress ?? []).map(({ to, ...rule }) => ({ ...rule, peers: to }));
    for (const { action, peers, protocols } of rules) {
      if (!peers.some((peer) => matchesPeer(peer, { world, pod: other, address }))) continue;
      if (protocols?.length && !protocols.some((match) => matchesProtocol(match, attempt))) continue;
      return action === 'Pass' ? undefined : action === 'Accept';
    }
  }
  return undefined;
}

interface Candidate {
  readonly world: World;
  readonly pod: Pod;
}

function matchesPods({ namespaces, pods }: PodsPeer, { world, pod: { metadata, spec } }: Candidate): boolean {
  if (spec?.hostNetwork) return false;
  const labels = world.namespaces.get(metadata?.namespace ?? '');
  if (namespaces) return compileLabelSelector(namespaces).matches(labels);
  return (
    compileLabelSelector(pods?.namespaceSelector ?? {}).matches(labels) &&
    compileLabelSelector(pods?.podSelector ?? {}).matches(metadata?.labels)
  );
}

function matchesPeer(peer: EgressPeer, of: Candidate & { readonly address: string }): boolean {
  if (peer.networks) return peer.networks.some((range) => contains(range, of.address));
  return matchesPods(peer, of);
}

function matchesProtocol({ tcp, udp, sctp, destinationNamedPort }: ProtocolMatch, attempt: Attempt): boolean {
  if (destinationNamedPort !== undefined)
    return servesNamed(attempt, { name: destinationNamedPort, protocol: attempt.protocol });
  const match = { TCP: tcp, UDP: udp, SCTP: sctp }[attempt.protocol];
  if (!match) return false;
  const { number, range } = match.destinationPort ?? {};
  if (range) return range.start <= attempt.port && attempt.port <= range.end;
  return number === undefined || number === attempt.port;
}

function policyAllows(
  { metadata, spec }: NetworkPolicy,
  { world, attempt, type }: Judged & { readonly type: PolicyDirection },
): boolean {
  const [other, address] =
    type === 'Ingress' ? [attempt.from, attempt.source] : [attempt.to, attempt.destination];
  const rules =
    type === 'Ingress'
      ? (spec?.ingress ?? []).map(({ from, ports }) => ({ peers: from, ports }))
      : (spec?.egress ?? []).map(({ to, ports }) => ({ peers: to, ports }));
  const namespace = metadata?.namespace ?? '';
  return rules.some(
    ({ peers, ports }) =>
      (!peers?.length || peers.some((peer) => peerMatches(peer, { world, namespace, other, address }))) &&
      (!ports?.length || ports.some((port) => portMatches(port, attempt))),
  );
}

function peerMatches(
  { ipBlock, podSelector, namespaceSelector }: NetworkPolicyPeer,
  of: { readonly world: World; readonly namespace: string; readonly other: Pod; readonly address: string },
): boolean {
  const { metadata, spec } = of.other;
  if (ipBlock)
    return (
      contains(ipBlock.cidr, of.address) &&
      !(ipBlock.except ?? []).some((range) => contains(range, of.address))
    );
  if (spec?.hostNetwork) return false;
  if (namespaceSelector) {
    const labels = of.world.namespaces.get(metadata?.namespace ?? '');
    if (!compileLabelSelector(namespaceSelector).matches(labels)) return false;
  } else if (metadata?.namespace !== of.namespace) return false;
  return compileLabelSelector(podSelector ?? {}).matches(metadata?.labels);
}

function contains(range: string, address: string): boolean {
  return cidrContains(parseCIDR(range)!, parseIP(address)!);
}

function portMatches({ protocol = 'TCP', port, endPort }: NetworkPolicyPort, attempt: Attempt): boolean {
  if (protocol !== attempt.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === 'number') return attempt.port >= port && attempt.port <= (endPort ?? port);
  return servesNamed(attempt, { name: port, protocol });
}

function servesNamed(
  { to, port }: Attempt,
  { name, protocol }: { readonly name: string; readonly protocol: string },
): boolean {
  if (to.spec?.hostNetwork) return false;
  return (to.spec?.containers ?? []).some(({ ports = [] }) =>
    ports.some(
      (one) => one.name === name && (one.protocol ?? 'TCP') === protocol && one.containerPort === port,
    ),
  );
}
