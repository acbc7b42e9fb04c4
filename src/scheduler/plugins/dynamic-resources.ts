/**
 * DynamicResources: every resource claim of the pod must exist, be allocated and be available to it. Messages are upstream's. There is no
 * allocator: unallocated claims are rejected on every node. Existing allocations are never deallocated.
 */
import type { DeviceRequest, ResourceClaim } from '#api/generated/types/resource-v1.ts';
import { matchesNodeSelectorTerms } from '#component-helpers/node-affinity.ts';
import { refusal, type Refusal, type SchedulerPlugin } from '../plugin.ts';
import { claimsOfPod, isReservedFor, mayBeReserved, type ResourceClaims } from '../resource-claims.ts';

const NAME = 'DynamicResources';
const UNALLOCATED = refused('cannot allocate all claims');
const ELSEWHERE = refused('resourceclaim not available on the node');

function refused(reason: string): Refusal {
  return refusal(NAME, reason, { resolvable: false });
}

export const dynamicResources: SchedulerPlugin = {
  name: NAME,
  queueingHints: ['resource-claim-changed', 'device-class-changed', 'node-added', 'node-updated'],
  preFilter({ pod, snapshot, state }) {
    if (!pod.pod.spec?.resourceClaims?.length) return 'skip';
    const claims = claimsOfPod(pod.pod, snapshot.resourceClaims);
    if ('problem' in claims) return refused(claims.problem);
    if (claims.found.length === 0) return 'skip';
    for (const claim of claims.found) {
      if (!claim.status?.allocation) {
        const missing = missingClass(claim, snapshot.resourceClaims);
        if (missing !== undefined) return refused(missing);
      } else if (!mayBeReserved(claim) && !isReservedFor(pod.pod, claim))
        return refused('resourceclaim in use');
    }
    state.set(NAME, claims.found);
    return undefined;
  },
  filter({ state }, node) {
    const claims = state.get(NAME) as readonly ResourceClaim[];
    if (claims.some(({ status }) => !status?.allocation)) return UNALLOCATED;
    const reachable = claims.every(({ status }) => {
      const selector = status?.allocation?.nodeSelector;
      return !selector || matchesNodeSelectorTerms(selector.nodeSelectorTerms, node);
    });
    return reachable ? undefined : ELSEWHERE;
  },
  postFilter: ({ state }) => (state.has(NAME) ? 'still not schedulable' : 'no new claims to deallocate'),
};

/** A request for a DeviceClass that does not exist cannot be satisfied. */
function missingClass({ spec }: ResourceClaim, claims: ResourceClaims): string | undefined {
  for (const request of spec.devices?.requests ?? [])
    for (const { name, deviceClassName } of alternativesOf(request))
      if (!claims.hasDeviceClass(deviceClassName))
        return `request ${name}: device class ${deviceClassName} does not exist`;
  return undefined;
}

function alternativesOf({
  name,
  exactly,
  firstAvailable = [],
}: DeviceRequest): readonly { readonly name: string; readonly deviceClassName: string }[] {
  if (exactly) return [{ name, deviceClassName: exactly.deviceClassName }];
  return firstAvailable.map((one) => ({
    name: `${name}/${one.name}`,
    deviceClassName: one.deviceClassName,
  }));
}
