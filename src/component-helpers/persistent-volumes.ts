/**
 * What controllers, scheduler and node agents read of volumes and claims: classes, bindings, and which volume satisfies a claim. Pure. After
 * upstream's component-helpers/storage/volume.
 */
import type {
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
  TopologySelectorTerm,
  Volume,
} from '#api/types.ts';
import { compileLabelSelector, type Labels } from '#machinery/labels.ts';
import type { KubeObject } from '#machinery/object.ts';
import { compareQuantities } from '#machinery/quantity.ts';
import { matchesNodeSelectorTerms } from './node-affinity.ts';
import { isControlledBy } from './owner-references.ts';

/** On a claim: volume and claim name each other, and the claim's binding is complete. */
export const BIND_COMPLETED = 'pv.kubernetes.io/bind-completed';
/** On a claim or volume: the reference to the other was not set by a user, so it may be taken back. */
export const BOUND_BY_CONTROLLER = 'pv.kubernetes.io/bound-by-controller';
/** On a volume: the provisioner that made it and will delete it. */
export const PROVISIONED_BY = 'pv.kubernetes.io/provisioned-by';
/** On a claim: the node that the scheduler chose for its first consumer. */
export const SELECTED_NODE = 'volume.kubernetes.io/selected-node';
/** On a claim: the provisioner that is asked to make a volume. */
export const STORAGE_PROVISIONER = 'volume.kubernetes.io/storage-provisioner';
export const BETA_STORAGE_PROVISIONER = 'volume.beta.kubernetes.io/storage-provisioner';
/** The provisioner of classes whose volumes are made by hand. */
export const NO_PROVISIONER = 'kubernetes.io/no-provisioner';
const BETA_CLASS = 'volume.beta.kubernetes.io/storage-class';
const DEFAULT_CLASS = [
  'storageclass.kubernetes.io/is-default-class',
  'storageclass.beta.kubernetes.io/is-default-class',
] as const;

export function hasAnnotation({ metadata }: KubeObject, name: string): boolean {
  return metadata?.annotations?.[name] !== undefined;
}

/** '' when it asks for none, and when it has none yet. */
export function classOfClaim({ metadata, spec }: PersistentVolumeClaim): string {
  return metadata?.annotations?.[BETA_CLASS] ?? spec?.storageClassName ?? '';
}

/** Whether a default class may still be set. */
export function choosesClass({ metadata, spec }: PersistentVolumeClaim): boolean {
  return metadata?.annotations?.[BETA_CLASS] !== undefined || spec?.storageClassName !== undefined;
}

export function classOfVolume({ metadata, spec }: PersistentVolume): string {
  return metadata?.annotations?.[BETA_CLASS] ?? spec?.storageClassName ?? '';
}

export function isDefaultClass({ metadata }: StorageClass): boolean {
  return DEFAULT_CLASS.some((name) => metadata?.annotations?.[name] === 'true');
}

/** Claims of the class are bound when a pod that uses them is scheduled. */
export function waitsForFirstConsumer(storageClass: StorageClass | undefined): boolean {
  return storageClass?.volumeBindingMode === 'WaitForFirstConsumer';
}

export function requestedStorage({ spec }: PersistentVolumeClaim): string {
  return spec?.resources?.requests?.['storage'] ?? '0';
}

export function storageCapacity({ spec }: PersistentVolume): string {
  return spec?.capacity?.['storage'] ?? '0';
}

/** Whether the volume names the claim; one that was bound by hand may leave out the UID. */
export function isVolumeBoundToClaim(
  { spec }: PersistentVolume,
  { metadata }: PersistentVolumeClaim,
): boolean {
  const { name, namespace, uid } = spec?.claimRef ?? {};
  return name === metadata?.name && namespace === metadata?.namespace && (!uid || uid === metadata?.uid);
}

/** Volume and claim name each other, and the controller has finished. */
export function isClaimFullyBound(claim: PersistentVolumeClaim): boolean {
  return Boolean(claim.spec?.volumeName) && hasAnnotation(claim, BIND_COMPLETED);
}

export function isBlockMode(mode: string | undefined): boolean {
  return mode === 'Block';
}

export function modesDiffer(claim: PersistentVolumeClaim, volume: PersistentVolume): boolean {
  return isBlockMode(claim.spec?.volumeMode) !== isBlockMode(volume.spec?.volumeMode);
}

export function offersAccessModes(claim: PersistentVolumeClaim, { spec }: PersistentVolume): boolean {
  return (claim.spec?.accessModes ?? []).every((mode) => spec?.accessModes?.includes(mode));
}

/** Whether a node can reach the volume. */
export function isReachableFrom(
  { spec }: PersistentVolume,
  node: { readonly name: string; readonly labels: Labels },
): boolean {
  const terms = spec?.nodeAffinity?.required?.nodeSelectorTerms;
  return !terms || matchesNodeSelectorTerms(terms, node);
}

