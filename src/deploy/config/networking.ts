/** Validates `networking` of ClusterConfiguration: kubeadm's rules for podSubnet and serviceSubnet, one range or one of each family. */
import { cidrsOverlap, ipFamily, parseCIDR, validateLegacyCIDR } from '#machinery/ip.ts';
import { isServiceCIDR } from '#machinery/service-cidr.ts';
import type { ClusterConfiguration } from './types.ts';

/** More parts of a range are not kept. As upstream's node IPAM controller. */
const MAX_PART_BITS = 16;

interface Subnets {
  readonly serviceSubnet: string;
  readonly podSubnet: string;
}

/** With defaults. */
export function subnetsOf({ networking }: ClusterConfiguration): Subnets {
  return {
    serviceSubnet: networking?.serviceSubnet || '10.96.0.0/12',
    podSubnet: networking?.podSubnet || '10.244.0.0/16',
  };
}

interface Problem {
  readonly field: 'serviceSubnet' | 'podSubnet';
  readonly problem: string;
}

/** Of ranges that are valid each: why they do not fit together. */
export function listMismatches({ podSubnet, serviceSubnet }: Subnets): Problem[] {
  const pods = podSubnet.split(',');
  const families = new Set(pods.map(ipFamily));
  return serviceSubnet.split(',').flatMap((range): Problem[] => {
    const field = 'serviceSubnet';
    if (!families.has(ipFamily(range)))
      return [
        {
          field,
          problem: `has ${JSON.stringify(range)}, but no pod has an ${ipFamily(range)} address: the ranges of pods (${podSubnet}) should have that family too`,
        },
      ];
    const other = pods.find((pod) => cidrsOverlap(parseCIDR(range)!, parseCIDR(pod)!));
    if (other === undefined) return [];
    const problem = `has ${JSON.stringify(range)}, which overlaps with the range of pods ${other}: they should have no address in common`;
    return [{ field, problem }];
  });
}

/** Of all ranges, and of those that are not given by their defaults. */
export function listNetworkingProblems(cluster: ClusterConfiguration): Problem[] {
  const problems = (['serviceSubnet', 'podSubnet'] as const).flatMap((field) =>
    listRangeProblems(cluster, field).map((problem) => ({ field, problem })),
  );
  return problems.length > 0 ? problems : listMismatches(subnetsOf(cluster));
}

/** Of the ranges of one field, each for itself. */
export function listRangeProblems(
  { networking, controllerManager }: ClusterConfiguration,
  field: Problem['field'],
): string[] {
  const ranges = (networking?.[field] || undefined)?.split(',') ?? [];
  const wrong = ranges.filter((range) => validateLegacyCIDR(range).length > 0);
  if (wrong.length > 0)
    return wrong.map((range) => `has ${JSON.stringify(range)}; it should be a range like 10.96.0.0/12`);
  const isOneOfEach = ranges.length <= 2 && new Set(ranges.map(ipFamily)).size === ranges.length;
  return [
    ...(isOneOfEach
      ? []
      : [
          `is ${JSON.stringify(ranges.join())}; it should be one (IPv4 or IPv6) CIDR or two CIDRs from each family for dual-stack networking`,
        ]),
    ...ranges.flatMap(
      (range) =>
        (field === 'serviceSubnet' ? serviceProblem(range) : podProblem(range, controllerManager)) ?? [],
    ),
  ];
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
  const isIPv4 = ipFamily(range) === 'IPv4';
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
