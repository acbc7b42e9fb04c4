/**
 * Devices that are taken: by allocations in the API, by those that the scheduler decided and is still writing, and by those that it wrote and its
 * informer has not received yet. What a claim's allocation takes is kept by the claim's UID, so that no event counts twice.
 */
import type { DeviceRequestAllocationResult, ResourceClaim } from '#api/generated/types/resource-v1.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';

/** Amount in use of each capacity of a device that several claims share. */
export type ConsumedCapacity = ReadonlyMap<string, Quantity>;

/** Read by the allocator. */
export interface TakenDevices {
  /** Whether one claim has the whole device. */
  has(id: string): boolean;
  capacity(id: string): ConsumedCapacity | undefined;
}

export class AllocatedDevices implements TakenDevices {
  readonly #byClaim = new Map<string, readonly DeviceRequestAllocationResult[]>();
  /** Device → number of allocations; more than one only when other allocators interfered. */
  readonly #exclusive = new Map<string, number>();
  readonly #shared = new Map<string, { users: number; readonly amounts: Map<string, Quantity> }>();

  /** The claim's allocation is this one, or none. */
  set(uid: string, claim: ResourceClaim | undefined): void {
    const before = this.#byClaim.get(uid);
    const results = claim?.status?.allocation?.devices?.results ?? [];
    if (before === results) return;
    for (const result of before ?? []) this.#count(result, -1);
    for (const result of results) this.#count(result, 1);
    if (results.length > 0) this.#byClaim.set(uid, results);
    else this.#byClaim.delete(uid);
  }

  has(id: string): boolean {
    return this.#exclusive.has(id);
  }

  capacity(id: string): ConsumedCapacity | undefined {
    return this.#shared.get(id)?.amounts;
  }

  /** Administrative access takes nothing away from others. */
  #count(result: DeviceRequestAllocationResult, sign: 1 | -1): void {
    if (result.adminAccess) return;
    const id = `${result.driver}/${result.pool}/${result.device}`;
    if (result.shareID !== undefined) return this.#share(id, { result, sign });
    const count = (this.#exclusive.get(id) ?? 0) + sign;
    if (count > 0) this.#exclusive.set(id, count);
    else this.#exclusive.delete(id);
  }

  #share(
    id: string,
    { result, sign }: { readonly result: DeviceRequestAllocationResult; readonly sign: 1 | -1 },
  ): void {
    const entry = this.#shared.get(id) ?? { users: 0, amounts: new Map<string, Quantity>() };
    entry.users += sign;
    if (entry.users <= 0) return void this.#shared.delete(id);
    for (const [name, amount] of Object.entries(result.consumedCapacity ?? {})) {
      const quantity = parseQuantity(String(amount));
      const sum = (entry.amounts.get(name) ?? Quantity.zero).add(sign > 0 ? quantity : quantity.negate());
      entry.amounts.set(name, sum);
    }
    this.#shared.set(id, entry);
  }
}
