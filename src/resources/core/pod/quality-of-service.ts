/** The quality of service class of a pod and the sum of its containers' requests. After upstream's helper/qos and component-helpers/resource. */
import { Quantity } from '#machinery/quantity.ts';
import type { Container, PodSpec, ResourceRequirements } from '#api/types.ts';
import { compareQuantities, isZeroQuantity, quantityOf } from '../../resource-list.ts';

export type QOSClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

export function qosClassOf(spec: PodSpec): QOSClass {
  // The whole pod's count alone, even where they name nothing.
  const parts: (ResourceRequirements | undefined)[] = spec.resources
    ? [spec.resources]
    : [...(spec.containers ?? []), ...(spec.initContainers ?? [])].map((container) => container.resources);
  let any = false,
    guaranteed = true;
  for (const resources of parts) {
    const ofPart = classOf(resources);
    if (ofPart !== 'BestEffort') any = true;
    if (ofPart !== 'Guaranteed') guaranteed = false;
  }
  return !any ? 'BestEffort' : guaranteed ? 'Guaranteed' : 'Burstable';
}

function classOf(resources: ResourceRequirements | undefined): QOSClass {
  let any = false,
    guaranteed = true;
  for (const name of ['cpu', 'memory']) {
    const limit = positive(resources?.limits?.[name]),
      request = positive(resources?.requests?.[name]);
    if (limit !== undefined || request !== undefined) any = true;
    if (limit === undefined || request === undefined || compareQuantities(limit, request) !== 0)
      guaranteed = false;
  }
  return !any ? 'BestEffort' : guaranteed ? 'Guaranteed' : 'Burstable';
}

function positive(amount: string | undefined): string | undefined {
  return amount === undefined || isZeroQuantity(amount) ? undefined : amount;
}

/** Running containers and sidecars add up; init containers count by the largest moment before the running ones. */
export function aggregateRequests(spec: PodSpec): Record<string, Quantity> {
  return aggregate(spec, 'requests');
}

export function aggregateLimits(spec: PodSpec): Record<string, Quantity> {
  return aggregate(spec, 'limits');
}

function aggregate(spec: PodSpec, field: 'requests' | 'limits'): Record<string, Quantity> {
  const total = emptyAmounts();
  const sidecars = emptyAmounts();
  const peak = emptyAmounts();
  for (const container of spec.containers ?? []) addAmounts(total, container, field);
  for (const container of spec.initContainers ?? []) {
    if (container.restartPolicy === 'Always') {
      addAmounts(total, container, field);
      addAmounts(sidecars, container, field);
      raise(peak, sidecars);
      continue;
    }
    const moment = Object.assign(emptyAmounts(), sidecars);
    addAmounts(moment, container, field);
    raise(peak, moment);
  }
  raise(total, peak);
  return total;
}

/** Without a prototype: names are the clients'. */
function emptyAmounts(): Record<string, Quantity> {
  return Object.create(null) as Record<string, Quantity>;
}

function addAmounts(
  into: Record<string, Quantity>,
  container: Container,
  field: 'requests' | 'limits',
): void {
  for (const [name, amount] of Object.entries(container.resources?.[field] ?? {}))
    into[name] = (into[name] ?? Quantity.zero).add(quantityOf(amount));
}

function raise(into: Record<string, Quantity>, by: Record<string, Quantity>): void {
  for (const [name, amount] of Object.entries(by))
    if (!into[name] || amount.compare(into[name]) > 0) into[name] = amount;
}
