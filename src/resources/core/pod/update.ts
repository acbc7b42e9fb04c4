/** Mutable fields of an existing pod: in updates, and in the ephemeralcontainers and resize subresources. The status is in status.ts. */
import type {
  Container,
  NodeAffinity,
  NodeSelectorTerm,
  Pod,
  PodSpec,
  ResourceRequirements,
  Toleration,
} from '#api/types.ts';
import { between, MAX_INT32 } from '../../checks.ts';
import { type Errors, METADATA, Path, SPEC } from '../../field-path.ts';
import { semanticEqual } from '../../strategy.ts';
import { isMirrorPod } from '#component-helpers/static-pods.ts';
import { checkPodAnnotationUpdates } from './annotations.ts';
import { checkImagePadding } from './containers.ts';
import { computePodQOS } from '#component-helpers/pod-qos.ts';
import { checkTolerations } from './scheduling.ts';
import { checkPod } from './spec.ts';

const UPDATABLE = [
  '`spec.containers[*].image`',
  '`spec.initContainers[*].image`',
  '`spec.activeDeadlineSeconds`',
  '`spec.tolerations` (only additions to existing tolerations)',
  '`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)',
].join(',');

export function checkPodUpdate(next: Pod, previous: Pod, errors: Errors): void {
  checkPod(next, errors);
  checkPodAnnotationUpdates(
    next.metadata?.annotations,
    previous.metadata?.annotations,
    METADATA.child('annotations'),
    errors,
  );
  const spec = next.spec!,
    stored = previous.spec!;
  if (spec === stored) return;
  for (const field of ['containers', 'initContainers'] as const) {
    if (!checkSameContainers(spec[field] ?? [], stored[field] ?? [], SPEC.child(field), errors)) return;
  }
  if (
    !checkDeadline(
      spec.activeDeadlineSeconds,
      stored.activeDeadlineSeconds,
      SPEC.child('activeDeadlineSeconds'),
      errors,
    )
  )
    return;
  checkAddedTolerations(spec.tolerations ?? [], stored.tolerations ?? [], SPEC.child('tolerations'), errors);
  const gates = new Set((stored.schedulingGates ?? []).map(({ name }) => name));
  spec.schedulingGates?.forEach(({ name }, i) => {
    if (!gates.has(name))
      errors.forbidden(
        SPEC.child('schedulingGates').index(i).child('name'),
        `only deletion is allowed, but found new scheduling gate '${name}'`,
      );
  });
  if (semanticEqual(spec, stored)) return;
  const rest = withUpdatableFieldsOf(stored, spec);
  if (gates.size > 0) allowGatedChanges(rest, stored, errors);
  if (!semanticEqual(rest, stored))
    errors.forbidden(
      SPEC,
      `pod updates may not change fields other than ${UPDATABLE}\n${differences(stored, rest)}`,
    );
}

/** The new spec with the stored values of all mutable fields: remaining differences are errors. */
function withUpdatableFieldsOf(stored: PodSpec, next: PodSpec): PodSpec {
  const images = (
    containers: Container[] | undefined,
    old: Container[] | undefined,
  ): Container[] | undefined =>
    containers?.map((container, i) => withField(container, 'image', old?.[i]?.image));
  const { activeDeadlineSeconds, schedulingGates, tolerations } = stored;
  const rest = {
    ...next,
    activeDeadlineSeconds,
    schedulingGates,
    tolerations,
    containers: images(next.containers, stored.containers),
    initContainers: images(next.initContainers, stored.initContainers),
  } as PodSpec;
  if ((stored.terminationGracePeriodSeconds ?? 0) < 0 && next.terminationGracePeriodSeconds === 1)
    rest.terminationGracePeriodSeconds = stored.terminationGracePeriodSeconds!;
  return rest;
}

function withField<T extends object, K extends keyof T>(object: T, field: K, value: T[K] | undefined): T {
  return { ...object, [field]: value };
}

