/**
 * The static part of a node's table of network policies: base chains, maps, sets. Egress and ingress are two base chains, since `accept` ends one of them
 * only: a packet that its source may send goes on to what its destination may receive. Both come after the service proxy's translation of the destination
 * (prerouting), and before the source's (postrouting): rules see the endpoint's address and the original client's.
 *
 *   forward ─► established, related, ND, a pod to itself: accept ─► no known pod's address: drop ─► map egress-ip ─► goto pod-eg-…
 *           ─► the same ─► map ingress-ip ─► goto pod-in-…
 *
 * Packets of the node itself pass input and output, where no chain is: a pod and its own node always reach each other. Packets between two pods of
 * one bridge pass the forward hook by br_netfilter.
 */
import { nftDifference, type NftDifference } from '#stdx/nft-difference.ts';
import { FAMILIES } from './address-ranges.ts';
import { GUARDS, type PolicyContent } from './ruleset.ts';

const ADDRESS = { ip: 'ipv4_addr', ip6: 'ipv6_addr' } as const;

/** After the service proxy's reject of unserved addresses (-110), before the filters of others (0). */
const PRIORITY = { egress: -20, ingress: -10 } as const;

/** Replaces the whole table, in the transaction that it is part of. */
export function renderPolicyBase(table: string): string {
  const base = (direction: 'egress' | 'ingress', field: 'saddr' | 'daddr'): string[] => [
    `  chain forward-${direction} {`,
    `    type filter hook forward priority ${PRIORITY[direction]}; policy accept;`,
    '    ct state established,related accept',
    // Neighbour discovery of bridged pods: without it they have no IPv6.
    '    icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept',
    '    jump link-local',
    ...FAMILIES.map((family) => `    ${family} saddr . ${family} daddr @self-${family} accept`),
    `    jump unknown-${direction}`,
    ...FAMILIES.map((family) => `    ${family} ${field} vmap @${direction}-${family}`),
    '  }',
  ];
  return [
    `add table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    '  comment "Capstan: network policies of the pods of this node"',
    ...FAMILIES.flatMap((family) => [
      `  set known-${family} { type ${ADDRESS[family]}; }`,
      `  set self-${family} { type ${ADDRESS[family]} . ${ADDRESS[family]}; }`,
      `  map egress-${family} { type ${ADDRESS[family]} : verdict; }`,
      `  map ingress-${family} { type ${ADDRESS[family]} : verdict; }`,
    ]),
    ...GUARDS.map((name) => `  chain ${name} { }`),
    ...base('egress', 'saddr'),
    ...base('ingress', 'daddr'),
    '}',
    '',
  ].join('\n');
}

export function policyDifference(
  table: string,
  change: { readonly from: PolicyContent; readonly to: PolicyContent },
): NftDifference {
  return nftDifference({ family: 'inet', table, declare: (type: string) => type }, change);
}
