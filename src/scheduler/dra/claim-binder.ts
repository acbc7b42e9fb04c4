/**
 * Writes what DynamicResources decided, before a pod is bound: allocations with their finalizer and the pod's reservation, and claims for extended
 * resources. After upstream's Reserve, PreBind and Unreserve.
 *
 *   assume (in the cycle) ──► write ──► [binding conditions: wait for the driver, up to 10 minutes] ──► the pod is bound
 *                                └─ refused ─────────┴─ failed, time over ──► release: reservations go, the pod is scheduled again
 */
import { randomUUID } from 'node:crypto';
import type { AllocationResult, ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { pods, resourceClaims } from '#client/refs.ts';
import { retryOnConflict } from '#client/retry-on-conflict.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { ChangeWaiters } from '../change-waiters.ts';
import type { Cycle } from '../plugin.ts';
import { claimsState } from '../plugins/dynamic-resources.ts';
import { bindingState, hasBindingConditions, isBindingOverdue } from './binding-conditions.ts';
import type { SchedulerMetrics } from '../metrics.ts';
import type { DeviceState } from './device-state.ts';
import { extendedResourceClaim, type ExtendedResources } from './extended-resources.ts';
import { isReservedFor } from './resource-claims.ts';

/** Keeps a claim while devices are allocated to it. */
const FINALIZER = 'resource.kubernetes.io/delete-protection';
/** Upstream's retry.DefaultRetry. */
const CONFLICT_ATTEMPTS = 5;
/** Upstream polls every 5 s; changes of claims are looked at at once. */
const CHECK_EVERY_MS = 5_000;

/** The message is upstream's; the pod is scheduled again. */
export class ClaimBindingError extends Error {
  override readonly name = 'ClaimBindingError';
  constructor(cause: unknown) {
    super(`running PreBind plugin "DynamicResources": ${errorMessage(cause)}`, { cause });
  }
}

interface PlannedClaim {
  /** As it was in the cycle; for extended resources: to be created. */
  readonly claim: ResourceClaim;
  /** To be written; undefined: it is allocated already. */
  readonly allocation: AllocationResult | undefined;
  /** Under which the decision is remembered. */
  readonly uid: string;
  readonly extended: ExtendedResources | undefined;
}

/** What a pod's claims need before it is bound to one node. */
export interface PlannedClaims {
  readonly pod: Pod;
  readonly node: string;
  readonly claims: readonly PlannedClaim[];
  /** For binding conditions. */
  readonly timeoutMs: number;
  /** Reserved by this plan: taken back when the pod is not bound. */
  readonly written: ResourceClaim[];
  /** Created by it: deleted then. */
  readonly made: ResourceClaim[];
}

interface ClaimBinderOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly state: DeviceState;
  readonly metrics?: Pick<SchedulerMetrics, 'claimCreated'>;
}

/** Undefined: the pod has no claims. */
export function plannedClaims(cycle: Cycle, node: string): PlannedClaims | undefined {
  const state = claimsState(cycle);
  if (!state) return undefined;
  const { results: resultsOf, extended } = state.allocations.get(node) ?? {};
  const results = resultsOf?.() ?? [];
  const claims = state.claims.map((claim): PlannedClaim => {
    const index = state.unallocated.indexOf(claim);
    return {
      claim,
      allocation: index < 0 ? undefined : results[index],
      uid: claim.metadata?.uid ?? '',
      extended: undefined,
    };
  });
  const { pod } = cycle.pod;
  if (extended)
    claims.push({
      claim: extendedResourceClaim(pod, extended),
      allocation: results[state.unallocated.length],
      uid: randomUUID(),
      extended,
    });
  return { pod, node, claims, timeoutMs: state.args.bindingTimeoutMs, written: [], made: [] };
}

export class ClaimBinder {
  readonly #options: ClaimBinderOptions;
  readonly #waiters: ChangeWaiters;

  constructor(options: ClaimBinderOptions) {
    this.#options = options;
    this.#waiters = new ChangeWaiters(options.clock);
  }