/** Lists the top-level fields of the spec that differ, because a complete diff is unreadable. */
function differences(stored: PodSpec, next: PodSpec): string {
  const fields = [...new Set([...Object.keys(stored), ...Object.keys(next)])] as (keyof PodSpec)[];
  return fields
    .filter((field) => !semanticEqual(stored[field], next[field]))
    .map(
      (field) => `- ${field}: ${JSON.stringify(stored[field])}\n+ ${field}: ${JSON.stringify(next[field])}\n`,
    )
    .join('');
}

function checkSameContainers(
  next: readonly Container[],
  stored: readonly Container[],
  path: Path,
  errors: Errors,
): boolean {
  if (next.length !== stored.length) {
    errors.forbidden(path, 'pod updates may not add or remove containers');
    return false;
  }
  next.forEach((container, i) => {
    if (!container.image) errors.required(path.index(i).child('image'));
    checkImagePadding(container.image, path.index(i), errors);
  });
  return true;
}

function checkDeadline(
  next: number | undefined,
  stored: number | undefined,
  path: Path,
  errors: Errors,
): boolean {
  if (next === undefined) {
    if (stored !== undefined)
      errors.invalid(path, next, 'must not update from a positive integer to nil value');
    return true;
  }
  if (next < 0 || next > MAX_INT32) errors.invalid(path, next, between(0, MAX_INT32));
  else if (stored !== undefined && stored < next)
    errors.invalid(path, next, 'must be less than or equal to previous value');
  else return true;
  return false;
}

function checkAddedTolerations(
  next: readonly Toleration[],
  stored: readonly Toleration[],
  path: Path,
  errors: Errors,
): void {
  const same = (a: Toleration, b: Toleration): boolean =>
    semanticEqual({ ...a, tolerationSeconds: 0 }, { ...b, tolerationSeconds: 0 });
  if (!stored.every((old) => next.some((toleration) => same(old, toleration)))) {
    errors.forbidden(path, 'existing toleration can not be modified except its tolerationSeconds');
    return;
  }
  checkTolerations(next, path, errors);
}

/** While scheduling gates exist, node selector and node affinity may be made stricter. */
function allowGatedChanges(rest: PodSpec, stored: PodSpec, errors: Errors): void {
  if (!semanticEqual(rest.nodeSelector, stored.nodeSelector)) {
    for (const key in stored.nodeSelector) {
      if (rest.nodeSelector?.[key] !== stored.nodeSelector[key]) {
        errors.invalid(
          SPEC.child('nodeSelector'),
          rest.nodeSelector ?? {},
          'only additions to spec.nodeSelector are allowed (no mutations or deletions)',
        );
        break;
      }
    }
    if (stored.nodeSelector) rest.nodeSelector = stored.nodeSelector;
    else delete rest.nodeSelector;
  }
  const before = stored.affinity?.nodeAffinity,
    after = rest.affinity?.nodeAffinity;
  if (semanticEqual(before, after)) return;
  checkNodeAffinityMutation(after, before, SPEC.child('affinity').child('nodeAffinity'), errors);
  const { nodeAffinity: _, ...others } = rest.affinity ?? {};
  const affinity = before ? { ...others, nodeAffinity: before } : others;
  if (stored.affinity || Object.keys(affinity).length > 0) rest.affinity = affinity;
  else delete rest.affinity;
}

function checkNodeAffinityMutation(
  after: NodeAffinity | undefined,
  before: NodeAffinity | undefined,
  path: Path,
  errors: Errors,
): void {
  const required = before?.requiredDuringSchedulingIgnoredDuringExecution;
  if (!required) return;
  const at = path.child('requiredDuringSchedulingIgnoredDuringExecution').child('nodeSelectorTerms');
  const oldTerms = required.nodeSelectorTerms ?? [],
    newTerms = after?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  if (oldTerms.length > 0 && newTerms.length !== oldTerms.length) {
    errors.invalid(at, newTerms, 'no additions/deletions to non-empty NodeSelectorTerms list are allowed');
    return;
  }
  oldTerms.forEach((term, i) => {
    if (!narrows(newTerms[i]!, term))
      errors.invalid(at.index(i), newTerms[i], 'only additions are allowed (no mutations or deletions)');
  });
}

