/**
 * Finds firewalls of this machine that cut pods off from it (DNS, the API) or from other networks. A packet dropped by one table is dropped, whatever
 * another accepts, so our rules cannot override it: this file reports it, with the rule that helps. A table counts as opened when one of its rules
 * names the pods' bridge or range, whatever that rule does.
 */
import { run } from './run.ts';

export interface FirewallChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly hook: 'input' | 'forward';
}

export interface PodNetworkNames {
  readonly bridge: string;
  readonly podCIDRs: readonly string[];
}

interface ListedChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

const OWN_TABLE = /^capstan-/;
/** A rule without any condition that ends a chain: firewalld and others reject instead of having a policy. */
const REFUSES_ALL = /^(counter (packets \d+ bytes \d+ )?)?(drop|reject( with .*)?)$/;

/** Empty where nft is not installed, or has no firewall of this kind. */
export async function findBlockingChains(names: PodNetworkNames): Promise<FirewallChain[]> {
  const { code, stdout } = await run(['nft', '-j', 'list', 'chains']);
  if (code !== 0) return [];
  const blocking: FirewallChain[] = [];
  for (const chain of filterChains(stdout, names)) {
    const listed = await run(['nft', 'list', 'table', chain.family, chain.table]);
    if (listed.code === 0 && isBlocking(chain, { text: listed.stdout, ...names })) blocking.push(chain);
  }
  return blocking;
}

/** Chains at the hooks that pods' packets pass, of tables that are not ours. */
export function filterChains(json: string, { podCIDRs }: Pick<PodNetworkNames, 'podCIDRs'>): FirewallChain[] {
  const families = new Set(['inet', ...podCIDRs.map((range) => (range.includes(':') ? 'ip6' : 'ip'))]);
  const { nftables } = JSON.parse(json) as { readonly nftables: readonly { readonly chain?: ListedChain }[] };
  return nftables.flatMap(({ chain }) => {
    if (!chain || (chain.hook !== 'input' && chain.hook !== 'forward')) return [];
    if (!families.has(chain.family) || OWN_TABLE.test(chain.table)) return [];
    return [{ family: chain.family, table: chain.table, chain: chain.name, hook: chain.hook }];
  });
}

/** text: the table as nft lists it. */
export function isBlocking(
  { chain }: FirewallChain,
  { text, bridge, podCIDRs }: PodNetworkNames & { readonly text: string },
): boolean {
  const named = [bridge, ...podCIDRs.map((range) => range.split('/')[0] ?? range)];
  if (named.some((name) => text.includes(name))) return false;
  const lines = text.split('\n').map((line) => line.trim());
  const first = lines.indexOf(`chain ${chain} {`);
  if (first < 0) return false;
  const body = lines.slice(first + 1, lines.indexOf('}', first));
  return body.some((line) => line.endsWith('policy drop;')) || REFUSES_ALL.test(body.at(-1) ?? '');
}

/** Its effect, and the rule that opens it. */
export function describeBlocking(chains: readonly FirewallChain[], { bridge }: PodNetworkNames): string {
  const told = chains.map(({ family, table, chain, hook }) => {
    const where = `${family} ${table} ${chain}`;
    const what =
      hook === 'input'
        ? 'from pods to this machine (DNS and the API among it)'
        : 'between pods and other networks';
    const rules = (hook === 'input' ? ['iifname'] : ['iifname', 'oifname']).map(
      (direction) => `nft insert rule ${where} ${direction} "${bridge}" accept`,
    );
    return `${where} drops what goes ${what}, unless a rule allows it; to allow it: ${rules.join('; ')}`;
  });
  return `${told.join('. ')}. Put the rule into the firewall's own configuration as well.`;
}
