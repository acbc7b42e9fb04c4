/** Validates `networking` of ClusterConfiguration: kubeadm's rules for podSubnet and serviceSubnet, one range or one of each family. */
import { parseCIDR, validateLegacyCIDR } from '#machinery/ip.ts';
import { isServiceCIDR } from '#machinery/service-cidr.ts';
import type { ClusterConfiguration } from './types.ts';

/** More parts of a range are not kept. As upstream's node IPAM controller. */
const MAX_PART_BITS = 16;

interface Problem {
  readonly field: 'serviceSubnet' | 'podSubnet';
  readonly problem: string;
}

export function listNetworkingProblems({ networking, controllerManager }: ClusterConfiguration): Problem[] {
  const problems: Problem[] = [];
  for (const field of ['serviceSubnet', 'podSubnet'] as const) {
    const ranges = (networking?.[field] || undefined)?.split(',') ?? [];
    const wrong = ranges.filter((range) => validateLegacyCIDR(range).length > 0);
    for (const range of wrong)
      problems.push({
        field,
        problem: `has ${JSON.stringify(range)}; it should be a range like 10.96.0.0/12`,
      });
    if (wrong.length > 0) continue;
    if (ranges.length > 2 || new Set(ranges.map(familyOf)).size !== ranges.length)
      problems.push({
        field,
        problem: `is ${JSON.stringify(ranges.join())}; it should be one (IPv4 or IPv6) CIDR or two CIDRs from each family for dual-stack networking`,
      });
    for (const range of ranges) {
      const problem =
        field === 'serviceSubnet' ? serviceProblem(range) : podProblem(range, controllerManager);
      if (problem !== undefined) problems.push({ field, problem });
    }
  }
  return problems;
}

function familyOf(range: string): 4 | 6 | undefined {
  return parseCIDR(range)?.address.family;
}

function serviceProblem(range: string): string | undefined {
  return isServiceCIDR(range)
    ? undefined
    : `has ${JSON.stringify(range)}; its prefix should have 8 to 30 bits, of an IPv6 range 64 to 126`;
}

/** Each node gets a part, whose size the controller manager's arguments may say. */
function podProblem(
  range: string,
  controllerManager: ClusterConfiguration['controllerManager'],
): string | undefined {
  const given = (name: string): string | undefined =>
    controllerManager?.extraArgs?.findLast((arg) => arg.name === name)?.value;
  const isIPv4 = familyOf(range) === 4;
  const mask = Number(
    given('node-cidr-mask-size') ??
      given(isIPv4 ? 'node-cidr-mask-size-ipv4' : 'node-cidr-mask-size-ipv6') ??
      (isIPv4 ? 24 : 64),
  );
  const { prefixLength = 0 } = parseCIDR(range) ?? {};
  if (prefixLength > mask)
    return `has ${JSON.stringify(range)}: the size of pod subnet with mask ${prefixLength} is smaller than the size of node subnet with mask ${mask}`;
  if (mask - prefixLength > MAX_PART_BITS)
    return `has ${JSON.stringify(range)}: pod subnet mask (${prefixLength}) and node-mask (${mask}) difference is greater than ${MAX_PART_BITS}`;
  return undefined;
}
