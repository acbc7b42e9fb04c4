/** Packs endpoints into the smallest number of core/v1 Endpoints subsets, in a stable order. Pure. After upstream's RepackSubsets. */
import type { EndpointAddress, EndpointPort, EndpointSubset } from '#api/types.ts';
import { parseIP } from '#machinery/ip.ts';
import { compareText } from '../object-order.ts';

/** One address on one port; without a port for a headless service that has no ports. */
export interface Listener {
  readonly address: EndpointAddress;
  readonly ready: boolean;
  readonly port?: EndpointPort;
}

interface Group {
  readonly ports: EndpointPort[];
  readonly listeners: ReadonlyMap<string, Listener>;
}

export function packSubsets(listeners: readonly Listener[]): EndpointSubset[] {
  const byPort = new Map<
    string,
    { readonly port: EndpointPort | undefined; readonly listeners: Map<string, Listener> }
  >();
  for (const listener of listeners) {
    const id = portId(listener.port);
    const entry = byPort.get(id) ?? { port: listener.port, listeners: new Map<string, Listener>() };
    const known = entry.listeners.get(addressId(listener.address));
    // An address that is ready in one of the entries is ready.
    if (!known?.ready) entry.listeners.set(addressId(listener.address), listener);
    byPort.set(id, entry);
  }
  // Merges ports that have the same addresses.
  const groups = new Map<string, Group>();
  for (const { port, listeners: own } of byPort.values()) {
    const id = [...own]
      .map(([address, { ready }]) => `${address} ${ready}`)
      .sort()
      .join('|');
    const group = groups.get(id) ?? { ports: [], listeners: own };
    if (port) group.ports.push(port);
    groups.set(id, group);
  }
  return [...groups.values()].map(subsetOf).sort((a, b) => compareText(portsText(a), portsText(b)));
}

function subsetOf({ ports, listeners }: Group): EndpointSubset {
  const all = [...listeners.values()];
  const addresses = all
    .filter(({ ready }) => ready)
    .map(({ address }) => address)
    .sort(byAddress);
  const notReadyAddresses = all
    .filter(({ ready }) => !ready)
    .map(({ address }) => address)
    .sort(byAddress);
  return {
    ...(addresses.length > 0 ? { addresses } : {}),
    ...(notReadyAddresses.length > 0 ? { notReadyAddresses } : {}),
    ...(ports.length > 0 ? { ports: ports.sort((a, b) => compareText(portId(a), portId(b))) } : {}),
  };
}

/** Truncates to the maximum; ready addresses are kept first. */
export function truncateSubsets(
  subsets: readonly EndpointSubset[],
  maximum: number,
): { readonly subsets: EndpointSubset[]; readonly truncated: boolean } {
  const count = (list: readonly EndpointAddress[] | undefined): number => list?.length ?? 0;
  const total = subsets.reduce(
    (sum, { addresses, notReadyAddresses }) => sum + count(addresses) + count(notReadyAddresses),
    0,
  );
  if (total <= maximum) return { subsets: [...subsets], truncated: false };
  let left = maximum;
  const take = (list: EndpointAddress[] | undefined): EndpointAddress[] => {
    const taken = (list ?? []).slice(0, left);
    left -= taken.length;
    return taken;
  };
  const ready = subsets.map(({ addresses }) => take(addresses));
  const kept = subsets.map(({ notReadyAddresses, ports }, index) => ({
    addresses: ready[index]!,
    notReadyAddresses: take(notReadyAddresses),
    ports,
  }));
  const filled = kept.filter(
    ({ addresses, notReadyAddresses }) => addresses.length + notReadyAddresses.length > 0,
  );
  return {
    truncated: true,
    subsets: filled.map(({ addresses, notReadyAddresses, ports }) => ({
      ...(addresses.length > 0 ? { addresses } : {}),
      ...(notReadyAddresses.length > 0 ? { notReadyAddresses } : {}),
      ...(ports ? { ports } : {}),
    })),
  };
}

function portId(port: EndpointPort | undefined): string {
  return port ? `${port.name ?? ''} ${port.port} ${port.protocol ?? 'TCP'} ${port.appProtocol ?? ''}` : '';
}

function portsText({ ports }: EndpointSubset): string {
  return (ports ?? []).map(portId).join();
}

function addressId({ ip, targetRef }: EndpointAddress): string {
  return `${ip} ${targetRef?.uid ?? ''}`;
}

function byAddress(a: EndpointAddress, b: EndpointAddress): number {
  const [left = 0n, right = 0n] = [parseIP(a.ip)?.bits, parseIP(b.ip)?.bits];
  return left < right ? -1 : left > right ? 1 : compareText(a.targetRef?.uid ?? '', b.targetRef?.uid ?? '');
}
