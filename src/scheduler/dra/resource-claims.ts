/** The resource claims that a pod names, and who may use them. Pure. After upstream's dynamic-resource-allocation/resourceclaim. */
import type { DeviceClass, ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Pod, PodResourceClaim } from '#api/types.ts';
import { isControlledBy } from '#component-helpers/owner-references.ts';
import type { TakenDevices } from './allocated-devices.ts';
import type { DeviceNode, DevicePool } from './device-pools.ts';

/** Claims, classes and devices, as a scheduling cycle reads them; decisions that are being written are included. */
export interface ResourceClaims {
  claim(namespace: string, name: string): ResourceClaim | undefined;
  deviceClass(name: string): DeviceClass | undefined;
  /** The class whose devices serve an extended resource ('example.com/gpu'). */
  classOfExtendedResource(name: string): DeviceClass | undefined;
  /** The claim that an earlier attempt made for the extended resources of a pod. */
  extendedResourceClaim(podUID: string): ResourceClaim | undefined;
  /** Whether an allocation of the claim is being written. */
  isBeingAllocated(uid: string): boolean;
  pools(node: DeviceNode): readonly DevicePool[];
  readonly taken: TakenDevices;
  readonly nowMs: () => number;
}

/** Maximum number of pods that share a claim. */
const RESERVED_MAXIMUM = 256;

/** All claims that the pod refers to, or upstream's message about the first missing one. */
export function claimsOfPod(
  pod: Pod,
  claims: Pick<ResourceClaims, 'claim'>,
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

/** Whether the pod names this claim. */
export function usesClaim(pod: Pod, { metadata }: ResourceClaim): boolean {
  if (metadata?.namespace !== pod.metadata?.namespace) return false;
  return (pod.spec?.resourceClaims ?? []).some((reference) => {
    const named = claimName(pod, reference);
    return 'name' in named && named.name === metadata?.name;
  });
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
