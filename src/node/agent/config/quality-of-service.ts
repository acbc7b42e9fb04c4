/** A pod's quality of service class, and the sum of what it asks for. After upstream's helper/qos and component-helpers/resource. */
import type { Container, PodSpec, ResourceRequirements } from '#api/types.ts';
import { Quantity, tryParseQuantity } from '#machinery/quantity.ts';

export type QOSClass = 'Guaranteed' | 'Burstable' | 'BestEffort';
export type Amounts = Readonly<Record<string, Quantity>>;

const COMPUTE = ['cpu', 'memory'];

export function qosClassOf(spec: PodSpec): QOSClass {
  const ofPod =
    spec.resources &&
    COMPUTE.some((name) => amount(spec.resources?.requests, name) || amount(spec.resources?.limits, name));
  const parts = ofPod
    ? [spec.resources]
    : [...spec.containers, ...(spec.initContainers ?? [])].map(({ resources }) => resources);
  const classes = parts.map(classOf);
  if (classes.every((one) => one === 'BestEffort')) return 'BestEffort';
  return classes.every((one) => one === 'Guaranteed') ? 'Guaranteed' : 'Burstable';
}

function classOf(resources: ResourceRequirements | undefined): QOSClass {
  const amounts = COMPUTE.map((name) => ({
    limit: amount(resources?.limits, name),
    request: amount(resources?.requests, name),
  }));
  if (amounts.every(({ limit, request }) => !limit && !request)) return 'BestEffort';
  return amounts.every(({ limit, request }) => limit && (!request || request.equals(limit)))
    ? 'Guaranteed'
    : 'Burstable';
}

/** undefined for zero, too. */
export function amount(
  list: Readonly<Record<string, string>> | undefined,
  name: string,
): Quantity | undefined {
  const text = list?.[name];
  const quantity = text === undefined ? undefined : tryParseQuantity(text);
  return quantity && !quantity.isZero ? quantity : undefined;
}

/** Running containers and sidecars add up; init containers count by the largest moment before the running ones; overhead comes on top. */
export function podAmounts(spec: PodSpec, kind: 'requests' | 'limits'): Amounts {
  const total: Record<string, Quantity> = {};
  const sidecars: Record<string, Quantity> = {};
  const peak: Record<string, Quantity> = {};
  for (const container of spec.containers) add(total, container, kind);
  for (const container of spec.initContainers ?? []) {
    const moment = { ...sidecars };
    add(moment, container, kind);
    if (container.restartPolicy === 'Always') {
      add(total, container, kind);
      add(sidecars, container, kind);
    }
    raise(peak, moment);
  }
  raise(total, peak);
  for (const [name, text] of Object.entries(spec.resources?.[kind] ?? {}))
    total[name] = tryParseQuantity(text) ?? Quantity.zero;
  if (kind === 'requests')
    for (const [name, text] of Object.entries(spec.overhead ?? {}))
      total[name] = (total[name] ?? Quantity.zero).add(tryParseQuantity(text) ?? Quantity.zero);
  return total;
}

function add(into: Record<string, Quantity>, { resources }: Container, kind: 'requests' | 'limits'): void {
  for (const [name, text] of Object.entries(resources?.[kind] ?? {}))
    into[name] = (into[name] ?? Quantity.zero).add(tryParseQuantity(text) ?? Quantity.zero);
}

function raise(into: Record<string, Quantity>, by: Amounts): void {
  for (const [name, quantity] of Object.entries(by))
    if (!into[name] || quantity.compare(into[name]) > 0) into[name] = quantity;
}
