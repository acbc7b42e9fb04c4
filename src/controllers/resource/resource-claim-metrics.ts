/** Upstream's dynamic_resource_allocation_* metrics of the controller manager: claims by state, and attempts to create them. */
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import { Counter, label } from '#stdx/instruments.ts';

/** On generated claims: the name in pod.spec.resourceClaims. */
export const POD_CLAIM_NAME = 'resource.kubernetes.io/pod-claim-name';
const EXTENDED_RESOURCE_CLAIM = 'resource.kubernetes.io/extended-resource-claim';

export class ClaimCreations {
  readonly counter = new Counter(
    'dynamic_resource_allocation_resourceclaim_creates_total',
    'Number of ResourceClaims creation requests, categorized by creation status and admin access',
  );

  count(status: 'success' | 'failure', claim: Pick<ResourceClaim, 'spec'>): void {
    this.counter.add(`${label('status', status)},${label('admin_access', String(asksAdminAccess(claim)))}`);
  }
}

export function resourceClaimLines(claims: readonly ResourceClaim[]): string[] {
  const counts = new Map<string, number>();
  for (const claim of claims) {
    const labels = [
      label('allocated', String(claim.status?.allocation !== undefined)),
      label('admin_access', String(asksAdminAccess(claim))),
      label('source', sourceOf(claim)),
    ].join();
    counts.set(labels, (counts.get(labels) ?? 0) + 1);
  }
  const name = 'dynamic_resource_allocation_resource_claims';
  return [
    `# HELP ${name} Number of ResourceClaims, categorized by allocation status, admin access, and source.`,
    `# TYPE ${name} gauge`,
    ...[...counts].map(([labels, count]) => `${name}{${labels}} ${count}`),
  ];
}

function asksAdminAccess({ spec }: Pick<ResourceClaim, 'spec'>): boolean {
  return (spec.devices?.requests ?? []).some(({ exactly }) => exactly?.adminAccess === true);
}

/** '' for claims that a user made. */
function sourceOf({ metadata }: ResourceClaim): string {
  if (metadata?.annotations?.[POD_CLAIM_NAME] !== undefined) return 'resource_claim_template';
  return metadata?.annotations?.[EXTENDED_RESOURCE_CLAIM] === 'true' ? 'extended_resource' : '';
}
