/** Predicates and derived values of stateful sets, their pods and claims. Pure. */
import type {
  ControllerRevision,
  PersistentVolumeClaim,
  Pod,
  PodTemplateSpec,
  StatefulSet,
  Volume,
} from '#api/types.ts';
import { getScaledValueFromIntOrPercent } from '#machinery/int-or-string.ts';
import type { KubeObject, OwnerReference } from '#machinery/object.ts';
import { pods, statefulSets } from '#client/refs.ts';
import { findController, controllerReference } from '#component-helpers/owner-references.ts';
import { podFromTemplate } from '../../pod-control.ts';
import { isPodAvailable, isPodReady } from '#component-helpers/pod-status.ts';

const REVISION_LABEL = 'controller-revision-hash';
/** Revision names; pods have them as a label. */
export const REVISION_HASH_LABEL = 'controller.kubernetes.io/hash';
const POD_NAME_LABEL = 'statefulset.kubernetes.io/pod-name';
const POD_INDEX_LABEL = 'apps.kubernetes.io/pod-index';

export function startOrdinal(set: StatefulSet): number {
  return set.spec?.ordinals?.start ?? 0;
}

export function replicasOf(set: StatefulSet): number {
  return set.spec?.replicas ?? 1;
}

/** undefined when the pod's name does not belong to this set. */
export function parseOrdinal(pod: Pod, set: StatefulSet): number | undefined {
  const match = /^(.*)-([0-9]+)$/.exec(pod.metadata?.name ?? '');
  return match?.[1] === set.metadata!.name ? Number(match![2]) : undefined;
}

export function isInRange(set: StatefulSet, ordinal: number): boolean {
  return ordinal >= startOrdinal(set) && ordinal < startOrdinal(set) + replicasOf(set);
}

function podName(set: StatefulSet, ordinal: number): string {
  return `${set.metadata!.name}-${ordinal}`;
}

export function revisionOf(pod: Pod): string | undefined {
  return pod.metadata?.labels?.[REVISION_LABEL];
}

export function isRunningAndReady(pod: Pod): boolean {
  return pod.status?.phase === 'Running' && isPodReady(pod);
}

export function isRunningAndAvailable(
  pod: Pod,
  { set, nowMs }: { readonly set: StatefulSet; readonly nowMs: number },
): boolean {
  return (
    pod.status?.phase === 'Running' &&
    isPodAvailable(pod, { minReadySeconds: set.spec?.minReadySeconds, nowMs })
  );
}

export function readPartition(set: StatefulSet): number {
  return set.spec?.updateStrategy?.rollingUpdate?.partition ?? 0;
}

/** At least 1: otherwise the update could not progress. */
export function maxUnavailable(set: StatefulSet): number {
  return Math.max(
    1,
    getScaledValueFromIntOrPercent(
      set.spec?.updateStrategy?.rollingUpdate?.maxUnavailable ?? 1,
      replicasOf(set),
      { roundUp: false },
    ),
  );
}

/** Pods below the partition keep their revision. */
export function usesCurrentRevision(set: StatefulSet, ordinal: number): boolean {
  return set.spec?.updateStrategy?.type !== 'OnDelete' && ordinal < startOrdinal(set) + readPartition(set);
}

/** The template of a revision. */
function templateOf(revision: ControllerRevision): PodTemplateSpec {
  const { $patch: _, ...template } = (
    revision.data as unknown as {
      readonly spec: { readonly template: PodTemplateSpec & { $patch?: string } };
    }
  ).spec.template;
  return template;
}

export function newPod(set: StatefulSet, ordinal: number, revision: ControllerRevision): Pod {
  const name = podName(set, ordinal);
  const { metadata, spec } = podFromTemplate({
    template: templateOf(revision),
    owner: set,
    reference: controllerReference(set, statefulSets),
    name,
  });
  const claims = (set.spec?.volumeClaimTemplates ?? []).map(({ metadata: claim }): Volume => ({
    name: claim!.name!,
    persistentVolumeClaim: { claimName: claimName(set, claim!.name!, ordinal) },
  }));
  const others = (spec!.volumes ?? []).filter(
    (volume) => !claims.some((claim) => claim.name === volume.name),
  );
  const { serviceName } = set.spec!;
  return {
    metadata: {
      ...metadata!,
      labels: {
        ...metadata!.labels,
        ...identityLabels(set, ordinal),
        [REVISION_LABEL]: revision.metadata!.name!,
      },
    },
    spec: {
      ...spec!,
      hostname: name,
      ...(serviceName ? { subdomain: serviceName } : {}),
      ...(claims.length + others.length > 0 ? { volumes: [...claims, ...others] } : {}),
    },
  };
}

/** Labels that identify one pod of a set. */
export function identityLabels(set: StatefulSet, ordinal: number): Record<string, string> {
  return { [POD_NAME_LABEL]: podName(set, ordinal), [POD_INDEX_LABEL]: String(ordinal) };
}

export function hasIdentity(pod: Pod, set: StatefulSet): boolean {
  return Object.entries(identityLabels(set, parseOrdinal(pod, set)!)).every(
    ([label, value]) => pod.metadata?.labels?.[label] === value,
  );
}

function claimName(set: StatefulSet, template: string, ordinal: number): string {
  return `${template}-${set.metadata!.name}-${ordinal}`;
}

/** The claims of one pod, for creation. */
export function buildClaims(set: StatefulSet, ordinal: number): PersistentVolumeClaim[] {
  return (set.spec?.volumeClaimTemplates ?? []).map(({ metadata, spec }) => ({
    metadata: {
      name: claimName(set, metadata!.name!, ordinal),
      namespace: set.metadata!.namespace!,
      labels: { ...metadata!.labels, ...set.spec!.selector.matchLabels },
      ...(metadata!.annotations ? { annotations: { ...metadata!.annotations } } : {}),
      ...(metadata!.finalizers ? { finalizers: [...metadata!.finalizers] } : {}),
    },
    spec: structuredClone(spec!),
  }));
}

/**
 * The owner references that a claim needs, so that the garbage collector deletes it with the set or with a pod that was scaled down. undefined
 * when it has them already, or has another controller.
 */
export function claimOwners(
  claim: PersistentVolumeClaim,
  { set, pod }: { readonly set: StatefulSet; readonly pod: Pod },
): OwnerReference[] | undefined {
  const { whenDeleted, whenScaled } = set.spec?.persistentVolumeClaimRetentionPolicy ?? {};
  const isScaledAway = whenScaled === 'Delete' && !isInRange(set, parseOrdinal(pod, set)!);
  const owner = isScaledAway
    ? controllerReference(pod, pods)
    : whenDeleted === 'Delete'
      ? controllerReference(set, statefulSets)
      : undefined;
  const references = claim.metadata?.ownerReferences ?? [];
  const isOurs = ({ uid }: OwnerReference): boolean => uid === set.metadata!.uid || uid === pod.metadata!.uid;
  const controller = findController(claim);
  if (controller && !isOurs(controller)) return undefined;
  const ours = references.filter(isOurs);
  if (owner ? ours.length === 1 && ours[0]!.uid === owner.uid : ours.length === 0) return undefined;
  return [...references.filter((reference) => !isOurs(reference)), ...(owner ? [owner] : [])];
}

/** It belongs to an earlier pod of that name, and will be deleted after it. */
export function isStale(claim: KubeObject, name: string): boolean {
  return (
    claim.metadata?.ownerReferences?.some(
      (reference) => reference.kind === 'Pod' && reference.name === name,
    ) === true
  );
}
