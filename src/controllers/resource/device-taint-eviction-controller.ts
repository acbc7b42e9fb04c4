/**
 * Deletes scheduled pods that use a device with a NoExecute taint which their claim does not tolerate, or no longer: the time counts from when the taint was added. After
 * upstream's pkg/controller/devicetainteviction, without DeviceTaintRules (gate DRADeviceTaintRules, off by default).
 */
import type {
  DeviceRequestAllocationResult,
  DeviceTaint,
  ResourceClaim,
  ResourceSlice,
} from '#api/generated/types/resource-v1.ts';
import type { Pod } from '#api/types.ts';
import { pods, resourceClaims, resourceSlices } from '#client/refs.ts';
import { isControlledBy } from '#component-helpers/owner-references.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { minTolerationSeconds } from '#component-helpers/tolerations.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { timeMs } from '#machinery/time.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { evictPod } from '../pod-eviction.ts';

/** ResourceSlices, and claims by the devices they were allocated, by poolKey(). */
const BY_POOL = 'device-pool';
const REASON = 'DeviceTaintManagerEviction';

export const deviceTaintEvictionController = defineController({
  name: 'device-taint-eviction-controller',
  watches: [
    watch(pods, {
      keys: (pod) => (pod.spec?.nodeName && pod.spec.resourceClaims?.length ? [objectKey(pod)] : []),
      // Status is written often; only these matter here.
      changed: (pod, previous) =>
        pod.spec?.nodeName !== previous.spec?.nodeName ||
        pod.status?.resourceClaimStatuses?.length !== previous.status?.resourceClaimStatuses?.length ||
        isPodTerminal(pod) !== isPodTerminal(previous),
    }),
    watch(resourceClaims, { keys: users }),
    // Called with the slice before and after a change: a taint that goes matters as much as one that comes. A slice without taints may replace one that has some.
    watch(resourceSlices, {
      keys: (slice, { informer }) =>
        [slice, ...informer(resourceSlices).byIndex(BY_POOL, poolOf(slice))].some(hasNoExecute)
          ? informer(resourceClaims).byIndex(BY_POOL, poolOf(slice)).flatMap(users)
          : [],
    }),
  ],
  indexes: [
    {
      resource: resourceClaims,
      name: BY_POOL,
      values: (claim: ResourceClaim) => results(claim).map(poolKey),
    },
    { resource: resourceSlices, name: BY_POOL, values: (slice: ResourceSlice) => [poolOf(slice)] },
  ],
  workers: 8,
  reconcile,
});

function results({ status }: ResourceClaim): readonly DeviceRequestAllocationResult[] {
  return status?.allocation?.devices?.results ?? [];
}

function poolKey({ driver, pool }: { readonly driver: string; readonly pool: string }): string {
  return `${driver}/${pool}`;
}

function poolOf({ spec }: ResourceSlice): string {
  return poolKey({ driver: spec.driver, pool: spec.pool.name });
}

function hasNoExecute({ spec }: ResourceSlice): boolean {
  return (spec.devices ?? []).some(({ taints }) => noExecute(taints).length > 0);
}

function noExecute(taints: readonly DeviceTaint[] | undefined): DeviceTaint[] {
  return (taints ?? []).filter(({ effect }) => effect === 'NoExecute');
}

/** The pods that a claim is reserved for. */
function users({ metadata, status }: ResourceClaim): string[] {
  return (status?.reservedFor ?? [])
    .filter(({ apiGroup = '', resource }) => apiGroup === '' && resource === 'pods')
    .map(({ name }) => `${metadata?.namespace}/${name}`);
}

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, memory, clock } = context;
  const pod = informer(pods).get(key);
  if (!pod?.spec?.nodeName || pod.metadata.deletionTimestamp || isPodTerminal(pod))
    return void memory.delete(key);
  const atMs = Math.min(...claimsOf(pod, context).map((claim) => evictionMs(claim, context)));
  if (atMs === Infinity) return cancel(pod, context);
  // Whoever comes after this pod under its name is another one.
  memory.set(key, pod.metadata.uid);
  const leftMs = atMs - clock.now();
  if (leftMs > 0) return { requeueAfterMs: leftMs };
  context.events.event(pod, { type: 'Normal', reason: REASON, message: 'Marking for deletion' });
  await evictPod(pod, context, {
    reason: 'DeletionByDeviceTaintManager',
    message: 'Device Taint manager: deleting due to NoExecute taint',
  });
  memory.delete(key);
}

function cancel(pod: Stored<Pod>, { key, memory, events }: ReconcileContext): void {
  if (memory.get(key) !== pod.metadata.uid) return void memory.delete(key);
  memory.delete(key);
  events.event(pod, { type: 'Normal', reason: REASON, message: 'Cancelling deletion' });
}

/** Those that are reserved for the pod. A generated one must be its own. */
function claimsOf(pod: Stored<Pod>, { informer }: ReconcileContext): Stored<ResourceClaim>[] {
  const { namespace, uid } = pod.metadata;
  const generated = new Map(
    pod.status?.resourceClaimStatuses?.map(({ name, resourceClaimName }) => [name, resourceClaimName]),
  );
  return (pod.spec?.resourceClaims ?? []).flatMap(({ name, resourceClaimName }) => {
    const claim = informer(resourceClaims).get(`${namespace}/${resourceClaimName ?? generated.get(name)}`);
    if (!claim || (resourceClaimName === undefined && !isControlledBy(claim, pod))) return [];
    return claim.status?.reservedFor?.some((user) => user.uid === uid) ? [claim] : [];
  });
}

/** When the first of its devices is to be left, in Unix milliseconds; Infinity: never. */
function evictionMs(claim: Stored<ResourceClaim>, context: ReconcileContext): number {
  return Math.min(
    ...results(claim).flatMap((result) => {
      const tolerations = result.tolerations?.filter(({ effect }) => effect === 'NoExecute');
      return noExecute(taintsOf(result, context)).map(
        (taint) => (timeMs(taint.timeAdded) ?? 0) + 1000 * minTolerationSeconds([taint], tolerations),
      );
    }),
  );
}

/** Of the device as the newest generation of its pool has it. */
function taintsOf(
  result: DeviceRequestAllocationResult,
  { informer }: ReconcileContext,
): readonly DeviceTaint[] | undefined {
  const slices = informer(resourceSlices).byIndex(BY_POOL, poolKey(result));
  const newest = Math.max(...slices.map(({ spec }) => spec.pool.generation));
  return slices
    .filter(({ spec }) => spec.pool.generation === newest)
    .flatMap(({ spec }) => spec.devices ?? [])
    .find(({ name }) => name === result.device)?.taints;
}
