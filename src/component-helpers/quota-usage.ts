/** The usage of one object for a ResourceQuota, and whether it matches a quota's scopes. Pure. After upstream's quota evaluators (pkg/quota/v1/evaluator/core). */
import type { Container, PersistentVolumeClaim, Pod, PodSpec, ResourceQuota, Service } from '#api/types.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import { timeMs } from '#machinery/time.ts';
import { groupResourceString, type KubeObject } from '#machinery/object.ts';
import { classOfClaim } from './persistent-volumes.ts';
import { isPodTerminal } from './pod-status.ts';
import { podQOS } from './pod-qos.ts';
import {
  addAmounts,
  maxAmounts,
  podLimits,
  podRequests,
  type PodResourcesOptions,
  type ResourceAmounts,
} from './pod-resources.ts';

export interface QuotaTarget {
  readonly group: string;
  readonly resource: string;
  /** Undefined: pods past their grace period still count. */
  readonly nowMs?: number;
}

/** 'gpu.example.com.deviceclass.resource.k8s.io/devices': devices that claims request of a class. */
export const DEVICES_SUFFIX = '.deviceclass.resource.k8s.io/devices';

const ONE = Quantity.of(1);
const COMPUTE: ReadonlySet<string> = new Set(['cpu', 'memory', 'ephemeral-storage']);
/** Resources whose plain name is a quota name too, from before 'count/…' existed. */
const PLAIN_COUNTS: ReadonlySet<string> = new Set([
  'configmaps',
  'secrets',
  'replicationcontrollers',
  'resourcequotas',
  'services',
  'persistentvolumeclaims',
]);

export function computeUsage(object: KubeObject, target: QuotaTarget): ResourceAmounts {
  const usage = new Map([[`count/${groupResourceString(target.resource, target.group)}`, ONE]]);
  if (target.group === 'resource.k8s.io' && target.resource === 'resourceclaims')
    return addAmounts(usage, deviceUsage(object));
  if (target.group !== '') return usage;
  if (PLAIN_COUNTS.has(target.resource)) usage.set(target.resource, ONE);
  switch (target.resource) {
    case 'pods':
      return addAmounts(usage, podUsage(object as Pod, target.nowMs));
    case 'services':
      return addAmounts(usage, serviceUsage(object as Service));
    case 'persistentvolumeclaims':
      return addAmounts(usage, claimUsage(object as PersistentVolumeClaim));
    default:
      return usage;
  }
}

/** During a resize a pod counts with the larger of its allocated and its desired resources. */
const AS_HELD: PodResourcesOptions = { useStatusResources: true };

/** A terminated pod, or one past its grace period, counts for its own existence only. */
function podUsage(pod: Pod, nowMs: number | undefined): ResourceAmounts {
  if (!pod.spec || isPodTerminal(pod) || isOverdue(pod, nowMs)) return new Map();
  const usage = new Map<string, Quantity>([['pods', ONE]]);
  for (const [name, amount] of podRequests(pod, AS_HELD)) {
    if (COMPUTE.has(name)) usage.set(name, amount);
    if (COMPUTE.has(name) || isExtended(name) || name.startsWith('hugepages-'))
      usage.set(`requests.${name}`, amount);
    if (name.startsWith('hugepages-')) usage.set(name, amount);
  }
  for (const [name, amount] of podLimits(pod, AS_HELD))
    if (COMPUTE.has(name)) usage.set(`limits.${name}`, amount);
  return usage;
}

/** Past its deletion deadline plus one more grace period: an unreachable node must not hold the quota. */
function isOverdue({ metadata }: Pod, nowMs: number | undefined): boolean {
  const dueMs = timeMs(metadata?.deletionTimestamp);
  const graceSeconds = metadata?.deletionGracePeriodSeconds;
  if (nowMs === undefined || dueMs === undefined || graceSeconds === undefined) return false;
  return nowMs > dueMs + graceSeconds * 1000;
}

function isExtended(name: string): boolean {
  return name.includes('/') && !/(^|\.)kubernetes\.io\//.test(name);
}

function serviceUsage({ spec }: Service): ResourceAmounts {
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

function claimUsage(claim: PersistentVolumeClaim): ResourceAmounts {
  const { spec } = claim;
  const usage = new Map<string, Quantity>();
  const storageClass = classOfClaim(claim);
  const prefix = `${storageClass}.storageclass.storage.k8s.io/`;
  if (storageClass !== '') usage.set(`${prefix}persistentvolumeclaims`, ONE);
  const storage = spec?.resources?.requests?.['storage'];
  if (storage === undefined) return usage;
  usage.set('requests.storage', parseQuantity(storage));
  if (storageClass !== '') usage.set(`${prefix}requests.storage`, parseQuantity(storage));
  return usage;
}

/** Usage of a request for all devices: the maximum that can be allocated to one claim. */
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

/** Of alternative requests, each class counts with the maximum. */
function deviceUsage(claim: KubeObject): ResourceAmounts {
  const amountsOfOne = ({ deviceClassName = '', allocationMode, count = 1 }: DeviceDemand): ResourceAmounts =>
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

/** Resources of the quota that every container must specify, and the containers that do not: 'limits.cpu for: a,b'. */
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

/** All scopes must match. A quota with scopes only applies to pods (and, by VolumeAttributesClass, to claims). */
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
  return (
    target.resource === 'pods' && requirements.every((requirement) => podInScope(object as Pod, requirement))
  );
}

/** The requested, the current and the target class; each of them counts. */
function claimInScope({ spec, status }: PersistentVolumeClaim, requirement: ScopeRequirement): boolean {
  if (requirement.scopeName !== 'VolumeAttributesClass') return false;
  const classes = [
    spec?.volumeAttributesClassName,
    status?.currentVolumeAttributesClassName,
    status?.modifyVolumeStatus?.targetVolumeAttributesClassName,
  ].filter((name) => name !== undefined && name !== '');
  return (classes.length > 0 ? classes : ['']).some((name) => matchesValue(name ?? '', requirement));
}

function podInScope(pod: Pod, requirement: ScopeRequirement): boolean {
  const { spec } = pod;
  if (!spec) return false;
  switch (requirement.scopeName) {
    case 'Terminating':
      return spec.activeDeadlineSeconds !== undefined;
    case 'NotTerminating':
      return spec.activeDeadlineSeconds === undefined;
    case 'BestEffort':
      return podQOS(pod) === 'BestEffort';
    case 'NotBestEffort':
      return podQOS(pod) !== 'BestEffort';
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

function hasCrossNamespaceAffinity({ affinity }: PodSpec): boolean {
  const terms = [affinity?.podAffinity, affinity?.podAntiAffinity].flatMap((kind) => [
    ...(kind?.requiredDuringSchedulingIgnoredDuringExecution ?? []),
    ...(kind?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(
      (weighted) => weighted.podAffinityTerm,
    ),
  ]);
  return terms.some((term) => (term?.namespaces?.length ?? 0) > 0 || term?.namespaceSelector !== undefined);
}
