/** Address ranges from flags: one, or one of each family with a comma between. Upstream's rules for --cluster-cidr and --service-cluster-ip-range. */
import { UserError } from '#deploy/data-dir.ts';
import { formatCIDR, parseCIDR, validateLegacyCIDR } from '#machinery/ip.ts';

/** Canonical, host bits cleared, in the order given: the first one's family is the cluster's default. Throws a UserError. */
export function parseRanges(flag: string, text: string): readonly string[] {
  const blocks = text.split(',').map((range) => {
    const block = parseCIDR(range.trim());
    if (block && !block.address.mapped) return block;
    const [problem = ''] = validateLegacyCIDR(range.trim());
    throw new UserError(`${flag} is "${text}"; "${range.trim()}" ${problem}.`);
  });
  const ranges = blocks.map(formatCIDR);
  const families = new Set(blocks.map(({ address }) => address.family));
  if (ranges.length > 2 || families.size !== ranges.length)
    throw new UserError(
      `${flag} is "${text}"; it should be one range, or one of each IP family with a comma between.`,
    );
  return ranges;
}
