/** ServiceCIDR: a range for service cluster IPs. */
import type { ServiceCIDR } from '#api/types.ts';
import { validateCIDR } from '#machinery/names.ts';
import { checkImmutable, IMMUTABLE, isDualStack } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { keepField } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const PATH = SPEC.child('cidrs');

export const servicecidrs = defineResource<ServiceCIDR>({
  group: 'networking.k8s.io',
  plural: 'servicecidrs',
  written: { status: { without: ['spec', 'metadata'] } },
  prepareForCreate: (object) => {
    object.status = {};
  },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: ({ spec }) => {
    const errors = new Errors(),
      ranges = spec?.cidrs ?? [];
    checkRanges(ranges, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors(),
      before = previous.spec?.cidrs ?? [],
      after = next.spec?.cidrs ?? [];
    // Only a second family may be added.
    if (before.length === 1 && after.length === 2) {
      if (after[0] !== before[0]) errors.invalid(PATH.index(0), after[0], IMMUTABLE);
      checkRanges(after, errors);
    } else if (before.length === after.length) {
      before.forEach((range, i) => {
        if (range !== after[i]) errors.invalid(PATH.index(i), after[i], IMMUTABLE);
      });
    } else checkImmutable(after, before, PATH, errors);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'CIDRs', 'Age'),
    row: (object, context) => [
      nameOf(object),
      (object.spec?.cidrs ?? []).join(','),
      formatAge(object, context),
    ],
  },
});

function checkRanges(ranges: readonly string[], errors: Errors): void {
  if (ranges.length === 0) {
    errors.required(PATH, 'at least one CIDR required');
    return;
  }
  if (ranges.length > 2) {
    errors.invalid(PATH, { CIDRs: ranges }, 'may only hold up to 2 values');
    return;
  }
  const problems = ranges.map(validateCIDR);
  ranges.forEach((range, i) => errors.invalidEach(PATH.index(i), range, problems[i]!));
  if (ranges.length === 2 && problems.every((found) => found.length === 0) && !isDualStack(ranges))
    errors.invalid(
      PATH,
      ranges,
      'may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64',
    );
}
