/**
 * The content of one node's nftables table from the cluster's pods, namespaces and policies: the pure model (table.ts has the static part). Only what
 * concerns pods of this node is in it: a policy that selects none of them costs nothing.
 *
 *   map egress-ip / ingress-ip: address of a pod that a policy selects ─► goto pod-in-…
 *     pod-in-…:  jump tier-in-… (Admin: rules of all its policies in order ─► accept, drop, return)
 *                jump np-in-… for each NetworkPolicy: a rule for each peers and ports ─► accept;  then drop
 *                or, where no NetworkPolicy selects it, jump tier-in-… (Baseline);                then accepted
 *
 * Pods that the same policies select share a chain; rules with the same selectors share a set.
 */
import type { Labels } from '#machinery/labels.ts';
import type { NftContent } from '#stdx/nft-difference.ts';
import { FAMILIES, familyOf } from './address-ranges.ts';
import type { CompiledPolicy, Direction, Tier } from './compiled-policy.ts';
import { PodIndex, type IndexedPod } from './pod-index.ts';
import { hash, renderRules, type RenderedRules, type ViewNeed } from './render-rules.ts';

/** S: a set's type. */
export type PolicyContent = NftContent<string>;

const ADDRESS = { ip: 'ipv4_addr', ip6: 'ipv6_addr' } as const;
const DIRECTIONS: readonly Direction[] = ['egress', 'ingress'];
const SHORT = { ingress: 'in', egress: 'eg' } as const;

interface Output {
  readonly chains: Map<string, readonly string[]>;
  readonly needs: Map<string, ViewNeed>;
}

interface RulesetOptions {
  /** Ranges from which this node's pods get their addresses. */
  readonly podCIDRs: () => readonly string[];
}

export class Ruleset {
  readonly #options: RulesetOptions;
  readonly #index = new PodIndex();
  readonly #policies = new Map<string, CompiledPolicy>();
  readonly #ofNamespace = new Map<string, Map<string, CompiledPolicy>>();
  /** ClusterNetworkPolicies, whose subjects may be in any namespace. */
  readonly #ofCluster = new Map<string, CompiledPolicy>();
  /** Pods of this node by UID, with the policies that select each. */
  readonly #local = new Map<string, Map<string, CompiledPolicy>>();
  readonly #rendered = new WeakMap<CompiledPolicy, Partial<Record<Direction, RenderedRules>>>();

  constructor(options: RulesetOptions) {
    this.#options = options;
  }

  /** undefined: it is gone. */
  setNamespace(name: string, labels: Labels | undefined): void {
    this.#index.setNamespace(name, labels);
    // Subjects of ClusterNetworkPolicies go by labels of namespaces.
    for (const uid of this.#local.keys()) {
      const pod = this.#index.get(uid);
      if (pod?.namespace === name) this.#local.set(uid, this.#selecting(pod));
    }
  }

  /** undefined: it is gone, or has no address of its own. */
  setPod(
    uid: string,
    { pod, isLocal }: { readonly pod: IndexedPod | undefined; readonly isLocal: boolean },
  ): void {
    this.#index.setPod(uid, pod);
    if (pod && isLocal) this.#local.set(uid, this.#selecting(pod));
    else this.#local.delete(uid);
  }

