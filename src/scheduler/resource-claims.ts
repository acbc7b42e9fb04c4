/**
 * Resolves the resource claims of a pod and reserves them before it is bound. After upstream's dynamic-resource-allocation/resourceclaim.
 * Does not allocate devices: a pod with an unallocated claim stays pending (plugins/dynamic-resources.ts).
 */
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Pod, PodResourceClaim } from '#api/types.ts';
import { resourceClaims } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import { isControlledBy } from '#component-helpers/owner-references.ts';

/** The cluster's claims and classes, as read in a scheduling cycle. */
export interface ResourceClaims {
  claim(namespace: string, name: string): ResourceClaim | undefined;
  hasDeviceClass(name: string): boolean;
}

/** Maximum number of pods that share a claim. */
const RESERVED_MAXIMUM = 256;

/** All claims that the pod refers to, or upstream's message about the first missing one. */
export function claimsOfPod(
  pod: Pod,
  claims: ResourceClaims,
): { readonly found: readonly ResourceClaim[] } | { readonly problem: string } {
  const found: ResourceClaim[] = [];
  for (const reference of pod.spec?.resourceClaims ?? []) {
    const named = claimName(pod, reference);
    if ('problem' in named) return named;
    // The pod's status says that the template needed no claim.
    if (named.name === undefined) continue;
    const claim = claims.claim(pod.metadata?.namespace ?? '', named.name);
    if (!claim) return { problem: `resourceclaim.resource.k8s.io "${named.name}" not found` };
    const problem = claimProblem(pod, claim, named.isGenerated);
    if (problem !== undefined) return { problem };
    found.push(claim);
  }
  return { found };
}

function claimName(
  pod: Pod,
  { name, resourceClaimName, resourceClaimTemplateName }: PodResourceClaim,
): { readonly name: string | undefined; readonly isGenerated: boolean } | { readonly problem: string } {
  const { metadata, status } = pod;
  const where = `pod "${metadata?.namespace}/${metadata?.name}"`;
  if (resourceClaimName !== undefined) return { name: resourceClaimName, isGenerated: false };
  if (resourceClaimTemplateName === undefined)
    return { problem: `${where}, spec.resourceClaim "${name}": none of the supported fields are set` };
  const generated = status?.resourceClaimStatuses?.find((one) => one.name === name);
  return generated
    ? { name: generated.resourceClaimName, isGenerated: true }
    : { problem: `${where}: ResourceClaim not created yet` };
}

function claimProblem(pod: Pod, claim: ResourceClaim, isGenerated: boolean): string | undefined {
  const { name, namespace, deletionTimestamp } = claim.metadata ?? {};
  if (deletionTimestamp) return `resourceclaim "${name}" is being deleted`;
  if (!isGenerated || isControlledBy(claim, pod)) return undefined;
  const { metadata } = pod;
  return `ResourceClaim ${namespace}/${name} was not created for pod ${metadata?.namespace}/${metadata?.name} (pod is not owner)`;
}

export function isReservedFor(pod: Pod, { status }: ResourceClaim): boolean {
  return status?.reservedFor?.some(({ uid }) => uid === pod.metadata?.uid) ?? false;
}

export function mayBeReserved({ status }: ResourceClaim): boolean {
  return (status?.reservedFor?.length ?? 0) < RESERVED_MAXIMUM;
}

/** Adds the pod to status.reservedFor of its claims; returns those that were changed: all or none. Throws the errors of the API. */
export async function reserveClaims(
  api: Client,
  pod: Pod,
  claims: readonly ResourceClaim[],
): Promise<readonly ResourceClaim[]> {
  const missing = claims.filter((claim) => !isReservedFor(pod, claim));
  const { name, uid } = pod.metadata ?? {};
  const written: ResourceClaim[] = [];
  try {
    for (const claim of missing) {
      await patchReservation(api, claim, { resource: 'pods', name, uid });
      written.push(claim);
    }
  } catch (error) {
    await releaseClaims(api, pod, written);
    throw error;
  }
  return written;
}

/** Releases the reservations of reserveClaims when the pod could not be bound. */
export async function releaseClaims(api: Client, pod: Pod, claims: readonly ResourceClaim[]): Promise<void> {
  for (const claim of claims)
    await patchReservation(api, claim, { $patch: 'delete', uid: pod.metadata?.uid });
}

async function patchReservation(api: Client, { metadata }: ResourceClaim, entry: object): Promise<void> {
  const { name = '', namespace, uid } = metadata ?? {};
  await api.patch(
    resourceClaims,
    { name, namespace },
    {
      type: 'strategic',
      subresource: 'status',
      patch: { metadata: { uid }, status: { reservedFor: [entry] } },
    },
  );
}
