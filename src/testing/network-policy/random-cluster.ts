/** For tests only: a cluster's pods, namespaces and policies over a RealNetwork, changed at random; for each node the rules, and the model's answer for each connection. */
import type { NetworkPolicy, Pod } from '#api/types.ts';
import type { ClusterNetworkPolicy } from '#node/network-policy/cluster-network-policy.ts';
import { compileClusterNetworkPolicy } from '#node/network-policy/compile-cluster-network-policy.ts';
import { compileNetworkPolicy } from '#node/network-policy/compile-network-policy.ts';
import { indexedPod } from '#node/network-policy/pod-index.ts';
import { Ruleset } from '#node/network-policy/ruleset.ts';
import {
  pick,
  PORT_NAMES,
  randomClusterPolicy,
  randomLabels,
  randomPolicy,
  type RandomPlan,
} from '#node/network-policy/testing/random-world.ts';
import { isAllowed, type Attempt } from '#node/network-policy/testing/reachability.ts';
import type { Random } from '#stdx/random.ts';
import type { NetworkHost, RealNetwork } from './real-network.ts';

const NAMESPACES = ['default', 'x', 'y'];
const POLICIES_PER_NAMESPACE = 3;
const CLUSTER_POLICIES = 4;

export const PORTS: readonly number[] = [80, 81, 8080];

const PLAN: RandomPlan = {
  blocks: [
    { cidr: '10.244.0.0/16', except: ['10.244.2.0/24', '10.244.1.3/32'] },
    { cidr: '10.244.1.0/24', except: ['10.244.1.2/31'] },
    { cidr: '10.213.0.0/24', except: ['10.213.0.2/32'] },
    { cidr: '0.0.0.0/0', except: ['10.244.0.0/16'] },
    { cidr: '0.0.0.0/0' },
    { cidr: 'fd00:244::/32', except: ['fd00:244:2::/48', 'fd00:244:1::3/128'] },
    { cidr: 'fd00:213::/64', except: ['fd00:213::fe/128'] },
    { cidr: '::/0', except: ['fd00:244::/32', 'fd00:213::1/128'] },
    { cidr: '::/0' },
  ],
  networks: [
    ['10.244.1.0/24'],
    ['0.0.0.0/0', '::/0'],
    ['fd00:244:2::/64', '10.213.0.254/32'],
    ['fd00:213::/64', '10.244.2.0/30'],
  ],
  ports: PORTS,
};

export class RandomCluster {
  readonly #random: Random;
  readonly #network: RealNetwork;
  readonly #namespaces = new Map<string, Record<string, string>>();
  readonly #policies = new Map<string, NetworkPolicy>();
  readonly #clusterPolicies = new Map<string, ClusterNetworkPolicy>();
  /** By the host's name. */
  readonly #pods = new Map<string, Pod>();
  readonly #rulesets = new Map<string, Ruleset>();
  #generation = 0;

  constructor(network: RealNetwork, random: Random) {
    this.#network = network;
    this.#random = random;
    for (const name of NAMESPACES) this.#namespaces.set(name, randomLabels(random));
    for (const host of network.hosts)
      this.#pods.set(host.name, host.isPod ? this.#podOn(host) : hostPod(host));
    for (const { name } of network.nodes) this.#restart(name);
  }