  /** undefined: it is gone. */
  setPolicy(key: string, policy: CompiledPolicy | undefined): void {
    const namespace = key.slice(0, key.indexOf('/'));
    const group = namespace === '' ? this.#ofCluster : this.#groupOf(namespace);
    if (policy) {
      this.#policies.set(key, policy);
      group.set(key, policy);
    } else {
      this.#policies.delete(key);
      group.delete(key);
      if (group.size === 0) this.#ofNamespace.delete(namespace);
    }
    for (const [uid, selecting] of this.#local) {
      const pod = this.#index.get(uid);
      if (!pod || (namespace !== '' && pod.namespace !== namespace)) continue;
      if (policy && this.#index.matches(policy.subject, pod)) selecting.set(key, policy);
      else selecting.delete(key);
    }
  }

  get policyCount(): number {
    return this.#policies.size;
  }

  /** Keys of the policies that select this pod of the node. */
  policiesOf(uid: string): readonly string[] {
    return [...(this.#local.get(uid)?.keys() ?? [])];
  }

  content(): PolicyContent {
    const output: Output = { chains: new Map(), needs: new Map() };
    const elements = new Map<string, Map<string, string>>(MAPS.map((name) => [name, new Map()]));
    for (const uid of [...this.#local.keys()].sort()) {
      const pod = this.#index.get(uid);
      if (!pod) continue;
      const selecting = [...(this.#local.get(uid)?.values() ?? [])].sort(byPriority);
      for (const direction of DIRECTIONS) {
        const verdict = this.#podChain(selecting, { direction, ...output });
        if (verdict)
          for (const address of pod.addresses)
            elements.get(`${direction}-${familyOf(address)}`)?.set(address, verdict);
      }
      for (const address of pod.addresses) {
        const family = familyOf(address);
        elements.get(`known-${family}`)?.set(address, '');
        elements.get(`self-${family}`)?.set(`${address} . ${address}`, '');
      }
    }
    const chains = new Map([...this.#guards(output.chains.size > 0), ...output.chains]);
    return this.#withViews({ chains, elements }, output.needs);
  }

  #groupOf(namespace: string): Map<string, CompiledPolicy> {
    let group = this.#ofNamespace.get(namespace);
    if (!group) this.#ofNamespace.set(namespace, (group = new Map()));
    return group;
  }

  #selecting(pod: IndexedPod): Map<string, CompiledPolicy> {
    const candidates = [...(this.#ofNamespace.get(pod.namespace) ?? []), ...this.#ofCluster];
    return new Map(candidates.filter(([, policy]) => this.#index.matches(policy.subject, pod)));
  }

  /** Returns the verdict of the pod's addresses; undefined for a pod to which no policy applies in this direction. */
  #podChain(
    selecting: readonly CompiledPolicy[],
    output: Output & { readonly direction: Direction },
  ): string | undefined {
    const { direction } = output;
    const applying = selecting.filter((policy) => policy[direction] !== undefined);
    if (applying.length === 0) return undefined;
    const name = `pod-${SHORT[direction]}-${hash(applying.map(({ key }) => key).join(','))}`;
    if (output.chains.has(name)) return `goto ${name}`;
    const ofTier = (tier: Tier): CompiledPolicy[] => applying.filter((policy) => policy.tier === tier);
    const policies = ofTier('NetworkPolicy');
    // Of namespaced policies one that selects the pod decides; the Baseline tier is for pods that none selects.
    const last =
      policies.length > 0
        ? [
            ...policies.flatMap((policy) => this.#jumpToPolicy(policy, output)),
            `counter drop comment "${comment(policies.map(({ key }) => key).join(' '))}"`,
          ]
        : this.#jumpToTier(ofTier('Baseline'), output);
    const rules = [...this.#jumpToTier(ofTier('Admin'), output), ...last];
    output.chains.set(name, rules);
    return `goto ${name}`;
  }

  #jumpToPolicy(
    policy: CompiledPolicy,
    { direction, chains, needs }: Output & { readonly direction: Direction },
  ): string[] {
    const { lines, needs: needed } = this.#render(policy, direction);
    if (lines.length === 0) return [];
    const name = `np-${SHORT[direction]}-${hash(policy.key)}`;
    chains.set(name, lines);
    for (const need of needed) needs.set(need.name, need);
    return [`jump ${name} comment "${comment(policy.key)}"`];
  }

  /** One chain for all policies of the tier: a Pass returns from it. */
  #jumpToTier(
    policies: readonly CompiledPolicy[],
    { direction, chains, needs }: Output & { readonly direction: Direction },
  ): string[] {
    const [first] = policies;
    if (!first) return [];
    const name = `tier-${SHORT[direction]}-${hash(policies.map(({ key }) => key).join(','))}`;
    const rendered = policies.map((policy) => this.#render(policy, direction));
    const lines = rendered.flatMap((one) => one.lines);
    if (lines.length === 0) return [];
    chains.set(name, lines);
    for (const one of rendered) for (const need of one.needs) needs.set(need.name, need);
    return [`jump ${name} comment "${first.tier} tier"`];
  }

  #render(policy: CompiledPolicy, direction: Direction): RenderedRules {
    let known = this.#rendered.get(policy);
    if (!known) this.#rendered.set(policy, (known = {}));
    return (known[direction] ??= renderRules(policy[direction] ?? [], direction));
  }

  #withViews(
    { chains, elements }: Omit<PolicyContent, 'sets'>,
    needs: ReadonlyMap<string, ViewNeed>,
  ): PolicyContent {
    const sets = new Map<string, string>();
    const all = new Map(elements);
    for (const { name, pods, port } of needs.values()) {
      const view = pods ? this.#index.addresses(name, pods) : this.#index.namedPorts(name, port ?? {});
      for (const family of FAMILIES) {
        sets.set(
          `${name}-${family}`,
          `type ${ADDRESS[family]}${port ? ' . inet_proto . inet_service' : ''};`,
        );
        all.set(`${name}-${family}`, view[family]);
      }
    }
    this.#index.keepViews(new Set(needs.keys()));
    return { chains, sets, elements: all };
  }

  /**
   * While the cluster has policies, addresses of this node's range that belong to no known pod get no traffic: which policies select them is not known
   * either. While a policy applies to a pod of this node, pods do not reach each other by IPv6 link-local addresses, by which nobody knows them.
   */
  #guards(applies: boolean): [string, readonly string[]][] {
    const guarded = (field: 'saddr' | 'daddr'): string[] =>
      this.policyCount === 0
        ? []
        : this.#options.podCIDRs().map((range) => {
            const family = familyOf(range);
            return `${family} ${field} ${range} ${family} ${field} != @known-${family} counter drop comment "no known pod"`;
          });
    return [
      ['unknown-egress', guarded('saddr')],
      ['unknown-ingress', guarded('daddr')],
      ['link-local', applies ? ['ip6 saddr fe80::/10 counter drop', 'ip6 daddr fe80::/10 counter drop'] : []],
    ];
  }
}

/** The maps and sets of the table's static part that have elements. */
const MAPS: readonly string[] = FAMILIES.flatMap((family) => [
  `known-${family}`,
  `self-${family}`,
  `egress-${family}`,
  `ingress-${family}`,
]);
export const GUARDS: readonly string[] = ['unknown-egress', 'unknown-ingress', 'link-local'];

/** The content of the table after its static part. */
export function emptyPolicyContent(): PolicyContent {
  return {
    chains: new Map(GUARDS.map((name) => [name, []])),
    sets: new Map(),
    elements: new Map(MAPS.map((name) => [name, new Map<string, string>()])),
  };
}

function byPriority(a: CompiledPolicy, b: CompiledPolicy): number {
  return a.priority - b.priority || (a.key < b.key ? -1 : 1);
}

/** nft takes comments of at most 128 bytes. Names of objects hold no quotes. */
function comment(text: string): string {
  return text.length <= 120 ? text : `${text.slice(0, 117)}...`;
}
