/**
 * Ranges of addresses of a running cluster: which changes it survives. The range of pods may grow to one that holds it, that of Services may get a second
 * family; a further range for Services is a ServiceCIDR. Pure.
 */
import { cidrContains, parseCIDR, type CIDRBlock } from '#machinery/ip.ts';

interface Networking {
  readonly serviceSubnet: string;
  readonly podSubnet: string;
  readonly dnsDomain: string;
}

interface Change {
  readonly current: Networking;
  readonly wanted: Networking;
}

/** What is refused, each with what to do instead. */
export function refusedNetworking({ current, wanted }: Change): string[] {
  const refused: string[] = [];
  if (current.dnsDomain !== wanted.dnsDomain)
    refused.push(
      'networking.dnsDomain cannot be changed: names in it are in certificates, pods and kubelets',
    );
  if (!isSecondFamily(current.serviceSubnet, wanted.serviceSubnet))
    refused.push(
      `networking.serviceSubnet cannot be changed from ${current.serviceSubnet} to ${wanted.serviceSubnet}: Services have addresses of it. A second family goes behind it with a comma; a further range is a document of its own in this file (kind: ServiceCIDR)`,
    );
  const problem = podsProblem(current.podSubnet, wanted.podSubnet) ?? overlapProblem({ current, wanted });
  return problem === undefined ? refused : [...refused, problem];
}

function podsProblem(current: string, podSubnet: string): string | undefined {
  const before = current.split(',');
  const after = podSubnet.split(',');
  if (before.length !== after.length)
    return `networking.podSubnet cannot be changed from ${current} to ${podSubnet}: Nodes keep the ranges that they have, so a family comes and goes only with Nodes that join anew`;
  if (!before.every((range, index) => holds(after[index]!, range)))
    return `networking.podSubnet cannot be changed from ${current} to ${podSubnet}: it can only grow, to a range that holds the one before, since Nodes keep their parts of it`;
  return undefined;
}

/** Of ranges that change. */
function overlapProblem({ current, wanted }: Change): string | undefined {
  const { podSubnet, serviceSubnet } = wanted;
  if (current.podSubnet === podSubnet && current.serviceSubnet === serviceSubnet) return undefined;
  const pods = podSubnet.split(',');
  const service = serviceSubnet.split(',').find((range) => pods.some((one) => rangesOverlap(one, range)));
  return (
    service &&
    `networking.podSubnet ${podSubnet} overlaps with the addresses of Services, ${service}: give ranges apart`
  );
}

/** Or no change. */
function isSecondFamily(current: string, wanted: string): boolean {
  return wanted === current || (!current.includes(',') && wanted.startsWith(`${current},`));
}

/** False also where one is no range. */
function holds(range: string, inner: string): boolean {
  const outside = parseCIDR(range);
  const inside = parseCIDR(inner);
  return isAround(outside, inside);
}

function isAround(outside: CIDRBlock | undefined, inside: CIDRBlock | undefined): boolean {
  return (
    outside !== undefined &&
    inside !== undefined &&
    outside.prefixLength <= inside.prefixLength &&
    cidrContains(outside, inside.address)
  );
}

export function rangesOverlap(a: string, b: string): boolean {
  return holds(a, b) || holds(b, a);
}
