/** ServiceCIDR: a range that service addresses are taken from. */
import type { ServiceCIDR } from '#api/types.ts';
import { validateCIDR } from '#machinery/names.ts';
import { checkImmutable, isDualStack } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { keepAllButStatus, keepField } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';

const PATH = SPEC.child('cidrs');

export const servicecidrs = defineResource<ServiceCIDR>({
  group: 'networking.k8s.io',
  plural: 'servicecidrs',
  prepareForCreate: (object) => { object.status = {}; },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: ({ spec }) => {
    const errors = new Errors(), ranges = spec?.cidrs ?? [];
    if (ranges.length === 0) errors.required(PATH, 'at least one CIDR required');
    if (ranges.length > 2) errors.invalid(PATH, ranges, 'may only hold up to 2 values');
    if (ranges.length === 2 && !isDualStack(ranges)) errors.invalid(PATH, ranges, 'may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96');
    ranges.forEach((range, i) => errors.invalidEach(PATH.index(i), range, validateCIDR(range)));
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors(), before = previous.spec?.cidrs ?? [], after = next.spec?.cidrs ?? [];
    // One family may become two, nothing else.
    if (before.length === 1 && after.length === 2) {
      if (after[0] !== before[0]) errors.invalid(PATH.index(0), after[0], 'field is immutable');
      if (!isDualStack(after)) errors.invalid(PATH, after, 'may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96');
      errors.invalidEach(PATH.index(1), after[1], validateCIDR(after[1]!));
    } else checkImmutable(after, before, PATH, errors);
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatus },
  table: { columns: columns('Name', 'CIDRs', 'Age'), row: (object, context) => [nameOf(object), (object.spec?.cidrs ?? []).join(','), ageOf(object, context)] },
});