function narrows(next: NodeSelectorTerm, stored: NodeSelectorTerm): boolean {
  if (
    !stored.matchExpressions?.length &&
    !stored.matchFields?.length &&
    (next.matchExpressions?.length || next.matchFields?.length)
  )
    return false;
  const keeps = (after: readonly unknown[] = [], before: readonly unknown[] = []): boolean =>
    after.length >= before.length && before.every((item, i) => semanticEqual(item, after[i]));
  return keeps(next.matchExpressions, stored.matchExpressions) && keeps(next.matchFields, stored.matchFields);
}

export function checkEphemeralContainersUpdate(next: Pod, previous: Pod, errors: Errors): void {
  checkPod(next, errors);
  checkPodAnnotationUpdates(
    next.metadata?.annotations,
    previous.metadata?.annotations,
    METADATA.child('annotations'),
    errors,
  );
  const path = SPEC.child('ephemeralContainers');
  if (isMirrorPod(previous)) {
    errors.list.length = 0;
    errors.forbidden(METADATA, 'static pods do not support ephemeral containers');
    return;
  }
  for (const old of previous.spec!.ephemeralContainers ?? []) {
    const kept = next.spec!.ephemeralContainers?.find(({ name }) => name === old.name);
    if (!kept)
      errors.forbidden(
        path,
        `existing ephemeral containers ${JSON.stringify(old.name)} may not be removed\n`,
      );
    else if (!semanticEqual(kept, old))
      errors.forbidden(
        path,
        `existing ephemeral containers ${JSON.stringify(old.name)} may not be changed\n`,
      );
  }
}

/** Quantities of cpu and memory may change, in containers and at pod level; nothing else, and none may be removed. */
export function checkPodResize(next: Pod, previous: Pod, errors: Errors): void {
  checkPod(next, errors);
  const refusal = resizeRefusal(previous);
  if (refusal !== undefined) {
    errors.list.length = 0;
    errors.forbidden(Path.root(''), refusal);
    return;
  }
  const spec = next.spec!,
    stored = previous.spec!;
  if ((previous.status?.qosClass ?? computePodQOS(stored)) !== computePodQOS(spec))
    errors.invalid(SPEC, next.status?.qosClass ?? '', 'Pod QOS Class may not change as a result of resizing');
  const running = previous.status?.containerStatuses?.find(({ state }) => state?.running);
  if (running && running.resources === undefined)
    errors.forbidden(SPEC, 'Pod running on node without support for resize');
  checkPodLevelResize(spec.resources, stored.resources, errors);
  if (previous.status?.nodeAllocatableResourceClaimStatuses?.length)
    errors.forbidden(SPEC, 'pods with node allocatable resource claims cannot be resized');
  if (!haveSameNames(spec, stored, errors)) return;
  for (const field of ['initContainers', 'containers'] as const) {
    stored[field]?.forEach((old, i) =>
      checkRemovals(
        spec[field]![i]!.resources,
        old.resources,
        { path: SPEC.child(field).index(i).child('resources'), about: 'resource' },
        errors,
      ),
    );
  }
  stored.containers.forEach((old, i) => {
    if (!sameButCompute(spec.containers[i]!, old))
      errors.forbidden(SPEC, 'only cpu and memory resources are mutable');
  });
  stored.initContainers?.forEach((old, i) =>
    checkInitContainerResize(spec.initContainers![i]!, old, SPEC.child('initContainers').index(i), errors),
  );
  const { containers, initContainers, resources } = stored;
  if (!errors.any && !semanticEqual({ ...spec, containers, initContainers, resources }, stored))
    errors.forbidden(SPEC, 'only cpu and memory resources are mutable');
}

