/** Binding conditions of allocated devices: a pod is bound only when its devices report them. Pure. After upstream's DynamicResources. */
import type { AllocatedDeviceStatus, ResourceClaim } from '#api/generated/types/resource-v1.ts';

/** Upstream's BindingTimeoutDefaultSeconds. */
export const BINDING_TIMEOUT_MS = 600_000;

/** 'failed' with why: a driver reports that the device will not be there. */
type BindingState =
  | { readonly kind: 'ready' }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'failed'; readonly message: string };

export function hasBindingConditions({ status }: ResourceClaim): boolean {
  return (status?.allocation?.devices?.results ?? []).some(
    ({ bindingConditions }) => (bindingConditions ?? []).length > 0,
  );
}

export function bindingState(claim: ResourceClaim): BindingState {
  if (!claim.status?.allocation) return { kind: 'waiting' };
  for (const result of claim.status.allocation.devices?.results ?? []) {
    if (!result.bindingConditions?.length) continue;
    const device = claim.status.devices?.find(
      (one) => one.driver === result.driver && one.pool === result.pool && one.device === result.device,
    );
    if (!device) return { kind: 'waiting' };
    for (const type of result.bindingFailureConditions ?? []) {
      const failed = conditionOf(device, type);
      if (failed?.status !== 'True') continue;
      const { reason, message } = failed;
      return {
        kind: 'failed',
        message: `claim ${claim.metadata?.name} binding failed: reason=${reason}, message=${JSON.stringify(message)}`,
      };
    }
    if (!result.bindingConditions.every((type) => conditionOf(device, type)?.status === 'True'))
      return { kind: 'waiting' };
  }
  return { kind: 'ready' };
}

/** Whether its devices had their time since they were allocated. */
export function isBindingOverdue(
  claim: ResourceClaim,
  { nowMs, timeoutMs }: { readonly nowMs: number; readonly timeoutMs: number },
): boolean {
  const since = claim.status?.allocation?.allocationTimestamp;
  return since !== undefined && hasBindingConditions(claim) && Date.parse(since) + timeoutMs < nowMs;
}

function conditionOf(
  { conditions }: AllocatedDeviceStatus,
  type: string,
): NonNullable<AllocatedDeviceStatus['conditions']>[number] | undefined {
  return conditions?.find((condition) => condition.type === type);
}
