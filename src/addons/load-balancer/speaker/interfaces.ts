/** The network interfaces that an address is announced on. */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { cidrContains, ipFamily, parseCIDR, parseIP } from '#machinery/ip.ts';

export interface LinkInterface {
  readonly name: string;
  readonly index: number;
  readonly mac: string;
}

const NO_MAC = '00:00:00:00:00:00';

/** named: only these. Else those with an address of the same subnet, else that of the default route. */
export function interfacesOf(address: string, named: readonly string[]): LinkInterface[] {
  const found = named.length > 0 ? named : matching(address);
  const names = found.length > 0 ? found : defaultRoute(address);
  return names.flatMap((name) => {
    const one = readInterface(name);
    return one ? [one] : [];
  });
}

function matching(address: string): string[] {
  const parsed = parseIP(address);
  return Object.entries(networkInterfaces())
    .filter(([, entries = []]) =>
      entries.some(({ cidr, internal }) => {
        const block = cidr === null ? undefined : parseCIDR(cidr);
        return !internal && parsed && block && cidrContains(block, parsed);
      }),
    )
    .map(([name]) => name);
}

/** Of this family, as the kernel lists its routes. */
function defaultRoute(address: string): string[] {
  const isSix = ipFamily(address) === 'IPv6';
  const lines = readText(isSix ? '/proc/net/ipv6_route' : '/proc/net/route').split('\n');
  const names = lines.flatMap((line) => {
    const words = line.trim().split(/\s+/);
    if (isSix) {
      const isDefault = /^0{32}$/.test(words[0] ?? '') && words[1] === '00';
      return isDefault && words[9] !== undefined && words[9] !== 'lo' ? [words[9]] : [];
    }
    return words[1] === '00000000' && words[7] === '00000000' ? [words[0]!] : [];
  });
  return [...new Set(names)].slice(0, 1);
}

function readInterface(name: string): LinkInterface | undefined {
  if (!/^[^/\s]{1,15}$/.test(name)) return undefined;
  const read = (file: string): string => readText(`/sys/class/net/${name}/${file}`).trim();
  const index = Number(read('ifindex'));
  const mac = read('address');
  return index > 0 && mac.length === NO_MAC.length && mac !== NO_MAC ? { name, index, mac } : undefined;
}

/** Empty where it cannot be read: the interface is gone. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
