/** Warnings for ports of a pod's containers that conflict or have no effect. After upstream's pkg/api/pod warnings. */
import type { ContainerPort, PodSpec } from '#api/types.ts';
import { eachContainer } from './visit.ts';

/** Maximum number of definitions of one port that are compared; later ones get no warning. */
const MAX_PAIRS = 20_000;

interface Placed {
  readonly port: ContainerPort;
  readonly at: string;
}

export function warnPorts(spec: PodSpec, path: string, warnings: string[]): void {
  const ports: Placed[] = [];
  eachContainer(spec, path, (container, at) =>
    container.ports?.forEach((port, i) => ports.push({ port, at: `${at()}.ports[${i}]` })),
  );
  for (const { port, at } of ports)
    if (port.hostIP && !port.hostPort) warnings.push(`${at}: hostIP set without hostPort: ${goText(port)}`);
  if (ports.length < 2) return;
  warnSameNumbers(ports, warnings);
  warnSameNames(ports, warnings);
}

/** As upstream formats the structure. */
function goText({
  name = '',
  hostPort = 0,
  containerPort,
  protocol = 'TCP',
  hostIP = '',
}: ContainerPort): string {
  return `{Name:${name} HostPort:${hostPort} ContainerPort:${containerPort} Protocol:${protocol} HostIP:${hostIP}}`;
}

function warnSameNumbers(ports: readonly Placed[], warnings: string[]): void {
  const byNumber = new Map<string, Placed[]>();
  let left = MAX_PAIRS;
  for (const placed of ports) {
    const key = `${placed.port.containerPort}/${placed.port.protocol ?? 'TCP'}`,
      others = byNumber.get(key);
    if (!others) {
      byNumber.set(key, [placed]);
      continue;
    }
    for (const other of others) {
      if (--left < 0) return;
      const relation = relationOf(placed.port, other.port);
      if (relation !== undefined) warnings.push(`${placed.at}: ${relation} port definition with ${other.at}`);
    }
    others.push(placed);
  }
}

/** For two definitions of one port. */
function relationOf(port: ContainerPort, other: ContainerPort): string | undefined {
  const hostPort = port.hostPort ?? 0,
    otherHostPort = other.hostPort ?? 0,
    hostIP = port.hostIP ?? '',
    otherHostIP = other.hostIP ?? '';
  if (hostIP === otherHostIP && hostPort === otherHostPort) return 'duplicate';
  if (hostPort === 0 || otherHostPort === 0) return 'overlapping';
  return hostPort === otherHostPort && (hostIP === '') !== (otherHostIP === '')
    ? 'dangerously ambiguous'
    : undefined;
}

function warnSameNames(ports: readonly Placed[], warnings: string[]): void {
  const byName = new Map<string, string>();
  for (const {
    port: { name },
    at,
  } of ports) {
    if (!name) continue;
    const other = byName.get(name);
    if (other === undefined) byName.set(name, at);
    else
      warnings.push(
        `${at}: duplicate port name ${JSON.stringify(name)} with ${other}, services and probes that select ports by name will use ${other}`,
      );
  }
}
