/**
 * Creates the pods' bridge before the first pod. The CNI plugin would create it with the first sandbox; the API server and the DNS server listen on its
 * address and need it earlier. The plugin adopts it.
 */
import { ContainerdError } from './errors.ts';
import type { ContainerdLayout } from './layout.ts';
import { run } from './run.ts';
import { keepFromNetworkd } from './systemd.ts';

/** The bridge's address: the first of the range, as CNI's host-local chooses the gateway. IPv4. */
export function computeGateway(podCIDR: string): string {
  const [base = ''] = podCIDR.split('/');
  const octets = base.split('.').map(Number);
  return [...octets.slice(0, 3), (octets[3] ?? 0) + 1].join('.');
}

interface BridgeRanges {
  readonly podCIDR: string;
  /** Cluster addresses, which this machine is to reach whatever other routes it has. */
  readonly serviceCIDR?: string;
  readonly mtu?: number | undefined;
}

/** Idempotent. Returns the gateway address. Throws ContainerdError 'network'. */
export async function ensureBridge(
  layout: Pick<ContainerdLayout, 'id' | 'bridge'>,
  { podCIDR, serviceCIDR, mtu }: BridgeRanges,
): Promise<string> {
  const gateway = computeGateway(podCIDR);
  const prefix = podCIDR.split('/')[1] ?? '24';
  await keepFromNetworkd(layout);
  await ip(['link', 'add', layout.bridge, 'type', 'bridge'], 'File exists');
  await ip(
    ['address', 'add', `${gateway}/${prefix}`, 'broadcast', '+', 'dev', layout.bridge],
    'File exists',
    'Address already assigned',
  );
  await ip(['link', 'set', layout.bridge, ...(mtu === undefined ? [] : ['mtu', String(mtu)]), 'up']);
  // Without a default route the kernel would refuse cluster addresses before the service rules see the packet.
  if (serviceCIDR !== undefined) await ip(['route', 'replace', serviceCIDR, 'dev', layout.bridge]);
  return gateway;
}

async function ip(words: readonly string[], ...fine: readonly string[]): Promise<void> {
  const { code, stderr } = await run(['ip', ...words]);
  if (code === undefined)
    throw new ContainerdError('network', 'ip is not installed: apt-get install iproute2');
  if (code !== 0 && !fine.some((text) => stderr.includes(text)))
    throw new ContainerdError('network', `ip ${words.join(' ')} failed: ${stderr.trim()}`);
}