  /** Some random changes, then every node's rules in the kernel. */
  change(): void {
    const count = 2 + Math.floor(this.#random() * 6);
    for (let index = 0; index < count; index++) this.#changeOnce();
    const restarted = this.#random() < 0.1 ? pick(this.#random, this.#network.nodes).name : undefined;
    if (restarted !== undefined) this.#restart(restarted);
    for (const [name, ruleset] of this.#rulesets)
      this.#network.write(name, ruleset, { whole: name === restarted });
  }

  isAllowed({
    from,
    to,
    ...rest
  }: Omit<Attempt, 'from' | 'to'> & { readonly from: NetworkHost; readonly to: NetworkHost }): boolean {
    const world = {
      namespaces: this.#namespaces,
      pods: [...this.#pods.values()],
      policies: [...this.#policies.values()],
      clusterPolicies: [...this.#clusterPolicies.values()],
    };
    return isAllowed(world, { ...rest, from: this.#pods.get(from.name)!, to: this.#pods.get(to.name)! });
  }

  /** For the message of a failure. */
  toString(): string {
    return JSON.stringify({
      namespaces: Object.fromEntries(this.#namespaces),
      pods: [...this.#pods.values()],
      policies: [...this.#policies.values()],
      clusterPolicies: [...this.#clusterPolicies.values()],
    });
  }

  #changeOnce(): void {
    const what = this.#random();
    if (what < 0.1) {
      const name = pick(this.#random, NAMESPACES);
      this.#namespaces.set(name, randomLabels(this.#random));
      for (const ruleset of this.#rulesets.values()) ruleset.setNamespace(name, this.#namespaces.get(name));
    } else if (what < 0.35) this.#changePod(pick(this.#random, this.#network.hosts));
    else if (what < 0.55) this.#changeClusterPolicy(Math.floor(this.#random() * CLUSTER_POLICIES));
    else
      this.#changePolicy(pick(this.#random, NAMESPACES), Math.floor(this.#random() * POLICIES_PER_NAMESPACE));
  }

  /** Other labels, or a new pod with the address of one that is gone. */
  #changePod(host: NetworkHost): void {
    if (!host.isPod) return;
    const before = this.#pods.get(host.name)!;
    const isReplaced = this.#random() < 0.4;
    const pod = isReplaced
      ? this.#podOn(host)
      : { ...before, metadata: { ...before.metadata, labels: randomLabels(this.#random) } };
    this.#pods.set(host.name, pod);
    const removesLater = this.#random() < 0.5;
    for (const [node, ruleset] of this.#rulesets) {
      const isLocal = host.node === node;
      const remove = (): void => ruleset.setPod(before.metadata?.uid ?? '', { pod: undefined, isLocal });
      if (isReplaced && !removesLater) remove();
      ruleset.setPod(pod.metadata?.uid ?? '', { pod: indexedPod(pod), isLocal });
      if (isReplaced && removesLater) remove();
    }
  }

  #changePolicy(namespace: string, index: number): void {
    const key = `${namespace}/np${index}`;
    const removes = this.#random() < 0.4;
    if (removes) this.#policies.delete(key);
    else this.#policies.set(key, randomPolicy(this.#random, { namespace, name: `np${index}`, plan: PLAN }));
    const policy = this.#policies.get(key);
    for (const ruleset of this.#rulesets.values())
      ruleset.setPolicy(key, policy && compileNetworkPolicy(policy));
  }

  #changeClusterPolicy(index: number): void {
    const key = `/cnp${index}`;
    const removes = this.#random() < 0.5;
    // Priorities of their own: the API leaves equal ones open.
    const made = { name: `cnp${index}`, priority: index, plan: PLAN };
    if (removes) this.#clusterPolicies.delete(key);
    else this.#clusterPolicies.set(key, randomClusterPolicy(this.#random, made));
    const policy = this.#clusterPolicies.get(key);
    for (const ruleset of this.#rulesets.values())
      ruleset.setPolicy(key, policy && compileClusterNetworkPolicy(policy));
  }

  #restart(node: string): void {
    const { podCIDRs } = this.#network.nodes.find(({ name }) => name === node)!;
    const ruleset = new Ruleset({ podCIDRs: () => podCIDRs });
    for (const [name, labels] of this.#namespaces) ruleset.setNamespace(name, labels);
    for (const [key, policy] of this.#policies) ruleset.setPolicy(key, compileNetworkPolicy(policy));
    for (const [key, policy] of this.#clusterPolicies)
      ruleset.setPolicy(key, compileClusterNetworkPolicy(policy));
    for (const host of this.#network.hosts) {
      const pod = this.#pods.get(host.name)!;
      ruleset.setPod(pod.metadata?.uid ?? '', { pod: indexedPod(pod), isLocal: host.node === node });
    }
    this.#rulesets.set(node, ruleset);
  }

  #podOn({ name, node, addresses }: NetworkHost): Pod {
    this.#generation += 1;
    const random = this.#random;
    const port = () => ({
      name: pick(random, PORT_NAMES),
      containerPort: pick(random, PORTS),
      protocol: pick(random, ['TCP', 'UDP', 'SCTP']),
    });
    return {
      metadata: {
        name,
        namespace: pick(random, NAMESPACES),
        uid: `${name}-${this.#generation}`,
        labels: randomLabels(random),
        creationTimestamp: new Date(this.#generation * 1_000).toISOString(),
      },
      spec: {
        ...(node === undefined ? {} : { nodeName: node }),
        containers: [
          { name: 'c', ports: [port()] },
          { name: 'd', ports: [port()] },
        ],
      },
      status: { phase: 'Running', podIPs: addresses.map((ip) => ({ ip })) },
    };
  }
}

/** What a policy sees of a node, or of somebody outside: addresses alone, whatever labels the pod has. */
function hostPod({ name, node, addresses }: NetworkHost): Pod {
  return {
    metadata: { name: `host-${name}`, namespace: 'default', uid: `host-${name}`, labels: { a: '1', b: '1' } },
    spec: {
      ...(node === undefined ? {} : { nodeName: node }),
      hostNetwork: true,
      containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 80, hostPort: 80 }] }],
    },
    status: { phase: 'Running', podIPs: addresses.map((ip) => ({ ip })) },
  };
}
