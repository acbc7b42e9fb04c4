/** PriorityLevelConfiguration: how many requests of a level run concurrently, and how the others are queued. */
import type { PriorityLevelConfiguration } from '#api/types.ts';
import { deepEqual } from '#machinery/json.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC } from '../field-path.ts';
import { bumpGeneration, keepAllButStatusAndMetadata, keepField, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { validateConditions } from './conditions.ts';
import { MANDATORY_PRIORITY_LEVELS } from './mandatory.ts';

const SHARES_DEFAULT = 30;
const QUEUES_MAX = 10 * 1000 * 1000;
/** A hand of queues is dealt from the bits of a hash, which limits its size. */
const MAX_HASH_BITS = 60;

export const prioritylevelconfigurations = defineResource<PriorityLevelConfiguration>({
  group: 'flowcontrol.apiserver.k8s.io',
  plural: 'prioritylevelconfigurations',
  written: { status: { without: ['spec', 'metadata'] } },
  applyDefaults: ({ spec }) => {
    if (spec?.exempt) {
      spec.exempt.nominalConcurrencyShares ??= 0;
      spec.exempt.lendablePercent ??= 0;
    }
    const limited = spec?.limited;
    if (!limited) return;
    limited.nominalConcurrencyShares ??= SHARES_DEFAULT;
    limited.lendablePercent ??= 0;
    const queuing = limited.limitResponse?.queuing;
    if (!queuing) return;
    queuing.handSize ||= 8;
    queuing.queues ||= 64;
    queuing.queueLengthLimit ||= 50;
  },
  prepareForCreate: (level) => {
    level.status = {};
    startGeneration(level);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
  },
  validate: (level) => {
    const errors = new Errors(),
      {
        type = '',
        limited,
        exempt,
      } = level.spec ?? ({} as Partial<NonNullable<PriorityLevelConfiguration['spec']>>);
    if ((nameOf(level) === 'exempt') !== (type === 'Exempt'))
      errors.invalid(SPEC.child('type'), type, "must be 'Exempt' if and only if `name` is 'exempt'");
    if (type === 'Exempt') {
      if (limited) errors.forbidden(SPEC.child('limited'), 'must be nil if the type is not Limited');
      checkShares(exempt ?? {}, SPEC.child('exempt'), errors);
    } else if (type === 'Limited') {
      if (exempt) errors.forbidden(SPEC.child('exempt'), 'must be nil if the type is Limited');
      if (!limited) errors.required(SPEC.child('limited'), 'must not be empty when type is Limited');
      else checkLimited(limited, SPEC.child('limited'), errors);
    } else errors.notSupported(SPEC.child('type'), type, ['Exempt', 'Limited']);
    checkMandatory(level, errors);
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatusAndMetadata, validateUpdate: validateConditions },
  table: {
    columns: columns(
      'Name',
      'Type',
      'NominalConcurrencyShares',
      'Queues',
      'HandSize',
      'QueueLengthLimit',
      'Age',
    ),
    row: (level, context) => {
      const { type = '', limited } = level.spec ?? {},
        queuing = limited?.limitResponse?.queuing;
      const shown = (count: number | undefined): string => (count === undefined ? '<none>' : String(count));
      return [
        nameOf(level),
        type,
        shown(limited?.nominalConcurrencyShares),
        shown(queuing?.queues),
        shown(queuing?.handSize),
        shown(queuing?.queueLengthLimit),
        formatAge(level, context),
      ];
    },
  },
});

function checkMandatory(level: PriorityLevelConfiguration, errors: Errors): void {
  const name = nameOf(level);
  const fixed = MANDATORY_PRIORITY_LEVELS[name];
  if (!fixed) return;
  // The administrator may change its shares.
  const isExempt = name === 'exempt';
  const fixedPart = isExempt ? { ...fixed, exempt: level.spec?.exempt } : fixed;
  if (!deepEqual(level.spec, fixedPart))
    errors.invalid(
      SPEC,
      level.spec,
      isExempt
        ? "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"
        : `spec of '${name}' must equal the fixed value`,
    );
}

type Limited = NonNullable<NonNullable<PriorityLevelConfiguration['spec']>['limited']>;

function checkShares(
  shares: { nominalConcurrencyShares?: number; lendablePercent?: number },
  path: Path,
  errors: Errors,
): void {
  const { nominalConcurrencyShares = 0, lendablePercent = 0 } = shares;
  if (nominalConcurrencyShares < 0)
    errors.invalid(
      path.child('nominalConcurrencyShares'),
      nominalConcurrencyShares,
      'must be a non-negative integer',
    );
  if (lendablePercent < 0 || lendablePercent > 100)
    errors.invalid(path.child('lendablePercent'), lendablePercent, 'must be between 0 and 100, inclusive');
}

function checkLimited(limited: Limited, path: Path, errors: Errors): void {
  checkShares(limited, path, errors);
  if (limited.borrowingLimitPercent !== undefined && limited.borrowingLimitPercent < 0)
    errors.invalid(
      path.child('borrowingLimitPercent'),
      limited.borrowingLimitPercent,
      'if specified, must be a non-negative integer',
    );
  const at = path.child('limitResponse'),
    response = limited.limitResponse;
  if (response?.type === 'Reject') {
    if (response.queuing)
      errors.forbidden(at.child('queuing'), 'must be nil if limited.limitResponse.type is not Limited');
  } else if (response?.type !== 'Queue')
    errors.notSupported(at.child('type'), response?.type ?? '', ['Queue', 'Reject']);
  else if (!response.queuing)
    errors.required(at.child('queuing'), 'must not be empty if limited.limitResponse.type is Limited');
  else {
    const { queues = 0, handSize = 0, queueLengthLimit = 0 } = response.queuing,
      queuing = at.child('queuing');
    if (queueLengthLimit <= 0)
      errors.invalid(queuing.child('queueLengthLimit'), queueLengthLimit, 'must be positive');
    if (queues <= 0) errors.invalid(queuing.child('queues'), queues, 'must be positive');
    else if (queues > QUEUES_MAX)
      errors.invalid(queuing.child('queues'), queues, `must not be greater than ${QUEUES_MAX}`);
    if (handSize <= 0) errors.invalid(queuing.child('handSize'), handSize, 'must be positive');
    else if (handSize > queues)
      errors.invalid(queuing.child('handSize'), handSize, `should not be greater than queues (${queues})`);
    else if (Math.ceil(Math.log2(queues) * handSize) > MAX_HASH_BITS)
      errors.invalid(
        queuing.child('handSize'),
        handSize,
        `required entropy bits of deckSize ${queues} and handSize ${handSize} should not be greater than ${MAX_HASH_BITS}`,
      );
  }
}
