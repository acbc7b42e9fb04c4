/**
 * Allocates devices on one node for all claims of a pod that have none: an exhaustive search in order, the first solution wins. After upstream's
 * dynamic-resource-allocation/structured allocator. Pure.
 *
 *   claim → request → [subrequest, in order of preference] → device → next device | next request | next claim | done
 *                                                               '── no solution: give it back, try the next one
 *
 * Within a request, devices are only taken in their order, so that no combination is tried twice. The search is bounded by `expired`.
 */
import { randomUUID } from 'node:crypto';
import type {
  AllocationResult,
  DeviceClass,
  DeviceTaint,
  ResourceClaim,
} from '#api/generated/types/resource-v1.ts';
import { toleratesTaint } from '#component-helpers/tolerations.ts';
import type { Quantity } from '#machinery/quantity.ts';
import type { ConsumedCapacity, TakenDevices } from './allocated-devices.ts';
import { AllocationError, AllocationTimeout, NodeAllocationError } from './allocation-error.ts';
import { allocationResult, type ChosenDevice } from './allocation-result.ts';
import { consumptionOf, hasRoom } from './capacity.ts';
import type { Constraint } from './constraints.ts';
import { PoolCounters } from './counters.ts';
import type { DevicePool, PoolDevice } from './device-pools.ts';
import {
  isSelectable,
  MAX_RESULTS,
  requestsOfClaim,
  type Alternative,
  type ClaimRequests,
} from './requests.ts';

export interface AllocationInput {
  /** Without an allocation. */
  readonly claims: readonly ResourceClaim[];
  /** Resolved before, for claims that ask the same of every node. */
  readonly requests?: readonly ClaimRequests[] | undefined;
  readonly nodeName: string;
  readonly pools: readonly DevicePool[];
  readonly taken: TakenDevices;
  readonly deviceClass: (name: string) => DeviceClass | undefined;
  /** Asked now and then; true ends the search with AllocationTimeout. */
  readonly expired?: () => boolean;
  /** Identifies one share of a device. */
  readonly newShareID?: () => string;
}

/** One result per claim, or undefined: the node cannot satisfy all of them. Throws AllocationError. */
export function allocateDevices(input: AllocationInput): readonly AllocationResult[] | undefined {
  return searchDevices(input)?.();
}

/** The same, with the results made when they are asked for: of many nodes, one is chosen. */
export function searchDevices(input: AllocationInput): (() => readonly AllocationResult[]) | undefined {
  const claims = input.requests ?? input.claims.map((claim) => requestsOfClaim(claim, input));
  const search = new Search(claims, input);
  if (!search.run()) {
    // Only said when valid pools were not enough.
    if (input.pools.some(({ invalid }) => invalid !== undefined))
      throw new NodeAllocationError('invalid resource pools were encountered');
    return undefined;
  }
  return () =>
    claims.map((requests, index) =>
      allocationResult(requests, {
        chosen: search.chosen[index]!,
        nodeName: input.nodeName,
      }),
    );
}

const STEPS_PER_CHECK = 64;
const NOTHING: ReadonlyMap<string, Quantity> = new Map();

/** The next device to find. */
interface Position {
  readonly claim: number;
  readonly request: number;
  readonly alternative: Alternative;
  /** Of the request. */
  readonly found: number;
  /** Where to go on among the devices. */
  readonly from: number;
}

class Search {
  /** Per claim. */
  readonly chosen: ChosenDevice[][];
  readonly #claims: readonly ClaimRequests[];
  readonly #input: AllocationInput;
  readonly #constraints: readonly (readonly Constraint[])[];
  readonly #devices: readonly PoolDevice[];
  readonly #counters = new Map<DevicePool, PoolCounters>();
  /** Device → claims of this search that have it. */
  readonly #users = new Map<string, Set<number>>();
  /** Of devices that may be shared. */
  readonly #shares = new Map<string, ConsumedCapacity[]>();
  #steps = 0;

  constructor(claims: readonly ClaimRequests[], input: AllocationInput) {
    this.#claims = claims;
    this.#input = input;
    this.chosen = claims.map(() => []);
    this.#constraints = claims.map(({ constraints }) => constraints());
    this.#devices = usableDevices(input.pools);
  }

  run(): boolean {
    return this.#request(0, 0);
  }

