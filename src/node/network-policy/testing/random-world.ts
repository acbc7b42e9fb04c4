/** For tests only: random policies, labels and selectors, over few names so that they meet. */
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '#api/types.ts';
import type { Random } from '#stdx/random.ts';
import type { ClusterNetworkPolicy, ClusterRule, EgressPeer, PodsPeer } from '../cluster-network-policy.ts';

/** What random policies are made of. */
export interface RandomPlan {
  readonly blocks: readonly { readonly cidr: string; readonly except?: readonly string[] }[];
  /** Of a ClusterNetworkPolicy's peer each. */
  readonly networks: readonly (readonly string[])[];
  readonly ports: readonly number[];
}

const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
export const PORT_NAMES: readonly string[] = ['http', 'dns'];

export function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)]!;
}

export function randomLabels(random: Random): Record<string, string> {
  return { a: pick(random, ['1', '2']), ...(random() < 0.5 ? { b: pick(random, ['1', '2']) } : {}) };
}

function selectorOf(random: Random): object {
  const kind = random();
  if (kind < 0.3) return {};
  if (kind < 0.7) return { matchLabels: { a: pick(random, ['1', '2']) } };
  return { matchExpressions: [{ key: 'b', operator: pick(random, ['Exists', 'DoesNotExist']) }] };
}

interface PolicyNames {
  readonly namespace: string;
  readonly name: string;
  readonly plan: RandomPlan;
}

export function randomPolicy(random: Random, { namespace, name, plan }: PolicyNames): NetworkPolicy {
  const list = <T>(make: () => T): T[] => Array.from({ length: Math.floor(random() * 3) }, make);
  const rules = () =>
    list(() => ({ peers: list(() => peerOf(random, plan)), ports: list(() => portOf(random, plan)) }));
  const types = pick(random, [['Ingress'], ['Egress'], ['Ingress', 'Egress'], undefined]);
  return {
    metadata: { namespace, name },
    spec: {
      podSelector: selectorOf(random),
      ...(types ? { policyTypes: types } : {}),
      ingress: rules().map(({ peers, ports }) => ({ from: peers, ports })),
      egress: rules().map(({ peers, ports }) => ({ to: peers, ports })),
    },
  };
}

function peerOf(random: Random, { blocks }: RandomPlan): NetworkPolicyPeer {
  const kind = random();
  if (kind < 0.3) {
    const { cidr, except } = pick(random, blocks);
    return { ipBlock: { cidr, ...(except ? { except: [...except] } : {}) } };
  }
  if (kind < 0.55) return { podSelector: selectorOf(random) };
  if (kind < 0.75) return { namespaceSelector: selectorOf(random) };
  return { namespaceSelector: selectorOf(random), podSelector: selectorOf(random) };
}

function portOf(random: Random, { ports }: RandomPlan): NetworkPolicyPort {
  const protocol = pick(random, [...PROTOCOLS, undefined]);
  const kind = random();
  return {
    ...(protocol ? { protocol } : {}),
    ...(kind < 0.2 ? {} : { port: kind < 0.5 ? pick(random, PORT_NAMES) : pick(random, ports) }),
    ...(kind > 0.8 ? { port: pick(random, ports), endPort: 9000 } : {}),
  };
}

interface ClusterPolicyNames {
  readonly name: string;
  readonly priority: number;
  readonly plan: RandomPlan;
}

export function randomClusterPolicy(
  random: Random,
  { name, priority, plan }: ClusterPolicyNames,
): ClusterNetworkPolicy {
  const list = <T>(make: () => T): T[] => Array.from({ length: Math.floor(random() * 3) }, make);
  const some = <T>(make: () => T): T[] => [make(), ...list(make)];
  return {
    metadata: { name },
    spec: {
      tier: pick(random, ['Admin', 'Baseline']),
      priority,
      subject: podsPeer(random),
      ingress: list(() => ({ ...clusterRule(random, plan), from: some(() => podsPeer(random)) })),
      egress: list(() => ({ ...clusterRule(random, plan), to: some(() => egressPeer(random, plan)) })),
    },
  };
}

function clusterRule(random: Random, { ports }: RandomPlan): ClusterRule {
  const action = pick(random, ['Accept', 'Deny', 'Pass'] as const);
  const kind = random();
  if (kind < 0.4) return { action };
  if (kind < 0.6) return { action, protocols: [{ destinationNamedPort: pick(random, PORT_NAMES) }] };
  const destinationPort =
    kind < 0.8
      ? { number: pick(random, ports) }
      : { range: { start: pick(random, ports), end: pick(random, [8100, 9000]) } };
  const transport = pick(random, [{ destinationPort }, {}]);
  return {
    action,
    protocols: [pick(random, [{ tcp: transport }, { udp: transport }, { sctp: transport }])],
  };
}

function podsPeer(random: Random): PodsPeer {
  if (random() < 0.4) return { namespaces: selectorOf(random) };
  return { pods: { namespaceSelector: selectorOf(random), podSelector: selectorOf(random) } };
}

function egressPeer(random: Random, { networks }: RandomPlan): EgressPeer {
  return random() < 0.7 ? podsPeer(random) : { networks: pick(random, networks) };
}
