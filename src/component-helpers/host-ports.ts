/** Host ports of pods, and conflicts between pods of one node. Pure. After upstream's NodePorts, used by scheduler and node. */
import type { PodSpec } from '#api/types.ts';
import { longRunningContainers } from './containers.ts';

export interface HostPort {
  readonly ip: string;
  readonly protocol: string;
  readonly port: number;
}

/** As upstream, only the IPv4 wildcard conflicts with every address; '::' is treated like any other address. */
const ANY_ADDRESS = '0.0.0.0';

/** Init containers release their ports before the next container starts; sidecars keep theirs. */
export function podHostPorts(spec: PodSpec | undefined): HostPort[] {
  return longRunningContainers(spec).flatMap(({ ports = [] }) =>
    ports.flatMap(({ hostIP, protocol, hostPort = 0 }) =>
      hostPort > 0 ? [{ ip: hostIP || ANY_ADDRESS, protocol: protocol || 'TCP', port: hostPort }] : [],
    ),
  );
}

export function hostPortsConflict(wanted: readonly HostPort[], taken: readonly HostPort[]): boolean {
  return wanted.some((one) => taken.some((other) => conflicts(one, other)));
}

function conflicts(one: HostPort, other: HostPort): boolean {
  return (
    one.port === other.port &&
    one.protocol === other.protocol &&
    (one.ip === other.ip || one.ip === ANY_ADDRESS || other.ip === ANY_ADDRESS)
  );
}
