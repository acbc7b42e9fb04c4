/** For tests only: random policies, labels and selectors, over few names so that they meet. */
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '#api/types.ts';
import type { Random } from '#stdx/random.ts';
import type { ClusterNetworkPolicy, ClusterRule, EgressPeer, PodsPeer } from '../cluster-network-policy.ts';

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

export function randomPolicy(
  random: Random,
  { namespace, name }: { namespace: string; name: string },
): NetworkPolicy {
  const list = <T>(make: () => T): T[] => Array.from({ length: Math.floor(random() * 3) }, make);
  const rules = () => list(() => ({ peers: list(() => peerOf(random)), ports: list(() => portOf(random)) }));
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

function peerOf(random: Random): NetworkPolicyPeer {
  const kind = random();
  if (kind < 0.15) return { ipBlock: { cidr: '10.244.0.0/24', except: ['10.244.0.4/30', '10.244.0.6/32'] } };
  if (kind < 0.25) return { ipBlock: { cidr: 'fd00::/120', except: ['fd00::8/125'] } };
  if (kind < 0.3) return { ipBlock: { cidr: '0.0.0.0/0' } };
  if (kind < 0.55) return { podSelector: selectorOf(random) };
  if (kind < 0.75) return { namespaceSelector: selectorOf(random) };
  return { namespaceSelector: selectorOf(random), podSelector: selectorOf(random) };
}

function portOf(random: Random): NetworkPolicyPort {
  const protocol = pick(random, ['TCP', 'UDP', undefined]);
  const kind = random();
  return {
    ...(protocol ? { protocol } : {}),
    ...(kind < 0.2
      ? {}
      : kind < 0.5
        ? { port: pick(random, ['http', 'dns']) }
        : { port: pick(random, [80, 8080]) }),
    ...(kind > 0.8 ? { port: 80, endPort: 9000 } : {}),
  };
}

export function randomClusterPolicy(
  random: Random,
  { name, priority }: { readonly name: string; readonly priority: number },
): ClusterNetworkPolicy {
  const list = <T>(make: () => T): T[] => Array.from({ length: Math.floor(random() * 3) }, make);
  const some = <T>(make: () => T): T[] => [make(), ...list(make)];
  return {
    metadata: { name },
    spec: {
      tier: pick(random, ['Admin', 'Baseline']),
      priority,
      subject: podsPeer(random),
      ingress: list(() => ({ ...clusterRule(random), from: some(() => podsPeer(random)) })),
      egress: list(() => ({ ...clusterRule(random), to: some(() => egressPeer(random)) })),
    },
  };
}

function clusterRule(random: Random): ClusterRule {
  const action = pick(random, ['Accept', 'Deny', 'Pass'] as const);
  const kind = random();
  if (kind < 0.4) return { action };
  if (kind < 0.6) return { action, protocols: [{ destinationNamedPort: pick(random, ['http', 'dns']) }] };
  const destinationPort =
    kind < 0.8
      ? { number: pick(random, [80, 8080]) }
      : { range: { start: 79, end: pick(random, [81, 9000]) } };
  return {
    action,
    protocols: [random() < 0.5 ? { tcp: { destinationPort } } : { udp: { destinationPort } }],
  };
}

function podsPeer(random: Random): PodsPeer {
  if (random() < 0.4) return { namespaces: selectorOf(random) };
  return { pods: { namespaceSelector: selectorOf(random), podSelector: selectorOf(random) } };
}

function egressPeer(random: Random): EgressPeer {
  if (random() < 0.7) return podsPeer(random);
  return {
    networks: pick(random, [['10.244.0.0/29'], ['0.0.0.0/0', '::/0'], ['fd00::/125', '10.244.0.8/29']]),
  };
}
