/** Resources that a pod requests and a node has, as plain numbers: CPU in millicores, everything else in its base unit. */
import type { Pod } from '#api/types.ts';
import {
  podRequests as requestsOfPod,
  parseResourceList,
  type PodResourcesOptions,
  type ResourceAmounts,
  type ResourceList,
} from '#component-helpers/pod-resources.ts';
import { Quantity } from '#machinery/quantity.ts';

export interface Amounts {
  milliCPU: number;
  memoryBytes: number;
  ephemeralStorageBytes: number;
  /** Extended resources and huge pages by name. The empty map is shared: replace it, do not change it in place. */
  scalars: Map<string, number>;
}

/** Requests that scoring assumes for a container without any (upstream's non-zero requests). */
const ASSUMED_REQUESTS: ResourceAmounts = new Map([
  ['cpu', Quantity.ofMilli(100)],
  ['memory', Quantity.of(200 * 1024 * 1024)],
]);
/** A container that is being resized counts with the larger of its allocated and its desired requests. */
const AS_HELD: PodResourcesOptions = { useStatusResources: true };

const NO_SCALARS: Map<string, number> = new Map();

export function emptyAmounts(): Amounts {
  return { milliCPU: 0, memoryBytes: 0, ephemeralStorageBytes: 0, scalars: NO_SCALARS };
}

export function resourceAmounts(list: ResourceList | undefined): Amounts {
  return inNumbers(parseResourceList(list));
}

function inNumbers(parsed: ResourceAmounts): Amounts {
  const amounts = emptyAmounts();
  for (const [name, quantity] of parsed) {
    if (name === 'cpu') amounts.milliCPU = quantity.milliValue();
    else if (name === 'memory') amounts.memoryBytes = quantity.value();
    else if (name === 'ephemeral-storage') amounts.ephemeralStorageBytes = quantity.value();
    else if (name !== 'pods') addScalar(amounts, name, quantity.value());
  }
  return amounts;
}

/** Equal for equal amounts. */
export function amountsSignature({ milliCPU, memoryBytes, ephemeralStorageBytes, scalars }: Amounts): object {
  return [milliCPU, memoryBytes, ephemeralStorageBytes, ...scalars];
}

/** target += sign × other, in place. */
export function addAmounts(target: Amounts, other: Amounts, sign: 1 | -1 = 1): void {
  target.milliCPU += sign * other.milliCPU;
  target.memoryBytes += sign * other.memoryBytes;
  target.ephemeralStorageBytes += sign * other.ephemeralStorageBytes;
  if (other.scalars.size === 0) return;
  for (const [name, value] of other.scalars) addScalar(target, name, sign * value);
}

function addScalar(target: Amounts, name: string, value: number): void {
  if (target.scalars === NO_SCALARS) target.scalars = new Map();
  target.scalars.set(name, (target.scalars.get(name) ?? 0) + value);
}

export function podRequests(pod: Pod): Amounts {
  return inNumbers(requestsOfPod(pod, AS_HELD));
}

/** The same with the non-zero requests of scoring. */
export function podScoringRequests(pod: Pod): Amounts {
  const nonMissingContainerRequests = assumedRequests(pod);
  return inNumbers(requestsOfPod(pod, { ...AS_HELD, nonMissingContainerRequests }));
}

/** Adds pod-level requests for resources that no container requests. */
function assumedRequests(pod: Pod): ResourceAmounts {
  if (!pod.spec?.resources?.requests) return ASSUMED_REQUESTS;
  const stated = requestsOfPod(pod, AS_HELD);
  return new Map([...ASSUMED_REQUESTS].filter(([name]) => !stated.has(name)));
}
