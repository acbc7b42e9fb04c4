/** Predicates and derived values of daemon sets, their pods and nodes. Pure. */
import type { Stored } from '#machinery/object.ts';
import type {
  DaemonSet,
  Node,
  NodeSelectorTerm,
  Pod,
  PodSpec,
  PodTemplateSpec,
  Toleration,
} from '#api/types.ts';
import { getScaledValueFromIntOrPercent } from '#machinery/int-or-string.ts';
import { matchesRequiredNodeAffinity } from '#component-helpers/node-affinity.ts';
import { toleratesAny } from '#component-helpers/tolerations.ts';

export const HASH_LABEL = 'controller-revision-hash';
const GENERATION_LABEL = 'pod-template-generation';
const GENERATION_ANNOTATION = 'deprecated.daemonset.template.generation';

const TOLERATED: readonly Toleration[] = [
  { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/disk-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/memory-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/pid-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/unschedulable', operator: 'Exists', effect: 'NoSchedule' },
];
const TOLERATED_ON_HOST_NETWORK: Toleration = {
  key: 'node.kubernetes.io/network-unavailable',
  operator: 'Exists',
  effect: 'NoSchedule',
};

/** Fields that a daemon pod has in addition to its template. */
function daemonTolerations(spec: PodSpec | undefined): Toleration[] {
  const own = spec?.tolerations ?? [];
  const added = spec?.hostNetwork ? [...TOLERATED, TOLERATED_ON_HOST_NETWORK] : TOLERATED;
  return [...own, ...added.filter((toleration) => !own.some((other) => isSameToleration(other, toleration)))];
}

function isSameToleration(a: Toleration, b: Toleration): boolean {
  return (
    a.key === b.key &&
    a.operator === b.operator &&
    a.effect === b.effect &&
    !a.value &&
    a.tolerationSeconds === undefined
  );
}

/** shouldRun: the node needs a pod. shouldContinue: an existing pod may stay (NoSchedule taints only keep new pods away). */
export function placement(
  set: Stored<DaemonSet>,
  node: Stored<Node>,
): { readonly shouldRun: boolean; readonly shouldContinue: boolean } {
  const spec = set.spec?.template.spec;
  const none = { shouldRun: false, shouldContinue: false };
  if (spec?.nodeName && spec.nodeName !== node.metadata.name) return none;
  if (!matchesRequiredNodeAffinity(spec, { name: node.metadata.name, labels: node.metadata?.labels ?? {} }))
    return none;
  const tolerations = daemonTolerations(spec);
  const untolerated = (node.spec?.taints ?? []).filter(
    (taint) => taint.effect !== 'PreferNoSchedule' && !toleratesAny(tolerations, taint),
  );
  if (untolerated.length > 0)
    return { shouldRun: false, shouldContinue: !untolerated.some(({ effect }) => effect === 'NoExecute') };
  return { shouldRun: true, shouldContinue: true };
}

/** The node of a daemon pod; before scheduling it is the one in its node affinity. */
export function targetNode(pod: Pod): string | undefined {
  if (pod.spec?.nodeName) return pod.spec.nodeName;
  const terms =
    pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  for (const { matchFields = [] } of terms) {
    const pin = matchFields.find(({ key, operator }) => key === 'metadata.name' && operator === 'In');
    if (pin?.values?.[0] !== undefined) return pin.values[0];
  }
  return undefined;
}

/** The template of the pods of one revision, for any node. */
export function podTemplate(set: Stored<DaemonSet>, hash: string): PodTemplateSpec {
  const { template } = set.spec!;
  const generation = set.metadata?.annotations?.[GENERATION_ANNOTATION];
  const labels = {
    ...template.metadata?.labels,
    ...(generation ? { [GENERATION_LABEL]: generation } : {}),
    [HASH_LABEL]: hash,
  };
  return {
    ...template,
    metadata: { ...template.metadata, labels },
    spec: { ...template.spec!, tolerations: daemonTolerations(template.spec) },
  };
}

/** Replaces the template's own terms: they were checked when the node was selected. */
export function pinnedTemplate(template: PodTemplateSpec, nodeName: string): PodTemplateSpec {
  const nodeSelectorTerms: NodeSelectorTerm[] = [
    { matchFields: [{ key: 'metadata.name', operator: 'In', values: [nodeName] }] },
  ];
  const { affinity } = template.spec!;
  const nodeAffinity = {
    ...affinity?.nodeAffinity,
    requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms },
  };
  return { ...template, spec: { ...template.spec!, affinity: { ...affinity, nodeAffinity } } };
}

/** Whether the pod is of the current template: by its hash, or by the generation for pods from before hashes. */
export function isUpdated(
  pod: Stored<Pod>,
  { set, hash }: { readonly set: Stored<DaemonSet>; readonly hash: string },
): boolean {
  const generation = set.metadata?.annotations?.[GENERATION_ANNOTATION];
  const labels = pod.metadata?.labels;
  return (
    (hash !== '' && labels?.[HASH_LABEL] === hash) ||
    (generation !== undefined && labels?.[GENERATION_LABEL] === generation)
  );
}

export function maxSurge(set: Stored<DaemonSet>, desired: number): number {
  return set.spec?.updateStrategy?.type === 'OnDelete'
    ? 0
    : scaled(set.spec?.updateStrategy?.rollingUpdate?.maxSurge ?? 0, desired);
}

/** At least 1 when maxSurge is 0: otherwise the update could not progress. */
export function maxUnavailable(set: Stored<DaemonSet>, desired: number): number {
  const value = scaled(set.spec?.updateStrategy?.rollingUpdate?.maxUnavailable ?? 1, desired);
  return desired > 0 && value === 0 && maxSurge(set, desired) === 0 ? 1 : value;
}

function scaled(value: number | string, total: number): number {
  return getScaledValueFromIntOrPercent(value, total, { roundUp: true });
}
