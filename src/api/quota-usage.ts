/** What one object counts for in a ResourceQuota, and whether a quota's scopes speak of it. Pure; after upstream's quota evaluators (pkg/quota/v1/evaluator/core). */
import type { Container, PersistentVolumeClaim, Pod, PodSpec, ResourceQuota, Service } from './types.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import { groupResourceString, type KubeObject } from '#machinery/object.ts';
import { addAmounts, amountsOf, maxAmounts, podAmounts, type Amounts } from './pod-resources.ts';

export interface QuotaTarget {
  readonly group: string;
  readonly resource: string;
}

/** 'gpu.example.com.deviceclass.resource.k8s.io/devices': devices that claims ask of a class. */
export const DEVICES_SUFFIX = '.deviceclass.resource.k8s.io/devices';

const ONE = Quantity.of(1);
const COMPUTE: ReadonlySet<string> = new Set(['cpu', 'memory', 'ephemeral-storage']);
/** Resources whose plain name is a quota name too, from before 'count/…'. */
const PLAIN_COUNTS: ReadonlySet<string> = new Set([
  'configmaps',
  'secrets',
  'replicationcontrollers',
  'resourcequotas',
  'services',
  'persistentvolumeclaims',
]);

export function usageOf(object: KubeObject, target: QuotaTarget): Amounts {
  const usage = new Map([[`count/${groupResourceString(target.resource, target.group)}`, ONE]]);
  if (target.group === 'resource.k8s.io' && target.resource === 'resourceclaims')
    return addAmounts(usage, deviceUsage(object));
  if (target.group !== '') return usage;
  if (PLAIN_COUNTS.has(target.resource)) usage.set(target.resource, ONE);
  switch (target.resource) {
    case 'pods':
      return addAmounts(usage, podUsage(object as Pod));
    case 'services':
      return addAmounts(usage, serviceUsage(object as Service));
    case 'persistentvolumeclaims':
      return addAmounts(usage, claimUsage(object as PersistentVolumeClaim));
    default:
      return usage;
  }
}

/** A pod that has finished uses nothing but its own existence. */
function podUsage({ spec, status }: Pod): Amounts {
  if (!spec || status?.phase === 'Succeeded' || status?.phase === 'Failed') return new Map();
  const usage = new Map<string, Quantity>([['pods', ONE]]);
  for (const [name, amount] of podAmounts(spec, 'requests')) {
    if (COMPUTE.has(name)) usage.set(name, amount);
    if (COMPUTE.has(name) || isExtended(name) || name.startsWith('hugepages-'))
      usage.set(`requests.${name}`, amount);
    if (name.startsWith('hugepages-')) usage.set(name, amount);
  }
  for (const [name, amount] of podAmounts(spec, 'limits'))
    if (COMPUTE.has(name)) usage.set(`limits.${name}`, amount);
  return usage;
}

function isExtended(name: string): boolean {
  return name.includes('/') && !/(^|\.)kubernetes\.io\//.test(name);
}

function serviceUsage({ spec }: Service): Amounts {
  const ports = spec?.ports ?? [];
  if (spec?.type === 'NodePort') return new Map([['services.nodeports', Quantity.of(ports.length)]]);
  if (spec?.type !== 'LoadBalancer') return new Map();
  const count =
    spec.allocateLoadBalancerNodePorts === false
      ? ports.filter((port) => port.nodePort).length
      : ports.length;
  return new Map([
    ['services.nodeports', Quantity.of(count)],
    ['services.loadbalancers', ONE],
  ]);
}

function claimUsage({ spec, metadata }: PersistentVolumeClaim): Amounts {
  const usage = new Map<string, Quantity>();
  const storageClass =
    metadata?.annotations?.['volume.beta.kubernetes.io/storage-class'] ?? spec?.storageClassName ?? '';
  const prefix = `${storageClass}.storageclass.storage.k8s.io/`;
  if (storageClass !== '') usage.set(`${prefix}persistentvolumeclaims`, ONE);
  const storage = spec?.resources?.requests?.['storage'];
  if (storage === undefined) return usage;
  usage.set('requests.storage', parseQuantity(storage));
  if (storageClass !== '') usage.set(`${prefix}requests.storage`, parseQuantity(storage));
  return usage;
}

/** What 'all devices' is counted as: more are never allocated to one claim. */
const MOST_DEVICES = 32;

interface DeviceDemand {
  readonly deviceClassName?: string;
  readonly allocationMode?: string;
  readonly count?: number;
}
interface DeviceDemands {
  readonly exactly?: DeviceDemand;
  readonly firstAvailable?: readonly DeviceDemand[];
}

/** Of alternatives, each class counts with the largest. */
function deviceUsage(claim: KubeObject): Amounts {
  const amountsOfOne = ({ deviceClassName = '', allocationMode, count = 1 }: DeviceDemand): Amounts =>
    deviceClassName === ''
      ? new Map()
      : new Map([
          [
            `${deviceClassName}${DEVICES_SUFFIX}`,
            Quantity.of(allocationMode === 'All' ? MOST_DEVICES : count),
          ],
        ]);
  const requests =
    (claim['spec'] as { readonly devices?: { readonly requests?: readonly DeviceDemands[] } } | undefined)
      ?.devices?.requests ?? [];
  return requests
    .map(({ exactly, firstAvailable = [] }) =>
      exactly ? amountsOfOne(exactly) : firstAvailable.map(amountsOfOne).reduce(maxAmounts, new Map()),
    )
    .reduce(addAmounts, new Map());
}

