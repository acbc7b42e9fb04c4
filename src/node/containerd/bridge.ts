/**
 * Creates the pods' bridge before the first pod. The CNI plugin would create it with the first sandbox; the API server and the DNS server listen on its
 * address and need it earlier. The plugin adopts it.
 */
import { isIPv6 } from 'node:net';
import { formatIP, parseCIDR } from '#machinery/ip.ts';
import { assert } from '#stdx/assert.ts';
import { ContainerdError } from './errors.ts';
import type { ContainerdLayout } from './layout.ts';
import { run } from './run.ts';
import { keepFromNetworkd } from './systemd.ts';

/** The bridge's address in one family: the first of the range, as CNI's host-local chooses the gateway. */
export function computeGateway(podCIDR: string): string {
  const block = parseCIDR(podCIDR);
  assert(block !== undefined, `${podCIDR} is a range of addresses`);
  return formatIP({ family: block.address.family, bits: block.network + 1n });
}

interface BridgeRanges {
  /** One of each family that pods have. */
  readonly podCIDRs: readonly string[];
  /** Of cluster addresses, which this machine is to reach whatever other routes it has. */
  readonly serviceCIDRs?: readonly string[];
  readonly mtu?: number | undefined;
}

/** Idempotent. Returns the gateway addresses. Throws ContainerdError 'network'. */
export async function ensureBridge(
  layout: Pick<ContainerdLayout, 'id' | 'bridge'>,
  { podCIDRs, serviceCIDRs = [], mtu }: BridgeRanges,
): Promise<readonly string[]> {
  await keepFromNetworkd(layout);
  await ip(['link', 'add', layout.bridge, 'type', 'bridge'], 'File exists');
  await keepHardwareAddress(layout.bridge);
  for (const podCIDR of podCIDRs) await addGateway(layout.bridge, podCIDR);
  await ip(['link', 'set', layout.bridge, ...(mtu === undefined ? [] : ['mtu', String(mtu)]), 'up']);
  // Without a default route the kernel would refuse cluster addresses before the service rules see the packet.
  for (const range of serviceCIDRs) await ip(['route', 'replace', range, 'dev', layout.bridge]);
  return podCIDRs.map(computeGateway);
}

/**
 * A bridge whose address nobody has set takes the lowest of its ports': it would change as pods come and go, while the others go on sending to the
 * former one until they ask anew, after up to a minute. The CNI plugin sets it only where it adds the gateway itself.
 */
async function keepHardwareAddress(bridge: string): Promise<void> {
  const [link] = JSON.parse(await ip(['-json', 'link', 'show', 'dev', bridge])) as [
    { readonly address: string },
  ];
  await ip(['link', 'set', bridge, 'address', link.address]);
}

async function addGateway(bridge: string, podCIDR: string): Promise<void> {
  const gateway = computeGateway(podCIDR);
  // No other machine is on this bridge: an IPv6 address need not wait for duplicates to be found.
  const kind = isIPv6(gateway) ? ['dev', bridge, 'nodad'] : ['broadcast', '+', 'dev', bridge];
  await ip(
    ['address', 'add', `${gateway}/${podCIDR.split('/')[1] ?? ''}`, ...kind],
    'File exists',
    'already assigned',
  );
}

async function ip(words: readonly string[], ...fine: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(['ip', ...words]);
  if (code === undefined)
    throw new ContainerdError('network', 'ip is not installed: apt-get install iproute2');
  if (code !== 0 && !fine.some((text) => stderr.includes(text)))
    throw new ContainerdError('network', `ip ${words.join(' ')} failed: ${stderr.trim()}`);
  return stdout;
}
