/**
 * Deletes EndpointSlices whose Lease has expired (component-helpers/leased-endpoints.ts), and the Lease. Expiry is measured with the local clock
 * from when a renewal was observed, so that clock skew does not matter. A publisher that was only slow creates both again.
 */
import type { Stored } from '#machinery/object.ts';
import type { Lease } from '#api/types.ts';
import { endpointSlices, leases } from '#client/refs.ts';
import type { Client, ObjectName, ResourceRef } from '#client/client.ts';
import { ENDPOINTS_LEASE_SECONDS, LEASED_LABEL } from '#component-helpers/leased-endpoints.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { defineController, watch, type ReconcileResult } from '#runtime/controller.ts';

const select = { labelSelector: LEASED_LABEL };

export const leasedEndpointSliceController = defineController({
  name: 'leased-endpointslice-controller',
  watches: [watch(endpointSlices, { select }), watch(leases, { select })],
  async reconcile({ key, api, clock, log, informer, memory }): Promise<ReconcileResult> {
    const slice = informer(endpointSlices).get(key);
    const lease = informer(leases).get(key);
    if (!slice && !lease) return void memory.delete(key);
    const { renewTime, lastsMs } = renewalOf(lease);
    const leftMs = seenAt(renewTime, { memory, key, nowMs: clock.monotonic() }) + lastsMs - clock.monotonic();
    if (leftMs > 0) return { requeueAfterMs: leftMs };
    const [namespace = '', name = ''] = key.split('/');
    // Read live, because the cache may be behind.
    const current = await orAbsent(api.get(leases, { name, namespace }));
    if (renewalOf(current).renewTime !== renewTime) return { requeueAfterMs: lastsMs };
    if (slice) await remove(api, { ref: endpointSlices, object: slice });
    if (current) await remove(api, { ref: leases, object: current });
    memory.delete(key);
    log.warn('deleted the EndpointSlice of an expired lease', { endpointSlice: key });
  },
});

interface Renewal {
  /** '' when there is no lease. */
  readonly renewTime: string;
  readonly lastsMs: number;
}

function renewalOf(lease: Stored<Lease> | undefined): Renewal {
  return {
    renewTime: lease?.spec?.renewTime ?? '',
    lastsMs: (lease?.spec?.leaseDurationSeconds ?? ENDPOINTS_LEASE_SECONDS) * 1_000,
  };
}

/** When this renewal was first observed. */
function seenAt(
  renewTime: string,
  {
    memory,
    key,
    nowMs,
  }: { readonly memory: Map<string, unknown>; readonly key: string; readonly nowMs: number },
): number {
  const before = memory.get(key) as { readonly renewTime: string; readonly atMs: number } | undefined;
  if (before?.renewTime === renewTime) return before.atMs;
  memory.set(key, { renewTime, atMs: nowMs });
  return nowMs;
}

/** With the observed version as precondition: a lease that was renewed or recreated is kept. */
async function remove(
  api: Client,
  { ref, object }: { readonly ref: ResourceRef; readonly object: Stored<KubeObject> },
): Promise<void> {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const preconditions = { uid: uid, resourceVersion: resourceVersion };
  await orAbsent(api.delete(ref, { name, namespace } as ObjectName, { preconditions })).catch(
    (error: unknown) => {
      if (!isStatusError(error, 'Conflict')) throw error;
    },
  );
}

async function orAbsent<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}
