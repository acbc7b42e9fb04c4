/** Ports of the machine that pods ask for: two pods of one node cannot have the same. Pure; after upstream's NodePorts predicate. */
import type { PodSpec } from '#api/types.ts';

interface HostPort {
  readonly ip: string;
  readonly protocol: string;
  readonly port: number;
}

/** Whether a pod wants a host port that one of the others has. Any address conflicts with every address. */
export function hostPortsTaken(spec: PodSpec, others: readonly PodSpec[]): boolean {
  const wanted = hostPorts(spec);
  return (
    wanted.length > 0 &&
    others.flatMap(hostPorts).some((taken) => wanted.some((port) => conflicts(port, taken)))
  );
}

/** Init containers that end give their ports back before others begin; sidecars keep theirs. */
function hostPorts({ containers, initContainers = [] }: PodSpec): HostPort[] {
  const sidecars = initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always');
  return [...containers, ...sidecars]
    .flatMap(({ ports = [] }) => ports)
    .filter(({ hostPort = 0 }) => hostPort > 0)
    .map(({ hostIP, protocol = 'TCP', hostPort = 0 }) => ({
      ip: hostIP || '0.0.0.0',
      protocol,
      port: hostPort,
    }));
}

function conflicts(one: HostPort, other: HostPort): boolean {
  return (
    one.port === other.port &&
    one.protocol === other.protocol &&
    (one.ip === other.ip || isAny(one.ip) || isAny(other.ip))
  );
}

function isAny(ip: string): boolean {
  return ip === '0.0.0.0' || ip === '::';
}
