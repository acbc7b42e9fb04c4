/**
 * The machine's address for other machines: upstream's default of a kubelet (apimachinery's ChooseHostInterface). The interfaces of the default routes,
 * IPv4 before IPv6, in the kernel's order; of each the first global unicast address. Sends nothing.
 */
import { readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { ipFamily, type IPFamily } from '#machinery/ip.ts';

interface HostNetwork {
  /** /proc/net/route and /proc/net/ipv6_route. */
  readonly ipv4Routes: string;
  readonly ipv6Routes: string;
  readonly addresses: (interfaceName: string) => readonly string[];
}

/** Default: IPv4 before IPv6. undefined: this machine has no default route, or none of its interfaces has a usable address (of this family). */
export async function findHostAddress(family?: IPFamily): Promise<string | undefined> {
  const [ipv4Routes, ipv6Routes] = await Promise.all(
    ['/proc/net/route', '/proc/net/ipv6_route'].map((path) => readFile(path, 'utf8').catch(() => '')),
  );
  const interfaces = networkInterfaces();
  return chooseHostAddress({
    ipv4Routes: ipv4Routes ?? '',
    ipv6Routes: ipv6Routes ?? '',
    addresses: (name) =>
      (interfaces[name] ?? [])
        .map(({ address }) => address)
        .filter((address) => family === undefined || ipFamily(address) === family),
  });
}

export function chooseHostAddress({ ipv4Routes, ipv6Routes, addresses }: HostNetwork): string | undefined {
  const names = [...ipv4Defaults(ipv4Routes), ...ipv6Defaults(ipv6Routes)];
  for (const wanted of [isIPv4, (address: string) => !isIPv4(address)])
    for (const name of names) {
      const found = addresses(name).find((address) => wanted(address) && isGlobalUnicast(address));
      if (found !== undefined) return found;
    }
  return undefined;
}

const RTF_UP = 1;
const RTF_GATEWAY = 2;
const RTF_REJECT = 0x200;

/** 'Iface Destination Gateway Flags RefCnt Use Metric Mask …', numbers in hexadecimal. */
function ipv4Defaults(text: string): string[] {
  return rows(text).flatMap(([name = '', destination, , flags, , , , mask]) => {
    const isDefault = destination === '00000000' && mask === '00000000';
    return isDefault && has(flags, RTF_UP) ? [name] : [];
  });
}

/** 'destination length source length gateway metric refcnt use flags Iface' */
function ipv6Defaults(text: string): string[] {
  return rows(text).flatMap(([destination, length, , , , , , , flags, name = '']) => {
    const isDefault = /^0{32}$/.test(destination ?? '') && length === '00';
    return isDefault && has(flags, RTF_GATEWAY) && !has(flags, RTF_REJECT) ? [name] : [];
  });
}

function rows(text: string): string[][] {
  return text.split('\n').map((line) => line.trim().split(/\s+/));
}

function has(flags: string | undefined, bit: number): boolean {
  return (Number.parseInt(flags ?? '', 16) & bit) !== 0;
}

/** Go's IsGlobalUnicast: neither unspecified, loopback, link-local, multicast nor broadcast. */
export function isGlobalUnicast(address: string): boolean {
  if (isIPv4(address)) {
    const [first = 0, second = 0] = address.split('.').map(Number);
    return first !== 0 && first !== 127 && first < 224 && !(first === 169 && second === 254);
  }
  return address !== '::' && address !== '::1' && !/^(fe[89ab]|ff)/i.test(address);
}