function resizeRefusal({ metadata, spec }: Pod): string | undefined {
  if (isMirrorPod({ metadata })) return 'static pods cannot be resized';
  return spec?.os?.name === 'windows' ? 'windows pods cannot be resized' : undefined;
}

function checkPodLevelResize(
  next: ResourceRequirements | undefined,
  stored: ResourceRequirements | undefined,
  errors: Errors,
): void {
  const path = SPEC.child('resources');
  if (stored && !next) return errors.forbidden(path, 'pod-level resources cannot be removed');
  checkRemovals(next, stored, { path, about: 'pod-level resource' }, errors);
  if (!semanticEqual(withComputeOf(next, stored), stored ?? {}))
    errors.forbidden(SPEC, 'only cpu and memory resources are mutable at pod-level');
}

/** The set of containers must not change either. Returns the difference. */
function haveSameNames(spec: PodSpec, stored: PodSpec, errors: Errors): boolean {
  const before = errors.list.length;
  for (const field of ['containers', 'initContainers'] as const) {
    const next = spec[field] ?? [],
      old = stored[field] ?? [],
      path = SPEC.child(field);
    if (next.length !== old.length) errors.forbidden(path, `${field} may not be added or removed on resize`);
    else
      old.forEach(({ name }, i) => {
        if (next[i]!.name !== name)
          errors.forbidden(path.index(i).child('name'), `${field} may not be renamed or reordered on resize`);
      });
  }
  return errors.list.length === before;
}

function checkRemovals(
  next: ResourceRequirements | undefined,
  stored: ResourceRequirements | undefined,
  { path, about }: { readonly path: Path; readonly about: string },
  errors: Errors,
): void {
  for (const field of ['requests', 'limits'] as const) {
    const amounts = next?.[field] ?? {};
    if (Object.keys(stored?.[field] ?? {}).some((name) => amounts[name] === undefined))
      errors.forbidden(path.child(field), `${about} ${field} cannot be removed`);
  }
}

function checkInitContainerResize(next: Container, old: Container, path: Path, errors: Errors): void {
  if (!sameButCompute(next, old))
    errors.forbidden(path, 'only cpu and memory resources for init or sidecar containers are mutable');
  if (old.restartPolicy === 'Always' || semanticEqual(next, old)) return;
  for (const policy of next.resizePolicy ?? []) {
    if (policy.restartPolicy === 'RestartContainer')
      errors.forbidden(
        path,
        'non-sidecar init containers with a resize policy of RestartContainer cannot be resized',
      );
  }
}

function sameButCompute(next: Container, old: Container): boolean {
  return semanticEqual({ ...next, resources: withComputeOf(next.resources, old.resources) }, old);
}

/** The new resources with the stored quantities of cpu and memory. */
function withComputeOf(
  next: ResourceRequirements | undefined,
  stored: ResourceRequirements | undefined,
): ResourceRequirements {
  const put = (
    amounts: Record<string, string> = {},
    old: Record<string, string> = {},
  ): Record<string, string> => {
    const { cpu: _cpu, memory: _memory, ...rest } = amounts;
    return {
      ...rest,
      ...(old['cpu'] === undefined ? {} : { cpu: old['cpu'] }),
      ...(old['memory'] === undefined ? {} : { memory: old['memory'] }),
    };
  };
  return withoutEmpty({
    ...next,
    limits: put(next?.limits, stored?.limits),
    requests: put(next?.requests, stored?.requests),
  });
}

/** An empty resource list equals an absent one. */
function withoutEmpty({
  limits,
  requests,
  ...rest
}: ResourceRequirements & {
  limits: Record<string, string>;
  requests: Record<string, string>;
}): ResourceRequirements {
  return {
    ...rest,
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
    ...(Object.keys(requests).length > 0 ? { requests } : {}),
  };
}
