/** A pod with values that plugins read often, computed once per version of the object. */
import type { Pod, PodAffinityTerm, WeightedPodAffinityTerm } from '#api/types.ts';
import { podHostPorts, type HostPort } from '#component-helpers/host-ports.ts';
import { claimNamesOf } from '#component-helpers/persistent-volumes.ts';
import { compileLabelSelector, type LabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import { objectKey } from '#machinery/object.ts';
import { podRequests, podScoringRequests, type Amounts } from './resources.ts';

/** Selects pods of one namespace. */
export interface PodMatcher {
  readonly namespace: string;
  /** Namespace and selector: equal for matchers that select the same pods; the cache key of counts. */
  readonly key: string;
  matches(labels: Readonly<Record<string, string>>): boolean;
}

export interface AffinityTerm {
  readonly selector: LabelSelector;
  readonly namespaces: ReadonlySet<string>;
  /** Undefined: only `namespaces`. */
  readonly namespaceSelector: LabelSelector | undefined;
  readonly topologyKey: string;
  /** Weight of preferred terms; 0 for required ones. */
  readonly weight: number;
}

export interface PodInfo {
  readonly pod: Pod;
  readonly key: string;
  readonly uid: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly priority: number;
  /** A pod that has not started sorts as the latest. */
  readonly startedMs: number;
  readonly requests: Amounts;
  readonly scoringRequests: Amounts;
  readonly hostPorts: readonly HostPort[];
  /** Keys of the claims of its volumes. */
  readonly claims: readonly string[];
  readonly requiredAffinity: readonly AffinityTerm[];
  readonly requiredAntiAffinity: readonly AffinityTerm[];
  readonly preferredAffinity: readonly AffinityTerm[];
  readonly preferredAntiAffinity: readonly AffinityTerm[];
}

/** By importance to preemption: higher priority first, then earlier start. */
export function moreImportantFirst(a: PodInfo, b: PodInfo): number {
  return b.priority - a.priority || a.startedMs - b.startedMs;
}

const known = new WeakMap<Pod, PodInfo>();

export function podInfo(pod: Pod): PodInfo {
  let info = known.get(pod);
  if (!info) {
    info = compute(pod);
    known.set(pod, info);
  }
  return info;
}

/** The same for a newer version of the object; what it has in common with the earlier one is not computed again. */
export function podInfoAfter(pod: Pod, before: PodInfo | undefined): PodInfo {
  if (known.has(pod) || !before || !hasSameFacts(pod, before.pod)) return podInfo(pod);
  const info = { ...before, pod, startedMs: startedMsOf(pod) };
  known.set(pod, info);
  return info;
}

/** The spec without its node, and the labels. Once containers run, what they hold may differ from what the spec says. */
function hasSameFacts(now: Pod, before: Pod): boolean {
  return (
    now.status?.containerStatuses === undefined &&
    before.status?.containerStatuses === undefined &&
    now.metadata?.generation !== undefined &&
    now.metadata.generation === before.metadata?.generation &&
    JSON.stringify(now.metadata.labels) === JSON.stringify(before.metadata.labels)
  );
}

function startedMsOf({ status }: Pod): number {
  return Date.parse(status?.startTime ?? '') || Number.MAX_SAFE_INTEGER;
}

function compute(pod: Pod): PodInfo {
  const affinity = pod.spec?.affinity;
  const terms = (list: readonly PodAffinityTerm[] | undefined): AffinityTerm[] =>
    (list ?? []).map((term) => affinityTerm(pod, { term, weight: 0 }));
  const weighted = (list: readonly WeightedPodAffinityTerm[] | undefined): AffinityTerm[] =>
    (list ?? []).map(({ weight, podAffinityTerm }) => affinityTerm(pod, { term: podAffinityTerm, weight }));
  return {
    pod,
    key: objectKey(pod),
    uid: pod.metadata?.uid ?? '',
    namespace: pod.metadata?.namespace ?? '',
    labels: pod.metadata?.labels ?? {},
    priority: pod.spec?.priority ?? 0,
    startedMs: startedMsOf(pod),
    requests: podRequests(pod),
    scoringRequests: podScoringRequests(pod),
    hostPorts: podHostPorts(pod.spec),
    claims: claimNamesOf(pod).map((name) => `${pod.metadata?.namespace}/${name}`),
    requiredAffinity: terms(affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution),
    requiredAntiAffinity: terms(affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution),
    preferredAffinity: weighted(affinity?.podAffinity?.preferredDuringSchedulingIgnoredDuringExecution),
    preferredAntiAffinity: weighted(
      affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution,
    ),
  };
}

function affinityTerm(
  pod: Pod,
  { term, weight }: { readonly term: PodAffinityTerm; readonly weight: number },
): AffinityTerm {
  const noNamespaces = (term.namespaces ?? []).length === 0 && term.namespaceSelector === undefined;
  return {
    selector: compileLabelSelector(withLabelKeys(pod, term)),
    namespaces: new Set(noNamespaces ? [pod.metadata?.namespace ?? ''] : (term.namespaces ?? [])),
    namespaceSelector:
      term.namespaceSelector === undefined
        ? undefined
        : compileLabelSelector(term.namespaceSelector as LabelSelectorObject),
    topologyKey: term.topologyKey,
    weight,
  };
}

/** matchLabelKeys and mismatchLabelKeys add requirements with this pod's own values. */
function withLabelKeys(pod: Pod, term: PodAffinityTerm): LabelSelectorObject | undefined {
  const selector = term.labelSelector as LabelSelectorObject | undefined;
  const own = pod.metadata?.labels ?? {};
  const add = (
    keys: readonly string[] | undefined,
    operator: string,
  ): { key: string; operator: string; values: string[] }[] =>
    (keys ?? [])
      .filter((key) => own[key] !== undefined)
      .map((key) => ({ key, operator, values: [own[key] ?? ''] }));
  const extra = [...add(term.matchLabelKeys, 'In'), ...add(term.mismatchLabelKeys, 'NotIn')];
  if (!selector || extra.length === 0) return selector;
  return { ...selector, matchExpressions: [...(selector.matchExpressions ?? []), ...extra] };
}

export type NamespaceLabels = (namespace: string) => Readonly<Record<string, string>>;

/** Whether an affinity term selects this pod. */
export function termMatches(term: AffinityTerm, pod: PodInfo, namespaceLabels: NamespaceLabels): boolean {
  const inNamespace =
    term.namespaces.has(pod.namespace) ||
    (term.namespaceSelector?.matches(namespaceLabels(pod.namespace)) ?? false);
  return inNamespace && term.selector.matches(pod.labels);
}