  /** A claim changed. */
  changed(): void {
    this.#waiters.wake();
  }

  /** From now on, no other pod gets these devices. */
  assume({ claims }: PlannedClaims): void {
    for (const { claim, allocation, uid } of claims)
      if (allocation) this.#options.state.assume(uid, { ...claim, status: { ...claim.status, allocation } });
  }

  /** Returns whether the pod has to wait for its devices. Throws ClaimBindingError: an unallocated claim never lets a pod be bound. */
  async write(plan: PlannedClaims): Promise<boolean> {
    try {
      for (const planned of plan.claims)
        if (!isReservedFor(plan.pod, planned.claim)) plan.written.push(await this.#writeClaim(planned, plan));
    } catch (error) {
      throw new ClaimBindingError(error);
    }
    return this.#current(plan).some(hasBindingConditions);
  }

  /** Until all devices report that they are attached. Throws ClaimBindingError, or the abort reason of the signal. */
  async wait(plan: PlannedClaims, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const { timeoutMs } = plan;
    const untilMs = clock.monotonic() + timeoutMs;
    for (;;) {
      signal.throwIfAborted();
      const waiting = this.#current(plan).filter((claim) => isWaiting(claim));
      if (waiting.length === 0) return;
      const overdue = waiting.find((claim) => isBindingOverdue(claim, { nowMs: clock.now(), timeoutMs }));
      if (overdue) throw new ClaimBindingError(new Error(`claim ${overdue.metadata?.name} binding timeout`));
      if (clock.monotonic() >= untilMs) throw new ClaimBindingError(new Error('device binding timeout'));
      await this.#waiters.next(signal, CHECK_EVERY_MS);
    }
  }

  /** Nothing was written: the devices are free again. */
  forget({ claims }: PlannedClaims): void {
    const { state } = this.#options;
    for (const { uid, claim, extended } of claims)
      if (state.isBeingAllocated(uid)) state.forget(uid, extended ? undefined : objectKey(claim));
  }

  /** The pod is not bound: what was not written is free again, what was written loses the pod's reservation. Throws the errors of the API. */
  async release(plan: PlannedClaims): Promise<void> {
    const { api } = this.#options;
    this.forget(plan);
    for (const { metadata } of plan.made)
      await this.deleteClaim({ name: metadata?.name ?? '', namespace: metadata?.namespace });
    const made = new Set(plan.made.map(objectKey));
    for (const claim of plan.written)
      if (!made.has(objectKey(claim))) await releaseClaim(api, claim, plan.pod);
  }

  /** Gives up one allocated claim that keeps the pod from every node, if only this pod uses it. Returns upstream's message about what was done. */
  async postFilter(cycle: Cycle): Promise<string | undefined> {
    const state = claimsState(cycle);
    if (!state) return undefined;
    if (state.stale) {
      const { name = '', namespace } = state.stale.metadata ?? {};
      await this.deleteClaim({ name, namespace });
      return 'deletion of ResourceClaim completed';
    }
    for (const claim of state.unavailable) {
      const users = claim.status?.reservedFor ?? [];
      if (users.length > 1 || (users.length === 1 && !isReservedFor(cycle.pod.pod, claim))) continue;
      const { allocation: _gone, reservedFor: _none, devices: _also, ...status } = claim.status ?? {};
      await this.#options.api.updateStatus(resourceClaims, { ...claim, status });
      return 'deallocation of ResourceClaim completed';
    }
    return undefined;
  }

  async deleteClaim(name: { readonly name: string; readonly namespace: string | undefined }): Promise<void> {
    const { api } = this.#options;
    try {
      await retryOnConflict(CONFLICT_ATTEMPTS, async () => {
        const claim = await api.get(resourceClaims, name);
        const finalizers = claim.metadata.finalizers?.filter((one) => one !== FINALIZER) ?? [];
        await api.update(resourceClaims, { ...claim, metadata: { ...claim.metadata, finalizers } });
      });
      await api.delete(resourceClaims, name);
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
    }
  }

  async #writeClaim(planned: PlannedClaim, { pod, made }: PlannedClaims): Promise<ResourceClaim> {
    const { api, state } = this.#options;
    const { allocation, extended, uid } = planned;
    let claim = extended ? await this.#create(planned.claim) : planned.claim;
    if (extended) made.push(claim);
    const name = { name: claim.metadata?.name ?? '', namespace: claim.metadata?.namespace };
    let isFirst = true;
    const written = await retryOnConflict(CONFLICT_ATTEMPTS, async () => {
      if (!isFirst) claim = await api.get(resourceClaims, name);
      isFirst = false;
      return this.#writeOnce(claim, { pod, allocation });
    });
    if (allocation) state.confirm(uid, written);
    if (extended)
      await api.patch(
        pods,
        { name: pod.metadata?.name ?? '', namespace: pod.metadata?.namespace },
        {
          type: 'strategic',
          subresource: 'status',
          patch: {
            status: {
              extendedResourceClaimStatus: {
                resourceClaimName: name.name,
                requestMappings: extended.mappings,
              },
            },
          },
        },
      );
    return written;
  }

