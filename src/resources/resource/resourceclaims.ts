/** ResourceClaim. */
import type { KubeObject } from '#machinery/object.ts';
import type { ResourceClaimSpec, ResourceClaimStatus } from '#api/types.ts';
import { checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { keepAllButStatusAndMetadata, keepField } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkAdminAccess, checkAdminResults } from './admin-access.ts';
import { checkClaimStatus } from './claim-status.ts';
import { convertClaim } from './conversion.ts';
import { selectorsOfClaim, withSelectorErrors } from './device-selectors.ts';
import { checkClaimRequests, defaultClaimRequests } from './requests.ts';

export const resourceclaims = defineResource({
  group: 'resource.k8s.io',
  plural: 'resourceclaims',
  written: { status: { without: ['spec', 'metadata'] } },
  convert: convertClaim,
  applyDefaults: (claim) => defaultClaimRequests(specOf(claim)),
  prepareForCreate: (claim) => {
    claim['status'] = {};
  },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (claim, context) => {
    const errors = new Errors();
    checkAdminAccess(specOf(claim), claim, context, errors);
    checkClaimRequests(specOf(claim), SPEC, errors);
    return withSelectorErrors(errors.list, selectorsOfClaim(claim));
  },
  // The spec is immutable: its selectors are not compiled again.
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next['spec'], previous['spec'], SPEC, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatusAndMetadata,
    validateUpdate: (next, previous, context) => {
      const errors = new Errors();
      checkAdminResults(statusOf(next), statusOf(previous), { owner: next, context }, errors);
      checkClaimStatus(
        {
          spec: specOf(next),
          status: statusOf(next),
          stored: statusOf(previous),
          isDeleting: next.metadata?.deletionTimestamp !== undefined,
        },
        errors,
      );
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'State', 'Age'),
    row: (claim, context) => [nameOf(claim), stateOf(claim), formatAge(claim, context)],
  },
});

function specOf(claim: KubeObject): ResourceClaimSpec | undefined {
  return claim['spec'] as ResourceClaimSpec | undefined;
}

function statusOf(claim: KubeObject): ResourceClaimStatus {
  return (claim['status'] ?? {}) as ResourceClaimStatus;
}

function stateOf(claim: KubeObject): string {
  const { allocation, reservedFor } = statusOf(claim),
    states: string[] = [];
  if (claim.metadata?.deletionTimestamp) states.push('deleted');
  if (!allocation) {
    if (!claim.metadata?.deletionTimestamp) states.push('pending');
  } else states.push('allocated', ...(reservedFor?.length ? ['reserved'] : []));
  return states.join(',');
}
