/** Amounts a pod asks for and a node has, as plain numbers: CPU in thousandths, everything else in its base unit. */
import type { Container, Pod, PodSpec } from '#api/types.ts';
import { parseQuantity, type Quantity } from '#machinery/quantity.ts';
import { Lru } from '#stdx/lru.ts';

export interface Amounts {
  milliCPU: number;
  memoryBytes: number;
  ephemeralStorageBytes: number;
  /** Extended resources and huge pages by name. Shared when empty: replace, never change in place unless own. */
  scalars: Map<string, number>;
}

type ResourceList = Readonly<Record<string, string | number>>;

/** What LeastAllocated scoring assumes for a container that requests nothing. */
const DEFAULT_MILLI_CPU = 100;
const DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024;

export function emptyAmounts(): Amounts {
  return { milliCPU: 0, memoryBytes: 0, ephemeralStorageBytes: 0, scalars: new Map() };
}

export function amountsOf(list: ResourceList | undefined): Amounts {
  const amounts = emptyAmounts();
  for (const name in list) {
    const text = String(list[name]);
    if (name === 'cpu') amounts.milliCPU = parsed(text).milliValue();
    else if (name === 'memory') amounts.memoryBytes = parsed(text).value();
    else if (name === 'ephemeral-storage') amounts.ephemeralStorageBytes = parsed(text).value();
    else if (name !== 'pods') amounts.scalars.set(name, parsed(text).value());
  }
  return amounts;
}

/** Most pods of a cluster ask for the same few amounts. */
const PARSED_MAXIMUM = 4_096;
const parsedQuantities = new Lru<string, Quantity>({ maximum: PARSED_MAXIMUM });

function parsed(text: string): Quantity {
  let quantity = parsedQuantities.get(text);
  if (!quantity) {
    quantity = parseQuantity(text);
    parsedQuantities.set(text, quantity);
  }
  return quantity;
}

/** target += sign × other, in place. */
export function addAmounts(target: Amounts, other: Amounts, sign: 1 | -1 = 1): void {
  target.milliCPU += sign * other.milliCPU;
  target.memoryBytes += sign * other.memoryBytes;
  target.ephemeralStorageBytes += sign * other.ephemeralStorageBytes;
  for (const [name, value] of other.scalars)
    target.scalars.set(name, (target.scalars.get(name) ?? 0) + sign * value);
}

function raiseTo(target: Amounts, other: Amounts): void {
  target.milliCPU = Math.max(target.milliCPU, other.milliCPU);
  target.memoryBytes = Math.max(target.memoryBytes, other.memoryBytes);
  target.ephemeralStorageBytes = Math.max(target.ephemeralStorageBytes, other.ephemeralStorageBytes);
  for (const [name, value] of other.scalars)
    target.scalars.set(name, Math.max(target.scalars.get(name) ?? 0, value));
}

/** A pod's request: containers and sidecars together, or the largest step of the init sequence, plus overhead; pod-level requests override. */
export function podRequests(pod: Pod): Amounts {
  return requestsOf(pod.spec, (container) => containerRequests(pod, container));
}

/** While a container is being resized it holds the larger of what it has and what it shall have; what its node can never give is not counted. */
function containerRequests({ status }: Pod, container: Container): Amounts {
  const wanted = amountsOf(container.resources?.requests);
  const current = [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])].find(
    (one) => one.name === container.name,
  );
  if (!current?.resources?.requests && !current?.allocatedResources) return wanted;
  const infeasible = status?.conditions?.some(
    ({ type, status: value, reason }) =>
      type === 'PodResizePending' && value === 'True' && reason === 'Infeasible',
  );
  const held = infeasible ? emptyAmounts() : wanted;
  raiseTo(held, amountsOf(current.resources?.requests));
  raiseTo(held, amountsOf(current.allocatedResources));
  return held;
}

/** The same with what scoring assumes for containers that ask for no CPU or memory. */
export function podScoringRequests(pod: Pod): Amounts {
  return requestsOf(pod.spec, (container) => {
    const requests = container.resources?.requests;
    const amounts = amountsOf(requests);
    if (requests?.['cpu'] === undefined) amounts.milliCPU = DEFAULT_MILLI_CPU;
    if (requests?.['memory'] === undefined) amounts.memoryBytes = DEFAULT_MEMORY_BYTES;
    return amounts;
  });
}

function requestsOf(spec: PodSpec | undefined, of: (container: Container) => Amounts): Amounts {
  const total = emptyAmounts();
  for (const container of spec?.containers ?? []) addAmounts(total, of(container));
  const sidecars = emptyAmounts();
  const initPeak = emptyAmounts();
  for (const container of spec?.initContainers ?? []) {
    const step = of(container);
    if (container.restartPolicy === 'Always') {
      addAmounts(total, step);
      addAmounts(sidecars, step);
      raiseTo(initPeak, sidecars);
    } else {
      addAmounts(step, sidecars);
      raiseTo(initPeak, step);
    }
  }
  raiseTo(total, initPeak);
  overrideByPodLevel(total, spec);
  if (spec?.overhead) addAmounts(total, amountsOf(spec.overhead));
  return total;
}

function overrideByPodLevel(total: Amounts, spec: PodSpec | undefined): void {
  const podLevel = spec?.resources?.requests;
  if (!podLevel) return;
  const amounts = amountsOf(podLevel);
  if (podLevel['cpu'] !== undefined) total.milliCPU = amounts.milliCPU;
  if (podLevel['memory'] !== undefined) total.memoryBytes = amounts.memoryBytes;
  for (const [name, value] of amounts.scalars) total.scalars.set(name, value);
}
