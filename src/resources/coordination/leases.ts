/** Lease. */
import type { Lease } from '#api/types.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { dropUnused } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

/** Fields of disabled features: CoordinatedLeaderElection. */
const OFF = ['strategy', 'preferredHolder'] as const;

export const leases = defineResource<Lease>({
  group: 'coordination.k8s.io',
  plural: 'leases',
  allowCreateOnUpdate: true,
  allowUnconditionalUpdate: false,
  applyDefaults: (lease) => {
    lease.spec ??= {};
  },
  prepareForCreate: (lease) => dropUnused(lease.spec, undefined, OFF),
  prepareForUpdate: (next, previous) => dropUnused(next.spec, previous.spec, OFF),
  validate: ({ spec = {} }) => {
    const errors = new Errors(),
      { leaseDurationSeconds, leaseTransitions, strategy, preferredHolder } = spec;
    if (leaseDurationSeconds !== undefined && leaseDurationSeconds <= 0)
      errors.invalid(SPEC.child('leaseDurationSeconds'), leaseDurationSeconds, 'must be greater than 0');
    if (leaseTransitions !== undefined && leaseTransitions < 0)
      errors.invalid(SPEC.child('leaseTransitions'), leaseTransitions, 'must be greater than or equal to 0');
    if (strategy !== undefined) checkStrategyName(strategy, errors);
    if (preferredHolder !== undefined && preferredHolder !== '' && !strategy)
      errors.forbidden(SPEC.child('preferredHolder'), 'may only be specified when `strategy` is defined');
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Holder', 'Age'),
    row: (lease, context) => [nameOf(lease), lease.spec?.holderIdentity ?? '', formatAge(lease, context)],
  },
});

function checkStrategyName(strategy: string, errors: Errors): void {
  const parts = strategy.split('/');
  if (strategy === 'OldestEmulationVersion') return;
  if (parts.length === 2)
    errors.invalidEach(SPEC.child('strategy'), strategy, validateQualifiedName(strategy));
  else errors.notSupported(SPEC.child('strategy'), strategy, ['OldestEmulationVersion']);
}
