/**
 * Services that hold what they should not, which no repair can mend: the owner has to recreate them. Upstream's events of its repair loops. Its
 * PortRangeFull and UnknownError cannot occur: nothing is allocated anew here.
 */
import { BlockList, isIPv6 } from 'node:net';
import { ipFamily } from '#machinery/ip.ts';
import type { Service } from '#api/types.ts';
import { addressesOf, collectHoldings } from '../registry/core/services/holdings.ts';

interface ServiceConflict {
  readonly service: Service;
  readonly reason: 'ClusterIPOutOfRange' | 'PortAlreadyAllocated' | 'PortOutOfRange';
  readonly message: string;
}

interface Ranges {
  /** Of all ServiceCIDRs; none: they are not known yet. */
  readonly cidrs: readonly string[];
  readonly ports: { readonly from: number; readonly to: number };
}

/** Of two Services with one port the first in the order given is right. */
export function findConflicts(services: readonly Service[], { cidrs, ports }: Ranges): ServiceConflict[] {
  const isInRange = rangesOf(cidrs);
  const taken = new Set<number>();
  return services.flatMap((service) => {
    const found: ServiceConflict[] = [];
    for (const ip of addressesOf(service.spec ?? {})) if (!isInRange(ip)) found.push(outOfRange(service, ip));
    for (const port of collectHoldings(service.spec).ports) {
      const conflict = portConflict(service, { port, ports, isTaken: taken.has(port) });
      if (conflict) found.push(conflict);
      taken.add(port);
    }
    return found;
  });
}

function rangesOf(cidrs: readonly string[]): (ip: string) => boolean {
  if (cidrs.length === 0) return () => true;
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [network = '', bits] = cidr.split('/');
    list.addSubnet(network, Number(bits), familyOf(network));
  }
  return (ip) => list.check(ip, familyOf(ip));
}

function familyOf(ip: string): 'ipv4' | 'ipv6' {
  return isIPv6(ip) ? 'ipv6' : 'ipv4';
}

function outOfRange(service: Service, ip: string): ServiceConflict {
  return {
    service,
    reason: 'ClusterIPOutOfRange',
    message: `Cluster IP [${ipFamily(ip)}]: ${ip} is not within any configured Service CIDR; please recreate service`,
  };
}

function portConflict(
  service: Service,
  {
    port,
    ports: { from, to },
    isTaken,
  }: Pick<Ranges, 'ports'> & { readonly port: number; readonly isTaken: boolean },
): ServiceConflict | undefined {
  if (port < from || port > to)
    return {
      service,
      reason: 'PortOutOfRange',
      message: `Port ${port} is not within the port range ${from}-${to}; please recreate service`,
    };
  if (!isTaken) return undefined;
  return {
    service,
    reason: 'PortAlreadyAllocated',
    message: `Port ${port} was assigned to multiple services; please recreate service`,
  };
}
