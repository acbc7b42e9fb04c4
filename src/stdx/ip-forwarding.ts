/**
 * Lets this machine (its network namespace) forward packets. Where IPv6 is forwarded, the kernel ignores router advertisements and removes the default routes
 * that it had from them, unless an interface accepts them all the same: those that have such a route do from then on.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { errorMessage } from './log.ts';
import { setSysctl } from './sysctl.ts';

const IPV6_CONF = '/proc/sys/net/ipv6/conf';
/** linux/ipv6_route.h: a default route, from an advertisement. */
const RTF_DEFAULT_ADVERTISED = 0x0001_0000 | 0x0004_0000;
/** Also while forwarding. */
const ACCEPT_ALWAYS = '2';

/** Idempotent. Throws an Error that names the setting. */
export async function switchOnForwarding(family: 'IPv4' | 'IPv6'): Promise<void> {
  if (family === 'IPv4') return setForwarding('/proc/sys/net/ipv4/ip_forward', '1');
  if (!existsSync(IPV6_CONF))
    throw new Error('pods have an IPv6 range, but IPv6 is switched off in the kernel of this machine');
  const routes = await readFile('/proc/net/ipv6_route', 'utf8');
  for (const name of advertisedDefaults(routes)) await keepAdvertisements(name);
  await setForwarding(`${IPV6_CONF}/all/forwarding`, '1');
}

/** Interfaces with a default route from a router advertisement. routes: /proc/net/ipv6_route. */
export function advertisedDefaults(routes: string): string[] {
  const found = routes.split('\n').flatMap((line) => {
    const [, , , , , , , , flags = '', name = ''] = line.trim().split(/\s+/);
    const isAdvertised = (Number.parseInt(flags, 16) & RTF_DEFAULT_ADVERTISED) === RTF_DEFAULT_ADVERTISED;
    return isAdvertised && name !== '' ? [name] : [];
  });
  return [...new Set(found)];
}

/** Only where the kernel handles them itself: 0 leaves them to another program. */
async function keepAdvertisements(name: string): Promise<void> {
  const path = `${IPV6_CONF}/${name}/accept_ra`;
  if ((await readFile(path, 'utf8').catch(() => '0')).trim() === '1')
    await setForwarding(path, ACCEPT_ALWAYS);
}

async function setForwarding(path: string, value: string): Promise<void> {
  try {
    await setSysctl(path, value);
  } catch (error) {
    throw new Error(`cannot switch on forwarding (${path}): ${errorMessage(error)}`, { cause: error });
  }
}
