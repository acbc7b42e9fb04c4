/**
 * The total requests and limits of a pod: containers and sidecars together, init containers one by one, pod-level resources, overhead,
 * and resources held by a resize in progress. Pure. After upstream's component-helpers/resource, whose sums are part of the API.
 */
import type { Container, ContainerStatus, Pod, Quantity as QuantityText } from '#api/types.ts';
import { parseQuantity, type Quantity } from '#machinery/quantity.ts';
import { isSidecar } from './containers.ts';

export type ResourceAmounts = ReadonlyMap<string, Quantity>;
export type ResourceList = Readonly<Record<string, QuantityText | number>>;
type Kind = 'requests' | 'limits';
/** Also a pod that is not created yet: only the fields that are read. */
type PodWithResources = Pick<Pod, 'spec' | 'status'>;

export interface PodResourcesOptions {
  /** Without the pod's overhead. */
  readonly excludeOverhead?: boolean;
  /** Includes the status: during a resize a container counts with the larger of its allocated and its desired resources. */
  readonly useStatusResources?: boolean;
  /** Requests assumed for containers that have none of the resource. */
  readonly nonMissingContainerRequests?: ResourceAmounts;
}

const NOTHING: ResourceAmounts = new Map();

export function parseResourceList(list: ResourceList | undefined): ResourceAmounts {
  if (!list) return NOTHING;
  return new Map(Object.entries(list).map(([name, text]) => [name, parseQuantity(String(text))]));
}

export function addAmounts(left: ResourceAmounts, right: ResourceAmounts): ResourceAmounts {
  if (left.size === 0) return right;
  const sum = new Map(left);
  for (const [name, amount] of right) sum.set(name, sum.get(name)?.add(amount) ?? amount);
  return sum;
}

export function maxAmounts(left: ResourceAmounts, right: ResourceAmounts): ResourceAmounts {
  if (left.size === 0) return right;
  const greatest = new Map(left);
  for (const [name, amount] of right) {
    const known = greatest.get(name);
    if (!known || known.compare(amount) < 0) greatest.set(name, amount);
  }
  return greatest;
}

/** Whether two lists have the same quantities, in any notation. */
export function sameResourceList(left: ResourceList | undefined, right: ResourceList | undefined): boolean {
  const one = parseResourceList(left);
  const other = parseResourceList(right);
  return one.size === other.size && [...one].every(([name, amount]) => other.get(name)?.equals(amount));
}

/** Resources that may be set at pod level; all others are summed from the containers. */
function isPodLevelResource(name: string): boolean {
  return name === 'cpu' || name === 'memory' || name.startsWith('hugepages-');
}

export function podRequests(pod: PodWithResources, options: PodResourcesOptions = {}): ResourceAmounts {
  const total = override(
    aggregateContainers(pod, 'requests', options),
    podLevelAmounts(pod, 'requests', options),
  );
  return options.excludeOverhead ? total : addAmounts(total, parseResourceList(pod.spec?.overhead));
}

/** Overhead is only added to limits that exist. */
export function podLimits(pod: PodWithResources, options: PodResourcesOptions = {}): ResourceAmounts {
  const total = override(
    aggregateContainers(pod, 'limits', options),
    podLevelAmounts(pod, 'limits', options),
  );
  if (options.excludeOverhead || !pod.spec?.overhead) return total;
  const overhead = [...parseResourceList(pod.spec.overhead)];
  return addAmounts(total, new Map(overhead.filter(([name]) => total.get(name)?.isZero === false)));
}

/** The containers' share: no pod-level resources, no overhead. */
export function aggregateContainers(
  pod: PodWithResources,
  kind: Kind,
  options: PodResourcesOptions = {},
): ResourceAmounts {
  const resourceAmounts = (container: Container): ResourceAmounts =>
    containerAmounts(pod, container, { kind, ...options });
  let total = NOTHING;
  for (const container of pod.spec?.containers ?? []) total = addAmounts(total, resourceAmounts(container));
  let sidecars = NOTHING;
  let peak = NOTHING;
  for (const container of pod.spec?.initContainers ?? []) {
    // An init container runs beside the sidecars that were started before it.
    const moment = addAmounts(sidecars, resourceAmounts(container));
    if (isSidecar(container)) {
      total = addAmounts(total, resourceAmounts(container));
      sidecars = moment;
    }
    peak = maxAmounts(peak, moment);
  }
  return maxAmounts(total, peak);
}

interface ContainerOptions extends PodResourcesOptions {
  readonly kind: Kind;
}

function containerAmounts(
  pod: PodWithResources,
  container: Container,
  { kind, useStatusResources, nonMissingContainerRequests }: ContainerOptions,
): ResourceAmounts {
  const wanted = parseResourceList(container.resources?.[kind]);
  const status = useStatusResources ? statusOf(pod, container.name) : undefined;
  const amounts = status ? heldAmounts(pod, { wanted, kind, status }) : wanted;
  if (!nonMissingContainerRequests) return amounts;
  return new Map([...nonMissingContainerRequests, ...amounts]);
}

function statusOf({ status }: PodWithResources, name: string): ContainerStatus | undefined {
  return (
    status?.containerStatuses?.find((one) => one.name === name) ??
    status?.initContainerStatuses?.find((one) => one.name === name)
  );
}

/** The maximum of desired, actual and allocated; without the desired resources when the resize is infeasible. */
function heldAmounts(
  pod: PodWithResources,
  {
    wanted,
    kind,
    status,
  }: { readonly wanted: ResourceAmounts; readonly kind: Kind; readonly status: ContainerStatus },
): ResourceAmounts {
  const { resources, allocatedResources } = status;
  if (!resources && (kind === 'limits' || !allocatedResources)) return wanted;
  const held = maxAmounts(
    parseResourceList(resources?.[kind]),
    kind === 'requests' ? parseResourceList(allocatedResources) : NOTHING,
  );
  return isResizeInfeasible(pod) ? held : maxAmounts(wanted, held);
}

function isResizeInfeasible({ status }: PodWithResources): boolean {
  return status?.conditions?.find(({ type }) => type === 'PodResizePending')?.reason === 'Infeasible';
}

function podLevelAmounts(
  pod: PodWithResources,
  kind: Kind,
  { useStatusResources }: PodResourcesOptions,
): ResourceAmounts {
  const wanted = parseResourceList(pod.spec?.resources?.[kind]);
  const { resources, allocatedResources } = pod.status ?? {};
  if (!useStatusResources || wanted.size === 0 || !(resources || allocatedResources)) return wanted;
  const overhead = kind === 'requests' ? parseResourceList(pod.spec?.overhead) : NOTHING;
  const held = maxAmounts(
    // The status at pod level includes the overhead already.
    subtractAmounts(parseResourceList(resources?.[kind]), overhead),
    kind === 'requests' ? subtractAmounts(parseResourceList(allocatedResources), overhead) : NOTHING,
  );
  return isResizeInfeasible(pod) ? held : maxAmounts(wanted, held);
}

function subtractAmounts(left: ResourceAmounts, right: ResourceAmounts): ResourceAmounts {
  if (right.size === 0) return left;
  return new Map(
    [...left].map(([name, amount]) => [name, right.has(name) ? amount.sub(right.get(name)!) : amount]),
  );
}

function override(total: ResourceAmounts, podLevel: ResourceAmounts): ResourceAmounts {
  if (podLevel.size === 0) return total;
  return new Map([...total, ...[...podLevel].filter(([name]) => isPodLevelResource(name))]);
}
