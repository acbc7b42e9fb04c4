/** Shared counters of partitionable devices: a device may only be taken while its pool has the counters that it consumes. */
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { TakenDevices } from './allocated-devices.ts';
import type { DevicePool, PoolDevice } from './device-pools.ts';

/** The counters that are left in one pool, during one search. */
export class PoolCounters {
  readonly #left = new Map<string, Quantity>();

  /** Devices in the pool that are taken already have consumed theirs, on whichever node they are. */
  constructor(pool: DevicePool, taken: TakenDevices) {
    for (const { name, counters } of pool.counterSets)
      for (const [counter, { value }] of Object.entries(counters))
        this.#left.set(`${name}/${counter}`, parseQuantity(String(value)));
    for (const device of pool.allDevices)
      if (device.device.consumesCounters && (taken.has(device.id) || taken.capacity(device.id)))
        this.#shift(device, -1);
  }

  /** False: there are not enough left, and nothing has changed. */
  take(device: PoolDevice): boolean {
    this.#shift(device, -1);
    for (const { counterSet, counters } of device.device.consumesCounters ?? [])
      for (const counter of Object.keys(counters))
        if ((this.#left.get(`${counterSet}/${counter}`)?.sign ?? 0) < 0) {
          this.giveBack(device);
          return false;
        }
    return true;
  }

  giveBack(device: PoolDevice): void {
    this.#shift(device, 1);
  }

  #shift({ device }: PoolDevice, sign: 1 | -1): void {
    for (const { counterSet, counters } of device.consumesCounters ?? [])
      for (const [counter, { value }] of Object.entries(counters)) {
        const key = `${counterSet}/${counter}`;
        const left = this.#left.get(key);
        if (!left) continue;
        const amount = parseQuantity(String(value));
        this.#left.set(key, left.add(sign > 0 ? amount : amount.negate()));
      }
  }
}
