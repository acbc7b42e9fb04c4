/** metrics.k8s.io/v1beta1 as the API server serves it: its resources and columns. Schemas are in #api. */
import type { KubeObject } from '#machinery/object.ts';
import { Quantity } from '#machinery/quantity.ts';

export const METRICS_GROUP = 'metrics.k8s.io';
export const METRICS_VERSION = 'v1beta1';

type Usage = Readonly<Record<string, string>>;

interface Measured extends KubeObject {
  readonly window?: string;
  readonly usage?: Usage;
  readonly containers?: readonly { readonly usage: Usage }[];
}

export const COLUMNS = [
  { name: 'Name', type: 'string', format: 'name', description: 'Name of the resource' },
  { name: 'cpu', type: 'string', format: 'quantity', description: '' },
  { name: 'memory', type: 'string', format: 'quantity', description: '' },
  { name: 'Window', type: 'string', format: 'duration', description: '' },
] as const;

/** Of nodes and of pods: a pod uses what its containers do. */
export function row(object: KubeObject): string[] {
  const { metadata, window = '', usage, containers = [] } = object as Measured;
  const all = usage ? [usage] : containers.map((container) => container.usage);
  return [metadata?.name ?? '', sum(all, 'cpu'), sum(all, 'memory'), window];
}

function sum(all: readonly Usage[], resource: string): string {
  return all
    .map((usage) => Quantity.parse(usage[resource] ?? '0'))
    .reduce((one, other) => one.add(other), Quantity.zero)
    .toString();
}