  /** For extended resources. */
  async #create(claim: ResourceClaim): Promise<ResourceClaim> {
    const { api, metrics } = this.#options;
    try {
      const made = await api.create(resourceClaims, claim);
      metrics?.claimCreated('success');
      return made;
    } catch (error) {
      metrics?.claimCreated('failure');
      throw error;
    }
  }

  async #writeOnce(
    claim: ResourceClaim,
    { pod, allocation }: { readonly pod: Pod; readonly allocation: AllocationResult | undefined },
  ): Promise<ResourceClaim> {
    const { api, clock } = this.#options;
    const key = objectKey(claim);
    if (claim.metadata?.deletionTimestamp) throw new Error(`claim ${key} got deleted in the meantime`);
    if (allocation && claim.status?.allocation)
      throw new Error(`claim ${key} got allocated elsewhere in the meantime`);
    const granted = allocation ?? claim.status?.allocation;
    if (!granted) throw new Error(`claim ${key} is not allocated`);
    let current = claim;
    const { finalizers = [] } = claim.metadata ?? {};
    if (allocation && !finalizers.includes(FINALIZER))
      current = await api.update(resourceClaims, {
        ...claim,
        metadata: { ...claim.metadata, finalizers: [...finalizers, FINALIZER] },
      });
    const { name = '', uid = '' } = pod.metadata ?? {};
    return api.updateStatus(resourceClaims, {
      ...current,
      status: {
        ...current.status,
        allocation: allocation ? { ...allocation, allocationTimestamp: formatTime(clock.now()) } : granted,
        reservedFor: [...(current.status?.reservedFor ?? []), { resource: 'pods', name, uid }],
      },
    });
  }

  /** The plan's claims as they are now. */
  #current({ claims, written }: PlannedClaims): ResourceClaim[] {
    const known = [...claims.flatMap(({ claim, extended }) => (extended ? [] : claim)), ...written];
    const latest = new Map(known.map((claim) => [objectKey(claim), claim]));
    return [...latest.values()].map(({ metadata }) => {
      const { namespace = '', name = '' } = metadata ?? {};
      const claim = this.#options.state.claim(namespace, name);
      if (claim) return claim;
      throw new ClaimBindingError(new Error(`resourceclaim.resource.k8s.io "${name}" not found`));
    });
  }
}

/** Takes back one entry, whatever else changed. */
async function releaseClaim(api: Client, { metadata }: ResourceClaim, pod: Pod): Promise<void> {
  const { name = '', namespace, uid } = metadata ?? {};
  await api.patch(
    resourceClaims,
    { name, namespace },
    {
      type: 'strategic',
      subresource: 'status',
      patch: {
        metadata: { uid },
        status: { reservedFor: [{ $patch: 'delete', uid: pod.metadata?.uid }] },
      },
    },
  );
}

function isWaiting(claim: ResourceClaim): boolean {
  const state = bindingState(claim);
  if (state.kind === 'failed') throw new ClaimBindingError(new Error(state.message));
  return state.kind === 'waiting';
}
