/** Applies a plan to the slices of one key; created slices are recorded as expectations until the cache shows them. */
import { isStatusError } from '#machinery/errors.ts';
import { endpointSlices } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { nameOf } from '../owners.ts';
import { isNamespaceTerminating } from '../pod-control.ts';
import type { SlicePlan } from './slice-plan.ts';

/** Throws the first error, after all writes were attempted. */
export async function writeSlices(
  plan: SlicePlan,
  { api, key, expectations }: ReconcileContext,
): Promise<void> {
  if (plan.create.length > 0) expectations.expectCreations(key, plan.create.length);
  const created = plan.create.map(async (slice) => {
    try {
      await api.create(endpointSlices, slice);
    } catch (error) {
      expectations.creationObserved(key);
      // The namespace is being deleted, and the service with it.
      if (!isNamespaceTerminating(error)) throw error;
    }
  });
  const updated = plan.update.map((slice) => api.update(endpointSlices, slice));
  const deleted = plan.delete.map(async (slice) => {
    try {
      await api.delete(endpointSlices, nameOf(slice));
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
    }
  });
  const outcomes = await Promise.allSettled([...updated, ...created, ...deleted]);
  const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
  // Report another error rather than a conflict of a stale cache.
  const worst = failed.find(({ reason }) => !isStatusError(reason, 'Conflict')) ?? failed[0];
  if (worst) throw worst.reason;
}
