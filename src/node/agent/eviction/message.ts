/** What an eviction says, in the pod's status and in its event. Pure; upstream's words. */
import type { Pod } from '#api/types.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { Candidate, PodUse } from './rank.ts';
import {
  starvedResource,
  thresholdAmount,
  type Observations,
  type StarvedResource,
  type Threshold,
} from './thresholds.ts';

export const EVICTED = 'Evicted';

interface EvictionCause {
  readonly resource: StarvedResource;
  /** Those that are acted on. */
  readonly due: readonly Threshold[];
  readonly observations: Observations;
}

interface EvictionText {
  readonly message: string;
  /** Of the event. */
  readonly annotations: Readonly<Record<string, string>>;
}

interface Offender {
  readonly name: string;
  readonly usage: string;
  readonly text: string;
}

export function evictionText(
  { pod, use }: Candidate,
  { resource, due, observations }: EvictionCause,
): EvictionText {
  const low = `The node was low on resource: ${resource}. ${thresholdText({ resource, due, observations })}`;
  if (!use) return { message: low, annotations: {} };
  const whole = resource === 'memory' ? podOffender(pod, use) : undefined;
  const containers = offenders(pod, { use, resource });
  return {
    message: [low, whole?.text ?? '', ...containers.map(({ text }) => text)].join(''),
    annotations: {
      ...(whole ? { offending_pod: whole.name, offending_pod_usage: whole.usage } : {}),
      offending_containers: containers.map(({ name }) => name).join(),
      offending_containers_usage: containers.map(({ usage }) => usage).join(),
      starved_resource: resource,
    },
  };
}

function thresholdText({ resource, due, observations }: EvictionCause): string {
  const threshold = due.find(({ signal }) => starvedResource(signal) === resource);
  const observed = threshold && observations.get(threshold.signal);
  if (!observed) return '';
  const available = Quantity.of(
    Math.floor(observed.available),
    resource === 'inodes' || resource === 'pids' ? 'DecimalSI' : 'BinarySI',
  );
  const quantity = thresholdAmount(threshold.value, observed.capacity);
  return `Threshold quantity: ${quantity.toString()}, available: ${available.toString()}. `;
}

/** A pod with a request of its own. */
function podOffender({ metadata, spec }: Pod, { memoryBytes }: PodUse): Offender | undefined {
  const request = spec?.resources?.requests?.['memory'];
  if (request === undefined) return undefined;
  return describe(`Pod ${metadata?.name}`, {
    name: metadata?.name ?? '',
    usage: bytes(memoryBytes),
    request,
    resource: 'memory',
  });
}

function offenders(
  { spec }: Pod,
  { use, resource }: { readonly use: PodUse; readonly resource: StarvedResource },
): Offender[] {
  const all = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  return use.containers.flatMap(({ name, memoryBytes, rootfs, logs }) => {
    const container = all.find((one) => one.name === name);
    const used =
      resource === 'memory'
        ? memoryBytes
        : resource === 'ephemeral-storage' && rootfs && logs
          ? rootfs.bytes + logs.bytes
          : undefined;
    if (!container || used === undefined) return [];
    const request = container.resources?.requests?.[resource] ?? '0';
    if (bytes(used).compare(parseQuantity(request)) <= 0) return [];
    return [describe(`Container ${name}`, { name, usage: bytes(used), request, resource })];
  });
}

function describe(
  who: string,
  {
    name,
    usage,
    request,
    resource,
  }: {
    readonly name: string;
    readonly usage: Quantity;
    readonly request: string;
    readonly resource: StarvedResource;
  },
): Offender {
  const text = `${who} was using ${usage.toString()}, request is ${parseQuantity(request).toString()}, has larger consumption of ${resource}. `;
  return { name, usage: usage.toString(), text };
}

function bytes(amount: number): Quantity {
  return Quantity.of(Math.floor(amount), 'BinarySI');
}
