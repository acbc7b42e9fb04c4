/** A pod's quality of service class. Pure. After upstream's helper/qos: API server, node and quota must compute the same class. */
import type { Pod, PodSpec, ResourceRequirements } from '#api/types.ts';
import type { Quantity } from '#machinery/quantity.ts';
import { addAmounts, parseResourceList, type ResourceAmounts, type ResourceList } from './pod-resources.ts';

export type QOSClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

const COMPUTE = ['cpu', 'memory'];

/** From the status; computed when the status has none. */
export function podQOS({ spec, status }: Pick<Pod, 'spec' | 'status'>): QOSClass {
  return (status?.qosClass as QOSClass | undefined) || computePodQOS(spec ?? { containers: [] });
}

/** By cpu and memory only. Pod-level resources, if set, are used instead of the containers', even when they include neither. */
export function computePodQOS(spec: PodSpec): QOSClass {
  const parts: readonly (ResourceRequirements | undefined)[] = spec.resources
    ? [spec.resources]
    : [...(spec.containers ?? []), ...(spec.initContainers ?? [])].map(({ resources }) => resources);
  const limits = parts.map((part) => computeAmounts(part?.limits));
  const requested = parts.map((part) => computeAmounts(part?.requests)).reduce(addAmounts, new Map());
  const limited = limits.reduce(addAmounts, new Map());
  if (requested.size === 0 && limited.size === 0) return 'BestEffort';
  const allLimited = limits.every(({ size }) => size === COMPUTE.length);
  return allLimited && COMPUTE.every((name) => isSame(requested.get(name), limited.get(name)))
    ? 'Guaranteed'
    : 'Burstable';
}

/** A zero quantity counts as absent. */
function computeAmounts(list: ResourceList | undefined): ResourceAmounts {
  return new Map(
    [...parseResourceList(list)].filter(([name, { sign }]) => COMPUTE.includes(name) && sign > 0),
  );
}

function isSame(one: Quantity | undefined, other: Quantity | undefined): boolean {
  return one !== undefined && other !== undefined && one.equals(other);
}
