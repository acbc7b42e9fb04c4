/** LimitRanger: defaults and bounds of a namespace's LimitRanges for the resources of containers, pods and claims. */
import type {
  Container,
  LimitRange,
  LimitRangeItem,
  PersistentVolumeClaim,
  Pod,
  PodSpec,
  ResourceRequirements,
} from '#api/types.ts';
import { parseQuantity } from '#machinery/quantity.ts';
import {
  parseResourceList,
  podLimits,
  podRequests,
  type ResourceAmounts,
} from '#component-helpers/pod-resources.ts';
import { aggregate, forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const ANNOTATION = 'kubernetes.io/limit-ranger';

export const limitRanger: AdmissionPlugin = {
  name: 'LimitRanger',
  // A pod's resources are checked once: later changes of them go through pods/resize.
  handles: (operation, target) =>
    (operation === 'CREATE' && isTarget(target, '', 'pods')) ||
    (operation === 'UPDATE' && isTarget(target, '', 'pods', 'resize')) ||
    ((operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, '', 'persistentvolumeclaims')),
  admit(attributes) {
    if (attributes.gvr.resource !== 'pods' || attributes.operation !== 'CREATE') return;
    for (const range of rangesOf(attributes)) setDefaults(attributes.object as Pod, range);
  },
  validate(attributes) {
    const check = attributes.gvr.resource === 'pods' ? podErrors : claimErrors;
    // Deleting or finalizing an object that violates a later limit must stay possible.
    if (attributes.operation === 'UPDATE' && attributes.object?.metadata?.deletionTimestamp !== undefined)
      return;
    for (const range of rangesOf(attributes)) {
      const errors = (range.spec?.limits ?? []).flatMap((limit) => check(attributes, limit));
      if (errors.length > 0) throw forbid(attributes, aggregate(errors));
    }
  },
};

function rangesOf({ internal, namespace }: AdmissionAttributes): LimitRange[] {
  return internal.list({ group: '', resource: 'limitranges' }, { namespace }) as LimitRange[];
}

function setDefaults(pod: Pod, range: LimitRange): void {
  const defaults = mergedDefaults(range);
  const notes = [
    ...(pod.spec?.containers ?? []).flatMap((container) =>
      defaultContainer(container, { defaults, kind: 'container' }),
    ),
    ...(pod.spec?.initContainers ?? []).flatMap((container) =>
      defaultContainer(container, { defaults, kind: 'init container' }),
    ),
  ];
  if (notes.length === 0) return;
  const meta = (pod.metadata ??= {});
  meta.annotations = { ...meta.annotations, [ANNOTATION]: `LimitRanger plugin set: ${notes.join('; ')}` };
}

function mergedDefaults(range: LimitRange): ResourceRequirements {
  const containers = (range.spec?.limits ?? []).filter((limit) => limit.type === 'Container');
  return {
    requests: Object.assign({}, ...containers.map((limit) => limit.defaultRequest ?? {})) as Record<
      string,
      string
    >,
    limits: Object.assign({}, ...containers.map((limit) => limit.default ?? {})) as Record<string, string>,
  };
}

function defaultContainer(
  container: Container,
  { defaults, kind }: { readonly defaults: ResourceRequirements; readonly kind: string },
): string[] {
  const resources = (container.resources ??= {});
  return (['requests', 'limits'] as const).flatMap((list) => {
    const missing = Object.entries(defaults[list] ?? {}).filter(
      ([name]) => resources[list]?.[name] === undefined,
    );
    if (missing.length === 0) return [];
    resources[list] = { ...resources[list], ...Object.fromEntries(missing) };
    return [
      `${missing
        .map(([name]) => name)
        .toSorted()
        .join(', ')} ${list === 'requests' ? 'request' : 'limit'} for ${kind} ${container.name}`,
    ];
  });
}

interface Usage {
  readonly type: string;
  readonly requests: ResourceAmounts;
  readonly limits: ResourceAmounts;
}

function podErrors({ object }: AdmissionAttributes, limit: LimitRangeItem): string[] {
  const spec: PodSpec | undefined = (object as Pod).spec;
  if (!spec) return [];
  if (limit.type === 'Container') {
    return [...(spec.containers ?? []), ...(spec.initContainers ?? [])].flatMap((container) =>
      usageErrors(
        {
          type: 'Container',
          requests: parseResourceList(container.resources?.requests),
          limits: parseResourceList(container.resources?.limits),
        },
        limit,
      ),
    );
  }
  if (limit.type !== 'Pod') return [];
  return usageErrors(
    {
      type: 'Pod',
      requests: podRequests({ spec }, { excludeOverhead: true }),
      limits: podLimits({ spec }, { excludeOverhead: true }),
    },
    limit,
  );
}

function usageErrors(usage: Usage, limit: LimitRangeItem): string[] {
  return [
    ...Object.entries(limit.min ?? {}).flatMap(([name, bound]) => minimumError(usage, name, bound)),
    ...Object.entries(limit.max ?? {}).flatMap(([name, bound]) => maximumError(usage, name, bound)),
    ...Object.entries(limit.maxLimitRequestRatio ?? {}).flatMap(([name, bound]) =>
      ratioError(usage, name, bound),
    ),
  ];
}

function minimumError({ type, requests, limits }: Usage, name: string, boundText: string): string[] {
  const bound = parseQuantity(boundText);
  const request = requests.get(name);
  const limit = limits.get(name);
  const start = `minimum ${name} usage per ${type} is ${bound.toString()}`;
  if (!request) return [`${start}.  No request is specified`];
  if (request.compare(bound) < 0) return [`${start}, but request is ${request.toString()}`];
  return limit && limit.compare(bound) < 0 ? [`${start}, but limit is ${limit.toString()}`] : [];
}

function maximumError({ type, requests, limits }: Usage, name: string, boundText: string): string[] {
  const bound = parseQuantity(boundText);
  const request = requests.get(name);
  const limit = limits.get(name);
  const start = `maximum ${name} usage per ${type} is ${bound.toString()}`;
  if (!limit) return [`${start}.  No limit is specified`];
  if (limit.compare(bound) > 0) return [`${start}, but limit is ${limit.toString()}`];
  return request && request.compare(bound) > 0 ? [`${start}, but request is ${request.toString()}`] : [];
}

function ratioError({ type, requests, limits }: Usage, name: string, boundText: string): string[] {
  const bound = parseQuantity(boundText);
  const request = requests.get(name);
  const limit = limits.get(name);
  const start = `${name} max limit to request ratio per ${type} is ${bound.toString()}`;
  if (!request || request.isZero) return [`${start}, but no request is specified or request is 0`];
  if (!limit || limit.isZero) return [`${start}, but no limit is specified or limit is 0`];
  const ratio = Number(limit.scaledValue(-3)) / Number(request.scaledValue(-3));
  return ratio > bound.milliValue() / 1000 ? [`${start}, but provided ratio is ${ratio.toFixed(6)}`] : [];
}

function claimErrors({ object }: AdmissionAttributes, limit: LimitRangeItem): string[] {
  if (limit.type !== 'PersistentVolumeClaim') return [];
  const requests = parseResourceList((object as PersistentVolumeClaim).spec?.resources?.requests);
  const type = 'PersistentVolumeClaim';
  const minimums = Object.entries(limit.min ?? {}).flatMap(([name, bound]) =>
    minimumError({ type, requests, limits: new Map() }, name, bound),
  );
  const maximums = Object.entries(limit.max ?? {}).flatMap(([name, boundText]) => {
    const bound = parseQuantity(boundText);
    const request = requests.get(name);
    const start = `maximum ${name} usage per ${type} is ${bound.toString()}`;
    if (!request) return [`${start}.  No request is specified`];
    return request.compare(bound) > 0 ? [`${start}, but request is ${request.toString()}`] : [];
  });
  return [...minimums, ...maximums];
}
