/** Which ranges cluster addresses of Services can be allocated from. Sizes as upstream's IP allocator takes them. */
import { parseCIDR } from './ip.ts';

/** Of the prefix, in bits. */
export const SERVICE_CIDR_PREFIXES = {
  IPv4: { least: 8, most: 30, width: 32 },
  IPv6: { least: 64, most: 126, width: 128 },
} as const;

export function isServiceCIDR(cidr: string): boolean {
  const block = parseCIDR(cidr);
  if (!block || block.address.mapped) return false;
  const { least, most } = SERVICE_CIDR_PREFIXES[block.address.family === 4 ? 'IPv4' : 'IPv6'];
  return block.prefixLength >= least && block.prefixLength <= most;
}
