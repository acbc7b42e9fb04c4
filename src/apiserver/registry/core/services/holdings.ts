/** The allocations of a Service: cluster IPs, node ports, health check port. */
import type { ServiceSpec } from '#api/types.ts';
import { canonical } from './ranges.ts';

export interface Holdings {
  readonly ips: string[];
  readonly ports: number[];
}

export function collectHoldings(spec: ServiceSpec = {}): Holdings {
  return { ips: addressesOf(spec), ports: portsOf(spec) };
}

/** As IPAddress objects name them. */
export function addressesOf({ type, clusterIP, clusterIPs }: ServiceSpec): string[] {
  if (type === 'ExternalName') return [];
  const all = clusterIPs ?? (clusterIP ? [clusterIP] : []);
  return all.filter((ip) => ip !== '' && ip !== 'None').map(canonical);
}

export function collectNodePorts({ ports = [] }: ServiceSpec): number[] {
  return ports.flatMap(({ nodePort }) => (nodePort ? [nodePort] : []));
}

/** Protocols may share a port: it is here once. */
function portsOf(spec: ServiceSpec): number[] {
  if (spec.type !== 'NodePort' && spec.type !== 'LoadBalancer') return [];
  const all = [...collectNodePorts(spec), ...(spec.healthCheckNodePort ? [spec.healthCheckNodePort] : [])];
  return [...new Set(all)];
}
