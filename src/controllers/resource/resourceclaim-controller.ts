/**
 * Makes ResourceClaims from templates for pods, names them in the pods' status, takes back reservations of pods that are over, and with the last one the
 * allocation. It allocates nothing: the scheduler does. After upstream's pkg/controller/resourceclaim.
 *
 *   pod ──► claim for each template, status.resourceClaimStatuses, reservation when the pod has a node already
 *   claim ──► reservedFor without pods that are over ──► empty: allocation and finalizer go; made for a pod that is over: deleted
 */
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Pod } from '#api/types.ts';
import { pods, resourceClaims, resourceClaimTemplates } from '#client/refs.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { objectKey } from '#machinery/object.ts';
import { defineController, watch, type ControllerDefinition } from '#runtime/controller.ts';
import type { ClaimCreations } from './resource-claim-metrics.ts';
import { CLAIMS_OF_POD, PODS_OF_CLAIM, syncPodClaims } from './pod-claims.ts';
import { syncClaim } from './sync-claim.ts';

const POD = 'pod:';
const CLAIM = 'claim:';

export interface ResourceClaimOptions {
  readonly claimCreations?: ClaimCreations | undefined;
}

export function resourceClaimController({ claimCreations }: ResourceClaimOptions): ControllerDefinition {
  return defineController({
    name: 'resourceclaim-controller',
    serviceAccount: 'resource-claim-controller',
    eventSource: 'resource_claim',
    workers: 10,
    watches: [
      watch(pods, { keys: keysOfPod, changed: isPodChanged }),
      watch(resourceClaims, {
        keys: (claim, { informer }) => [
          `${CLAIM}${objectKey(claim)}`,
          ...informer(pods)
            .byIndex(PODS_OF_CLAIM, objectKey(claim))
            .map((pod) => `${POD}${objectKey(pod)}`),
        ],
      }),
      watch(resourceClaimTemplates, {
        keys: (template, { informer }) =>
          informer(pods)
            .byIndex(PODS_OF_TEMPLATE, objectKey(template))
            .map((pod) => `${POD}${objectKey(pod)}`),
        changed: () => false,
      }),
    ],
    indexes: [
      { resource: pods, name: PODS_OF_CLAIM, values: claimKeys as (object: never) => readonly string[] },
      {
        resource: pods,
        name: PODS_OF_TEMPLATE,
        values: templateKeys as (object: never) => readonly string[],
      },
      {
        resource: resourceClaims,
        name: CLAIMS_OF_POD,
        values: ownerUID as (object: never) => readonly string[],
      },
    ],
    reconcile: (context) =>
      context.key.startsWith(POD)
        ? syncPodClaims({ ...context, key: context.key.slice(POD.length) }, claimCreations)
        : syncClaim({ ...context, key: context.key.slice(CLAIM.length) }),
  });
}

const PODS_OF_TEMPLATE = 'resource-claim-template';

/** The pod, and its claims, which a pod that is over releases. */
function keysOfPod(pod: Pod): string[] {
  if (!pod.spec?.resourceClaims?.length && !pod.status?.extendedResourceClaimStatus) return [];
  return [`${POD}${objectKey(pod)}`, ...claimKeys(pod).map((key) => `${CLAIM}${key}`)];
}

function isPodChanged(pod: Pod, before: Pod): boolean {
  const seen = (of: Pod): string => {
    const { metadata, spec, status } = of;
    return JSON.stringify([
      metadata?.deletionTimestamp,
      spec?.nodeName,
      isPodTerminal(of),
      status?.resourceClaimStatuses,
      status?.extendedResourceClaimStatus,
    ]);
  };
  return seen(pod) !== seen(before);
}

function claimKeys({ metadata, spec, status }: Pod): string[] {
  const generated = status?.resourceClaimStatuses ?? [];
  const names = (spec?.resourceClaims ?? []).map(
    ({ name, resourceClaimName }) =>
      resourceClaimName ?? generated.find((one) => one.name === name)?.resourceClaimName,
  );
  return [...names, status?.extendedResourceClaimStatus?.resourceClaimName].flatMap((name) =>
    name === undefined ? [] : [`${metadata?.namespace}/${name}`],
  );
}

function templateKeys({ metadata, spec }: Pod): string[] {
  return (spec?.resourceClaims ?? []).flatMap(({ resourceClaimTemplateName }) =>
    resourceClaimTemplateName === undefined ? [] : [`${metadata?.namespace}/${resourceClaimTemplateName}`],
  );
}

function ownerUID(claim: ResourceClaim): string[] {
  const owner = findController(claim);
  return owner?.kind === 'Pod' && owner.apiVersion === 'v1' ? [owner.uid] : [];
}
