/** ResourceClaim. */
import type { KubeObject } from '#machinery/object.ts';
import type { ResourceClaimSpec, ResourceClaimStatus } from '#api/types.ts';
import { checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { keepAllButStatus, keepField } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { convertClaim } from './conversion.ts';
import { checkClaimRequests, defaultClaimRequests } from './requests.ts';

const RESERVED_MAX = 256;

export const resourceclaims = defineResource({
  group: 'resource.k8s.io',
  plural: 'resourceclaims',
  convert: convertClaim,
  applyDefaults: (claim) => defaultClaimRequests(specOf(claim)),
  prepareForCreate: (claim) => { claim['status'] = {}; },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (claim) => {
    const errors = new Errors();
    checkClaimRequests(specOf(claim), SPEC, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next['spec'], previous['spec'], SPEC, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next, previous) => {
      const errors = new Errors(), status = statusOf(next), stored = statusOf(previous), reserved = status.reservedFor ?? [];
      if (reserved.length > RESERVED_MAX) errors.tooMany(STATUS.child('reservedFor'), reserved.length, RESERVED_MAX);
      if (reserved.length > 0 && !status.allocation) errors.forbidden(STATUS.child('reservedFor'), 'may not be specified when `allocated` is not set');
      if (stored.allocation && status.allocation) checkImmutable(status.allocation, stored.allocation, STATUS.child('allocation'), errors);
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'State', 'Age'),
    row: (claim, context) => [nameOf(claim), stateOf(claim), ageOf(claim, context)],
  },
});

function specOf(claim: KubeObject): ResourceClaimSpec | undefined {
  return claim['spec'] as ResourceClaimSpec | undefined;
}

function statusOf(claim: KubeObject): ResourceClaimStatus {
  return (claim['status'] ?? {}) as ResourceClaimStatus;
}

function stateOf(claim: KubeObject): string {
  const { allocation, reservedFor } = statusOf(claim), states: string[] = [];
  if (claim.metadata?.deletionTimestamp) states.push('deleted');
  if (!allocation) {
    if (!claim.metadata?.deletionTimestamp) states.push('pending');
  } else states.push('allocated', ...(reservedFor?.length ? ['reserved'] : []));
  return states.join(',');
}
