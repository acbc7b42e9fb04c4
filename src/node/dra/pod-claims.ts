/** Which ResourceClaims a pod uses, and which requests of them a container does. Pure; upstream's rules and messages. */
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Container, Pod, PodResourceClaim } from '#api/types.ts';

/** The claim's name; undefined: none is needed. Throws while it does not exist. */
function claimName(pod: Pod, { name, resourceClaimName }: PodResourceClaim): string | undefined {
  if (resourceClaimName) return resourceClaimName;
  const generated = pod.status?.resourceClaimStatuses?.find((one) => one.name === name);
  if (!generated) throw new Error(`pod claim name "${name}" resource claim name not found in pod status`);
  return generated.resourceClaimName;
}

export function usesClaims({ spec, status }: Pod): boolean {
  return (spec?.resourceClaims ?? []).length > 0 || status?.extendedResourceClaimStatus !== undefined;
}

/** Of the pod, with that of its extended resources. */
export function claimNames(pod: Pod): string[] {
  const named = (pod.spec?.resourceClaims ?? []).map((claim) => claimName(pod, claim));
  return [...named, pod.status?.extendedResourceClaimStatus?.resourceClaimName].filter(
    (name): name is string => name !== undefined,
  );
}

interface UsedRequest {
  readonly claim: string;
  /** '': all of the claim. */
  readonly request: string;
}

export function requestsOf(pod: Pod, { name, resources }: Container): UsedRequest[] {
  const claims = (resources?.claims ?? []).flatMap((used) => {
    const claim = pod.spec?.resourceClaims?.find((one) => one.name === used.name);
    const own = claim && claimName(pod, claim);
    return own === undefined ? [] : [{ claim: own, request: used.request ?? '' }];
  });
  const extended = pod.status?.extendedResourceClaimStatus;
  const mapped = (extended?.requestMappings ?? [])
    .filter(
      ({ containerName, resourceName }) =>
        containerName === name && resources?.requests?.[resourceName] !== undefined,
    )
    .map(({ requestName }) => ({ claim: extended!.resourceClaimName, request: requestName }));
  return [...claims, ...mapped];
}

/** Throws in upstream's words when the pod may not use it. */
export function requireUsable(pod: Pod, claim: ResourceClaim): void {
  const { name = '', uid = '' } = claim.metadata ?? {};
  if (!claim.status?.reservedFor?.some((one) => one.uid === pod.metadata?.uid))
    throw new Error(
      `pod ${pod.metadata?.name} (${pod.metadata?.uid}) is not allowed to use ResourceClaim ${name} (${uid})`,
    );
  if (!claim.status.allocation) throw new Error(`ResourceClaim ${name}: not allocated`);
}

/** The drivers whose devices it was given. */
export function driversOf({ status }: ResourceClaim): string[] {
  return [...new Set((status?.allocation?.devices?.results ?? []).map(({ driver }) => driver))];
}
