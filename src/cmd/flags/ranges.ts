/** Address ranges from flags: one, or one of each family with a comma between. Upstream's rules for --cluster-cidr and --service-cluster-ip-range. */
import { UserError } from '#deploy/data-dir.ts';
import { parseCIDR, validateLegacyCIDR } from '#machinery/ip.ts';

/** In the order given: the first one's family is the cluster's default. Throws a UserError. */
export function parseRanges(flag: string, text: string): readonly string[] {
  const ranges = text.split(',').map((range) => range.trim());
  for (const range of ranges) {
    const [problem] = validateLegacyCIDR(range);
    if (problem !== undefined) throw new UserError(`${flag} is "${text}"; "${range}" ${problem}.`);
  }
  const families = new Set(ranges.map((range) => parseCIDR(range)?.address.family));
  if (ranges.length > 2 || families.size !== ranges.length)
    throw new UserError(
      `${flag} is "${text}"; it should be one range, or one of each IP family with a comma between.`,
    );
  return ranges;
}