  /** Finds devices for this request and all that follow. */
  #request(claim: number, request: number): boolean {
    const wanted = this.#claims[claim];
    if (!wanted) return true;
    const alternatives = wanted.requests[request];
    if (!alternatives) return this.#request(claim + 1, 0);
    return alternatives.some((alternative) =>
      this.#device({ claim, request, alternative, found: 0, from: 0 }),
    );
  }

  #device(at: Position): boolean {
    this.#checkTime();
    const { claim, request, alternative, found } = at;
    if (alternative.all?.length === 0) return false;
    if (found >= alternative.count) return this.#request(claim, request + 1);
    if (this.chosen[claim]!.length + alternative.count - found > MAX_RESULTS) return false;
    return alternative.all ? this.#next(alternative.all[found]!, at) : this.#anyDevice(at);
  }

  #anyDevice(at: Position): boolean {
    const { owner } = this.#claims[at.claim]!;
    for (let index = at.from; index < this.#devices.length; index += 1) {
      const device = this.#devices[index]!;
      if (this.#isInUse(device, at) || !isSelectable(device, at.alternative, owner)) continue;
      if (this.#next(device, { ...at, from: index + 1 })) return true;
    }
    return false;
  }

  /** Takes the device and searches on; gives it back when that leads nowhere. */
  #next(device: PoolDevice, at: Position): boolean {
    if (!this.#take(device, at)) return false;
    if (this.#device({ ...at, found: at.found + 1 })) return true;
    this.#giveBack(device, at);
    return false;
  }

  #checkTime(): void {
    this.#steps += 1;
    if (this.#steps % STEPS_PER_CHECK === 0 && this.#input.expired?.())
      throw new AllocationTimeout('timed out trying to allocate devices');
  }

  /** With administrative access, others may use it, but not the same claim twice. */
  #isInUse({ id, device }: PoolDevice, { claim, alternative }: Position): boolean {
    if (alternative.adminAccess)
      return device.allowMultipleAllocations !== true && (this.#users.get(id)?.has(claim) ?? false);
    return this.#input.taken.has(id) || (this.#users.get(id)?.size ?? 0) > 0;
  }

  #take(device: PoolDevice, at: Position): boolean {
    const { alternative, claim } = at;
    if (this.#isInUse(device, at) || isTainted(device, alternative)) return false;
    const consumption = this.#consumption(device, alternative);
    if (!consumption) return false;
    const isShared = device.device.allowMultipleAllocations === true;
    const consumes = this.#consumesCounters(device);
    if (consumes && !this.#countersOf(device).take(device)) return false;
    if (!this.#satisfiesConstraints(device, at)) {
      if (consumes) this.#countersOf(device).giveBack(device);
      return false;
    }
    if (isShared) this.#shares.set(device.id, [...(this.#shares.get(device.id) ?? []), consumption]);
    else this.#users.set(device.id, (this.#users.get(device.id) ?? new Set()).add(claim));
    this.chosen[claim]!.push({
      device,
      alternative,
      consumesCounters: consumes,
      shareID: isShared ? (this.#input.newShareID ?? randomUUID)() : undefined,
      consumption: isShared ? consumption : undefined,
    });
    return true;
  }

  #giveBack(device: PoolDevice, { claim, alternative }: Position): void {
    const { consumesCounters } = this.chosen[claim]!.pop()!;
    for (const constraint of this.#constraints[claim]!) constraint.remove(alternative.name, device);
    if (consumesCounters) this.#countersOf(device).giveBack(device);
    if (device.device.allowMultipleAllocations === true) {
      const rest = this.#shares.get(device.id)!.slice(0, -1);
      if (rest.length > 0) this.#shares.set(device.id, rest);
      else this.#shares.delete(device.id);
    } else this.#users.get(device.id)?.delete(claim);
  }

  #consumption(
    { id, device, driver }: PoolDevice,
    { capacity }: Alternative,
  ): ReadonlyMap<string, Quantity> | undefined {
    // A whole device has what it has.
    if (device.allowMultipleAllocations !== true && capacity === undefined) return NOTHING;
    const consumption = consumptionOf(device, { requests: capacity, driver });
    if (!consumption) return undefined;
    const inUse = [this.#input.taken.capacity(id), ...(this.#shares.get(id) ?? [])];
    return hasRoom(device, { consumption, inUse }) ? consumption : undefined;
  }

  /** A shared device consumes them once, with its first user. */
  #consumesCounters({ id, device }: PoolDevice): boolean {
    if (!device.consumesCounters?.length) return false;
    return !(
      device.allowMultipleAllocations === true &&
      (this.#input.taken.capacity(id) !== undefined || this.#shares.has(id))
    );
  }

  #countersOf(device: PoolDevice): PoolCounters {
    const pool = this.#input.pools.find(({ id }) => id === `${device.driver}/${device.pool}`)!;
    let counters = this.#counters.get(pool);
    if (!counters) this.#counters.set(pool, (counters = new PoolCounters(pool, this.#input.taken)));
    return counters;
  }

  #satisfiesConstraints(device: PoolDevice, { claim, alternative }: Position): boolean {
    const { owner } = this.#claims[claim]!;
    const constraints = this.#constraints[claim]!;
    const broken = constraints.findIndex((constraint) => !constraint.add(alternative.name, device));
    if (broken < 0) return true;
    for (const constraint of constraints.slice(0, broken)) constraint.remove(alternative.name, device);
    if (!alternative.all) return false;
    const { full } = alternative.name;
    throw new AllocationError(
      `${owner}, request ${full.slice(full.indexOf('/') + 1)}: cannot add device ${device.id} because a claim constraint would not be satisfied`,
    );
  }
}

/** By the pools of a node, which stay the same until slices change. */
const usable = new WeakMap<readonly DevicePool[], readonly PoolDevice[]>();

function usableDevices(pools: readonly DevicePool[]): readonly PoolDevice[] {
  let devices = usable.get(pools);
  if (!devices) {
    devices = pools
      .filter(({ isIncomplete, invalid }) => !isIncomplete && invalid === undefined)
      .flatMap((pool) => pool.devices);
    usable.set(pools, devices);
  }
  return devices;
}

/** Unknown effects prevent nothing. */
const PREVENTING = ['NoSchedule', 'NoExecute'];

function isTainted({ device }: PoolDevice, { tolerations }: Alternative): boolean {
  return (device.taints ?? []).some(
    (taint: DeviceTaint) =>
      PREVENTING.includes(taint.effect) &&
      !tolerations.some((toleration) => toleratesTaint(toleration, taint)),
  );
}
