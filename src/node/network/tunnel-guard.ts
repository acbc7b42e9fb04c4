/**
 * Strict mode of the encrypted pod network: packets between pods of different nodes are neither accepted nor sent outside of the tunnel. A table of its own drops
 *
 *   arriving  what claims a pod's address as its source and comes in by another device than the tunnel, the pods' bridge or the loopback
 *   leaving   what goes to a pod's address and out by such a device: routes are gone while somebody removes the tunnel's device
 *
 * Before connection tracking, so that such packets make no entries. Who sends inside of the tunnel is WireGuard's matter: it drops sources that are not of the
 * peer that encrypted the packet.
 */
import { cidrsOverlap, ipFamily, parseCIDR } from '#machinery/ip.ts';
import { chainContains, runNft } from '#stdx/run-nft.ts';
import type { ContainerdLayout } from '../containerd/layout.ts';

type GuardNames = Pick<ContainerdLayout, 'bridge' | 'overlay' | 'tunnelTable'>;

/** The whole table, in one transaction. ranges: of all pods of the cluster. */
export function renderTunnelGuard(
  { bridge, overlay, tunnelTable }: GuardNames,
  ranges: readonly string[],
): string {
  const table = `inet ${tunnelTable}`;
  const inside = `{ "${overlay}", "${bridge}", "lo" }`;
  const rules = (device: 'iifname' | 'oifname', side: 'saddr' | 'daddr'): string[] =>
    (['ip', 'ip6'] as const).flatMap((family) => {
      const own = widest(ranges).filter((range) => (ipFamily(range) === 'IPv6') === (family === 'ip6'));
      return own.length === 0
        ? []
        : [`    ${device} != ${inside} ${family} ${side} { ${own.join(', ')} } counter drop`];
    });
  return [
    `add table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    '  comment "Capstan: pods of different nodes speak through the tunnel alone"',
    '  chain arriving {',
    '    type filter hook prerouting priority raw; policy accept;',
    ...rules('iifname', 'saddr'),
    '  }',
    '  chain leaving {',
    '    type filter hook postrouting priority filter; policy accept;',
    ...rules('oifname', 'daddr'),
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Without those inside another one, which nft refuses in one set. Of two equal ones the first. */
function widest(ranges: readonly string[]): readonly string[] {
  const blocks = [...new Set(ranges)].map((range) => ({ range, block: parseCIDR(range)! }));
  return blocks
    .filter(
      ({ block }) =>
        !blocks.some(
          (other) =>
            other.block !== block &&
            other.block.prefixLength < block.prefixLength &&
            cidrsOverlap(other.block, block),
        ),
    )
    .map(({ range }) => range);
}

/** Whether the table is there. */
export function hasTunnelGuard({ tunnelTable, overlay }: GuardNames): Promise<boolean> {
  return chainContains({ family: 'inet', table: tunnelTable }, { chain: 'arriving', text: overlay });
}

/** Nothing where there is none. */
export function removeTunnelGuard({ tunnelTable }: GuardNames): Promise<void> {
  return runNft(`add table inet ${tunnelTable}\ndelete table inet ${tunnelTable}\n`);
}