/** Resources of the quota that every container of a pod must state, and by which containers they are not: 'limits.cpu for: a,b'. */
export function unstatedResources(
  object: KubeObject,
  { target, hard }: { readonly target: QuotaTarget; readonly hard: readonly string[] },
): string[] {
  if (target.group !== '' || target.resource !== 'pods') return [];
  const spec = (object as Pod).spec;
  if (!spec) return [];
  const wanted = hard
    .filter((name) =>
      ['cpu', 'memory', 'requests.cpu', 'requests.memory', 'limits.cpu', 'limits.memory'].includes(name),
    )
    .toSorted();
  return wanted.flatMap((name) => {
    const [list, resource] = name.includes('.')
      ? (name.split('.') as ['requests' | 'limits', string])
      : (['requests', name] as ['requests', string]);
    if (spec.resources?.[list]?.[resource] !== undefined) return [];
    const missing = [...(spec.containers ?? []), ...(spec.initContainers ?? [])].filter(
      (container: Container) => container.resources?.[list]?.[resource] === undefined,
    );
    return missing.length > 0
      ? [
          `${name} for: ${missing
            .map((container) => container.name)
            .toSorted()
            .join(',')}`,
        ]
      : [];
  });
}

interface ScopeRequirement {
  readonly scopeName: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

/** All scopes must hold. A quota with scopes only speaks of pods (and, by VolumeAttributesClass, of claims). */
export function inScope(
  object: KubeObject,
  { target, quota }: { readonly target: QuotaTarget; readonly quota: ResourceQuota },
): boolean {
  const requirements: ScopeRequirement[] = [
    ...(quota.spec?.scopes ?? []).map((scopeName) => ({ scopeName, operator: 'Exists' })),
    ...((quota.spec?.scopeSelector?.matchExpressions ?? []) as ScopeRequirement[]),
  ];
  if (requirements.length === 0) return true;
  if (target.group !== '') return false;
  if (target.resource === 'persistentvolumeclaims')
    return requirements.every((requirement) => claimInScope(object as PersistentVolumeClaim, requirement));
  const spec = target.resource === 'pods' ? (object as Pod).spec : undefined;
  return spec !== undefined && requirements.every((requirement) => podInScope(spec, requirement));
}

/** By the class that is asked for, the one that holds and the one it is changed to: each of them counts. */
function claimInScope({ spec, status }: PersistentVolumeClaim, requirement: ScopeRequirement): boolean {
  if (requirement.scopeName !== 'VolumeAttributesClass') return false;
  const classes = [
    spec?.volumeAttributesClassName,
    status?.currentVolumeAttributesClassName,
    status?.modifyVolumeStatus?.targetVolumeAttributesClassName,
  ].filter((name) => name !== undefined && name !== '');
  return (classes.length > 0 ? classes : ['']).some((name) => matchesValue(name ?? '', requirement));
}

function podInScope(spec: PodSpec, requirement: ScopeRequirement): boolean {
  switch (requirement.scopeName) {
    case 'Terminating':
      return spec.activeDeadlineSeconds !== undefined;
    case 'NotTerminating':
      return spec.activeDeadlineSeconds === undefined;
    case 'BestEffort':
      return isBestEffort(spec);
    case 'NotBestEffort':
      return !isBestEffort(spec);
    case 'PriorityClass':
      return matchesValue(spec.priorityClassName ?? '', requirement);
    case 'CrossNamespacePodAffinity':
      return hasCrossNamespaceAffinity(spec);
    default:
      return false;
  }
}

function matchesValue(value: string, { operator, values = [] }: ScopeRequirement): boolean {
  switch (operator) {
    case 'In':
      return values.includes(value);
    case 'NotIn':
      return !values.includes(value);
    case 'Exists':
      return value !== '';
    case 'DoesNotExist':
      return value === '';
    default:
      return false;
  }
}

function isBestEffort(spec: PodSpec): boolean {
  const lists = [spec, ...(spec.containers ?? []), ...(spec.initContainers ?? [])].flatMap((holder) => [
    amountsOf(holder.resources?.requests),
    amountsOf(holder.resources?.limits),
  ]);
  return lists.every((amounts) =>
    [...amounts].every(([name, amount]) => (name !== 'cpu' && name !== 'memory') || amount.isZero),
  );
}

function hasCrossNamespaceAffinity({ affinity }: PodSpec): boolean {
  const terms = [affinity?.podAffinity, affinity?.podAntiAffinity].flatMap((kind) => [
    ...(kind?.requiredDuringSchedulingIgnoredDuringExecution ?? []),
    ...(kind?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(
      (weighted) => weighted.podAffinityTerm,
    ),
  ]);
  return terms.some((term) => (term?.namespaces?.length ?? 0) > 0 || term?.namespaceSelector !== undefined);
}
