/** Capacities of devices that several claims share: what a request consumes, rounded by the device's policy. After upstream's consumable capacity. */
import type {
  CapacityRequestPolicy,
  CapacityRequestPolicyRange,
  Device,
  DeviceCapacity,
} from '#api/generated/types/resource-v1.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { ConsumedCapacity } from './allocated-devices.ts';

export type CapacityRequests = Readonly<Record<string, unknown>> | undefined;

/** The amounts that the request takes of each capacity of the device; undefined: the device cannot serve it. */
export function consumptionOf(
  device: Device,
  { requests, driver }: { readonly requests: CapacityRequests; readonly driver: string },
): ReadonlyMap<string, Quantity> | undefined {
  const capacities = device.capacity ?? {};
  const wanted = new Map<string, Quantity>();
  for (const [name, amount] of Object.entries(requests ?? {})) {
    const own = capacityName(name, { capacities, driver });
    if (own === undefined) return undefined;
    wanted.set(own, quantity(amount));
  }
  const consumed = new Map<string, Quantity>();
  for (const [name, capacity] of Object.entries(capacities)) {
    const amount = roundedUp(wanted.get(name), capacity);
    if (violates(amount, capacity.requestPolicy)) return undefined;
    consumed.set(name, amount);
  }
  return consumed;
}

/** Whether the device has that much left. */
export function hasRoom(
  device: Device,
  {
    consumption,
    inUse,
  }: { readonly consumption: ConsumedCapacity; readonly inUse: readonly (ConsumedCapacity | undefined)[] },
): boolean {
  for (const [name, capacity] of Object.entries(device.capacity ?? {})) {
    let sum = consumption.get(name) ?? Quantity.zero;
    for (const amounts of inUse) sum = sum.add(amounts?.get(name) ?? Quantity.zero);
    if (sum.compare(quantity(capacity.value)) > 0) return false;
  }
  return true;
}

/** A name without a domain is in the driver's, on either side. */
function capacityName(
  name: string,
  { capacities, driver }: { readonly capacities: Readonly<Record<string, unknown>>; readonly driver: string },
): string | undefined {
  const prefix = `${driver}/`;
  const spellings = [name, name.startsWith(prefix) ? name.slice(prefix.length) : `${prefix}${name}`];
  return spellings.find((spelling) => Object.hasOwn(capacities, spelling));
}

function roundedUp(wanted: Quantity | undefined, { value, requestPolicy }: DeviceCapacity): Quantity {
  if (!wanted) return quantity(requestPolicy?.default ?? value);
  if (requestPolicy?.validRange?.min !== undefined) return roundedToRange(wanted, requestPolicy.validRange);
  const next = requestPolicy?.validValues?.map(quantity).find((valid) => wanted.compare(valid) <= 0);
  return next ?? wanted;
}

function roundedToRange(wanted: Quantity, { min, step }: CapacityRequestPolicyRange): Quantity {
  const least = quantity(min);
  if (wanted.compare(least) < 0) return least;
  if (step === undefined) return wanted;
  const base = whole(least);
  const size = whole(quantity(step));
  const steps = (whole(wanted) - base + size - 1n) / size;
  return Quantity.of(base + size * steps, quantity(step).format);
}

function violates(amount: Quantity, policy: CapacityRequestPolicy | undefined): boolean {
  if (!policy || (policy.default !== undefined && amount.equals(quantity(policy.default)))) return false;
  if (policy.validRange) return violatesRange(amount, policy.validRange);
  const values = policy.validValues ?? [];
  return values.length > 0 && !values.some((valid) => amount.equals(quantity(valid)));
}

function violatesRange(amount: Quantity, { min, max, step }: CapacityRequestPolicyRange): boolean {
  if (max !== undefined && amount.compare(quantity(max)) > 0) return true;
  return step !== undefined && (whole(amount) - whole(quantity(min))) % whole(quantity(step)) !== 0n;
}

/** Upstream rounds in whole units. */
function whole(amount: Quantity): bigint {
  return amount.scaledValue(0);
}

function quantity(value: unknown): Quantity {
  return parseQuantity(String(value));
}
