/** Pod. The parts of its spec are in pod/. After upstream's pkg/registry/core/pod strategy. */
import type { Container, Pod, PodAffinityTerm, PodCondition, PodSpec, PodStatus } from '#api/types.ts';
import { formatTime } from '#machinery/time.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import {
  bumpGeneration,
  keepAllButStatus,
  keepField,
  keepMetadata,
  metaOf,
  semanticEqual,
  startGeneration,
} from '../strategy.ts';
import {
  applyAppArmorAnnotations,
  checkProfileAnnotations,
  dropInitContainerAnnotations,
} from './pod/annotations.ts';
import { defaultPod } from './pod/defaults.ts';
import { dropDisabledFields, dropDisabledStatusFields } from './pod/disabled.ts';
import { computePodQOS } from '#component-helpers/pod-qos.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { checkPod } from './pod/spec.ts';
import { podTable } from './pod/table.ts';
import { checkPodStatusUpdate } from './pod/status.ts';
import { checkEphemeralContainersUpdate, checkPodResize, checkPodUpdate } from './pod/update.ts';
import { podWarnings } from './pod/warnings.ts';

export const pods = defineResource<Pod>({
  group: '',
  plural: 'pods',
  // Upstream's storage ignores which other fields these two subresources reset.
  written: {
    status: { without: ['spec', 'metadata.deletionTimestamp', 'metadata.ownerReferences'] },
    ephemeralcontainers: { without: [] },
    resize: { without: [] },
  },
  applyDefaults: (pod) => {
    defaultPod(pod);
    syncPodIPs(pod);
    dropInitContainerAnnotations(pod.metadata?.annotations);
    // For pods, not for templates.
    if (pod.spec!.terminationGracePeriodSeconds! < 0) pod.spec!.terminationGracePeriodSeconds = 1;
  },
  prepareForCreate: (pod, { nowMs, warn, features }) => {
    startGeneration(pod);
    const spec = pod.spec!;
    pod.status = { phase: 'Pending', qosClass: pod.status?.qosClass || computePodQOS(spec) };
    dropDisabledFields(spec, undefined, { features });
    if (spec.schedulingGates?.length) pod.status.conditions = [gatedCondition(nowMs)];
    applyMatchLabelKeys(pod);
    applyAppArmorAnnotations(pod, warn);
    if (spec.nodeName === '') delete spec.nodeName;
  },
  prepareForUpdate: (next, previous, context) => {
    keepField(next, previous, 'status');
    dropDisabledFields(next.spec, previous.spec, context);
    if (context.subresource === 'ephemeralcontainers')
      next.spec = withEphemeralContainers(previous.spec!, next.spec);
    else if (context.subresource === 'resize') next.spec = withResources(previous.spec!, next.spec!);
    if (context.subresource === 'ephemeralcontainers' || context.subresource === 'resize')
      keepMetadata(next, previous);
    bumpGeneration(next, previous);
    if (next.spec?.schedulingGates?.length === 0) delete next.spec.schedulingGates;
  },
  validate: (pod) => {
    const errors = new Errors();
    checkPod(pod, errors);
    const spec = pod.spec!;
    if (spec.ephemeralContainers?.length)
      errors.forbidden(SPEC.child('ephemeralContainers'), 'cannot be set on create');
    if (spec.nodeName && spec.schedulingGates?.length)
      errors.forbidden(SPEC.child('nodeName'), 'cannot be set until all schedulingGates have been cleared');
    checkProfileAnnotations(pod.metadata?.annotations, spec, SPEC, errors);
    return errors.list;
  },
  validateUpdate: (next, previous, context) => {
    const errors = new Errors();
    if (context.subresource === 'ephemeralcontainers') checkEphemeralContainersUpdate(next, previous, errors);
    else if (context.subresource === 'resize') checkPodResize(next, previous, errors);
    else checkPodUpdate(next, previous, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: prepareStatus,
    validateUpdate: (next, previous) => {
      const errors = new Errors();
      checkPodStatusUpdate(next, previous, errors);
      return errors.list;
    },
  },
  warnings: podWarnings,
  gracefulDelete: gracePeriodOf,
  fieldSelectors: {
    'spec.nodeName': (pod) => pod.spec?.nodeName ?? '',
    'spec.restartPolicy': (pod) => pod.spec?.restartPolicy ?? '',
    'spec.schedulerName': (pod) => pod.spec?.schedulerName ?? '',
    'spec.serviceAccountName': (pod) => pod.spec?.serviceAccountName ?? '',
    'spec.hostNetwork': (pod) => String(pod.spec?.hostNetwork ?? false),
    'status.phase': (pod) => pod.status?.phase ?? '',
    'status.podIP': (pod) => pod.status?.podIP ?? '',
    // Accepted for compatibility.
    'spec.host': (pod) => pod.spec?.nodeName ?? '',
    'status.podIPs': () => '',
    'status.nominatedNodeName': (pod) => pod.status?.nominatedNodeName ?? '',
  },
  table: podTable,
});

/** Synchronises podIP and podIPs[0]: the changed one wins. */
function syncPodIPs({ status }: Pod): void {
  if (!status) return;
  if (status.podIP && status.podIPs?.[0]?.ip !== status.podIP) status.podIPs = [{ ip: status.podIP }];
  else if (!status.podIP && status.podIPs?.length) status.podIP = status.podIPs[0]!.ip;
}

function gatedCondition(nowMs: number): PodCondition {
  return {
    type: 'PodScheduled',
    status: 'False',
    lastProbeTime: null as unknown as string,
    lastTransitionTime: formatTime(nowMs),
    reason: 'SchedulingGated',
    message: 'Scheduling is blocked due to non-empty scheduling gates',
  };
}

/** The stored spec with the ephemeral containers of the new one, or without any. */
function withEphemeralContainers(
  { ephemeralContainers: _, ...stored }: PodSpec,
  next: PodSpec | undefined,
): PodSpec {
  const { ephemeralContainers } = next ?? {};
  return { ...stored, ...(ephemeralContainers && { ephemeralContainers }) } as PodSpec;
}

/** The stored spec with the resources and resize policies of the new one. With other containers it is the new spec: validation rejects it. */
function withResources(stored: PodSpec, next: PodSpec): PodSpec {
  const merged: PodSpec = { ...stored };
  if (next.resources) merged.resources = next.resources;
  else delete merged.resources;
  for (const field of ['containers', 'initContainers'] as const) {
    const list = stored[field] ?? [],
      wanted = next[field] ?? [];
    if (list.length !== wanted.length || list.some(({ name }, i) => wanted[i]!.name !== name)) return next;
    if (list.length > 0) merged[field] = list.map((old, i) => resized(old, wanted[i]!));
  }
  return merged;
}

function resized(
  { resources: _resources, resizePolicy: _policy, ...old }: Container,
  { resources, resizePolicy }: Container,
): Container {
  return { ...old, ...(resources ? { resources } : {}), ...(resizePolicy ? { resizePolicy } : {}) };
}

function prepareStatus(next: Pod, previous: Pod): void {
  keepAllButStatus(next, previous);
  const meta = metaOf(next),
    stored = metaOf(previous);
  if (stored.generation !== undefined) meta.generation = stored.generation;
  if (stored.ownerReferences) meta.ownerReferences = stored.ownerReferences;
  else delete meta.ownerReferences;
  // Only deletion changes it.
  if (stored.deletionTimestamp === undefined) delete meta.deletionTimestamp;
  const status = (next.status ??= {});
  dropDisabledStatusFields(status, previous.status);
  keepObservedGenerations(status, previous.status);
  if (!status.qosClass) status.qosClass = (previous.status?.qosClass ?? computePodQOS(next.spec!)) as string;
  // A client that knows only one of the two fields changed that one.
  const before = previous.status ?? {};
  if (status.podIP !== before.podIP && semanticEqual(status.podIPs, before.podIPs)) {
    if (status.podIP) status.podIPs = [{ ip: status.podIP }];
    else delete status.podIPs;
  }
  syncPodIPs(next);
}

/** Generations that an old client omits are kept. */
function keepObservedGenerations(status: PodStatus, stored: PodStatus | undefined): void {
  if (!status.observedGeneration && stored?.observedGeneration)
    status.observedGeneration = stored.observedGeneration;
  const before = [...(stored?.conditions ?? [])];
  for (const condition of status.conditions ?? []) {
    const at = before.findIndex(({ type }) => type === condition.type),
      [old] = at < 0 ? [] : before.splice(at, 1);
    if (!condition.observedGeneration && old?.observedGeneration)
      condition.observedGeneration = old.observedGeneration;
  }
}

/** On create, the values of matchLabelKeys are added to the selector: later label changes have no effect. */
function applyMatchLabelKeys(pod: Pod): void {
  const labels = pod.metadata?.labels;
  const { podAffinity, podAntiAffinity } = pod.spec!.affinity ?? {};
  for (const affinity of [podAffinity, podAntiAffinity]) {
    for (const term of affinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [])
      addLabelKeys(term, labels);
    for (const { podAffinityTerm } of affinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [])
      addLabelKeys(podAffinityTerm, labels);
  }
  for (const constraint of pod.spec!.topologySpreadConstraints ?? []) {
    if (!constraint.matchLabelKeys?.length || !constraint.labelSelector) continue;
    const selector = constraint.labelSelector;
    for (const key of constraint.matchLabelKeys) {
      const value = labels?.[key];
      if (value !== undefined)
        (selector.matchExpressions ??= []).push({ key, operator: 'In', values: [value] });
    }
  }
}

function addLabelKeys(term: PodAffinityTerm, labels: Record<string, string> | undefined): void {
  if (!term.labelSelector) return;
  for (const [keys, operator] of [
    [term.matchLabelKeys, 'In'],
    [term.mismatchLabelKeys, 'NotIn'],
  ] as const) {
    for (const key of keys ?? []) {
      const value = labels?.[key];
      if (value !== undefined)
        (term.labelSelector.matchExpressions ??= []).push({ key, operator, values: [value] });
    }
  }
}

/** A pod that is not running is deleted at once. */
function gracePeriodOf(pod: Pod, requestedSeconds: number | undefined): number {
  if (!pod.spec?.nodeName || isPodTerminal(pod)) return 0;
  const seconds = requestedSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
  return seconds < 0 ? 1 : seconds;
}