/** Why the volume that a claim names does not satisfy it, in upstream's words; undefined: it does. */
export function whyUnsatisfied(volume: PersistentVolume, claim: PersistentVolumeClaim): string | undefined {
  if (volume.metadata?.deletionTimestamp)
    return `the volume is marked for deletion ${JSON.stringify(volume.metadata.name)}`;
  if (compareQuantities(storageCapacity(volume), requestedStorage(claim)) < 0)
    return 'requested PV is too small';
  if (classOfVolume(volume) !== classOfClaim(claim)) return 'storageClassName does not match';
  if (modesDiffer(claim, volume)) return 'incompatible volumeMode';
  if (attributesClass(volume) !== attributesClass(claim)) return 'VolumeAttributesClassName does not match';
  return offersAccessModes(claim, volume) ? undefined : 'incompatible accessMode';
}

function attributesClass({ spec }: PersistentVolume | PersistentVolumeClaim): string {
  return spec?.volumeAttributesClassName ?? '';
}

interface MatchOptions {
  /** Of the scheduler: access modes and the reach of the volume count, too. */
  readonly node?: { readonly name: string; readonly labels: Labels } | undefined;
  /** Names that are taken. */
  readonly excluded?: ReadonlySet<string> | undefined;
  /** The claim waits for its first consumer: without a node, only a volume that names the claim matches. */
  readonly waits?: boolean | undefined;
}

/** The volume that names the claim, else the smallest that satisfies it. */
export function findMatchingVolume(
  claim: PersistentVolumeClaim,
  { volumes, ...options }: MatchOptions & { readonly volumes: Iterable<PersistentVolume> },
): PersistentVolume | undefined {
  const selector = claim.spec?.selector ? compileLabelSelector(claim.spec.selector) : undefined;
  let smallest: PersistentVolume | undefined;
  for (const volume of volumes) {
    if (!isCandidate(claim, volume, options.excluded)) continue;
    const isReachable = !options.node || isReachableFrom(volume, options.node);
    if (isVolumeBoundToClaim(volume, claim)) return isReachable ? volume : undefined;
    if (!options.node && options.waits) continue;
    if (!isReachable || volume.status?.phase !== 'Available') continue;
    if (selector && !selector.matches(volume.metadata?.labels ?? {})) continue;
    if (classOfVolume(volume) !== classOfClaim(claim)) continue;
    if (options.node && !offersAccessModes(claim, volume)) continue;
    if (!smallest || compareQuantities(storageCapacity(smallest), storageCapacity(volume)) > 0)
      smallest = volume;
  }
  return smallest;
}

function isCandidate(
  claim: PersistentVolumeClaim,
  volume: PersistentVolume,
  excluded: ReadonlySet<string> | undefined,
): boolean {
  return (
    !excluded?.has(volume.metadata?.name ?? '') &&
    (!volume.spec?.claimRef || isVolumeBoundToClaim(volume, claim)) &&
    compareQuantities(storageCapacity(volume), requestedStorage(claim)) >= 0 &&
    !modesDiffer(claim, volume) &&
    attributesClass(volume) === attributesClass(claim) &&
    !volume.metadata?.deletionTimestamp
  );
}

/** Whether a node's labels satisfy one of a class' allowed topologies; without any, every node does. */
export function matchesTopologies(
  terms: readonly TopologySelectorTerm[] | undefined,
  labels: Labels,
): boolean {
  if (!terms || terms.length === 0) return true;
  return terms.some(
    ({ matchLabelExpressions = [] }) =>
      matchLabelExpressions.length > 0 &&
      matchLabelExpressions.every(({ key, values }) => values.includes(labels[key] ?? '')),
  );
}

/** The claim behind a volume of a pod; that of an ephemeral volume is named after pod and volume. */
export function claimNameOf(pod: Pod, volume: Volume): string | undefined {
  if (volume.persistentVolumeClaim) return volume.persistentVolumeClaim.claimName;
  return volume.ephemeral ? `${pod.metadata?.name}-${volume.name}` : undefined;
}

export function claimNamesOf(pod: Pod): string[] {
  return (pod.spec?.volumes ?? [])
    .map((volume) => claimNameOf(pod, volume))
    .filter((name) => name !== undefined);
}

/** Why a claim of this name is not that of the pod's ephemeral volume, in upstream's words. */
export function whyNotForPod(pod: Pod, claim: PersistentVolumeClaim): string | undefined {
  return isControlledBy(claim, pod)
    ? undefined
    : `PVC ${claim.metadata?.namespace}/${claim.metadata?.name} was not created for pod ${pod.metadata?.namespace}/${pod.metadata?.name} (pod is not owner)`;
}
