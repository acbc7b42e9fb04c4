/** The writes of the volume binder: phases, and the references of volume and claim to each other. The volume is always written first. */
import type { ObjectReference, PersistentVolume, PersistentVolumeClaim } from '#api/types.ts';
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import {
  BIND_COMPLETED,
  BOUND_BY_CONTROLLER,
  hasAnnotation,
  isVolumeBoundToClaim,
  storageCapacity,
} from '#component-helpers/persistent-volumes.ts';
import { objectKey, type KubeObject, type Stored } from '#machinery/object.ts';
import { compareQuantities } from '#machinery/quantity.ts';
import type { ReconcileContext } from '#runtime/controller.ts';

export type Claim = Stored<PersistentVolumeClaim>;
export type Volume = Stored<PersistentVolume>;

interface Pair {
  readonly volume: Volume;
  readonly claim: Claim;
}

interface PhaseEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** The event is emitted only when the phase changes. */
export async function setVolumePhase(
  { api, events }: ReconcileContext,
  volume: Volume,
  { phase, event }: { readonly phase: string; readonly event?: PhaseEvent },
): Promise<Volume> {
  if (volume.status?.phase === phase) return volume;
  const { message: _, ...status } = volume.status ?? {};
  const written = await api.updateStatus(persistentVolumes, {
    ...volume,
    status: { ...status, phase, ...(event ? { message: event.message } : {}) },
  });
  if (event) events.event(written, event);
  return written;
}

/** Without a volume, the claim's capacity and access modes are cleared. */
export async function setClaimPhase(
  { api, events }: ReconcileContext,
  claim: Claim,
  { phase, volume, event }: { readonly phase: string; readonly volume?: Volume; readonly event?: PhaseEvent },
): Promise<Claim> {
  const changes = claim.status?.phase !== phase;
  if (event && !changes) return claim;
  const status = { ...claim.status, phase };
  if (!volume) {
    delete status.accessModes;
    delete status.capacity;
  } else {
    status.accessModes = volume.spec?.accessModes ?? [];
    // A claim that is bound already may be smaller than its volume: its file system has not been expanded.
    if (changes) takeVolume(status, { claim, volume });
  }
  if (JSON.stringify(status) === JSON.stringify(claim.status)) return claim;
  const written = await api.updateStatus(persistentVolumeClaims, { ...claim, status });
  if (event) events.event(written, event);
  return written;
}

function takeVolume(status: NonNullable<PersistentVolumeClaim['status']>, { claim, volume }: Pair): void {
  const { spec } = volume;
  if (spec?.capacity?.['storage'] === undefined)
    throw new Error(`PersistentVolume ${JSON.stringify(volume.metadata.name)} is without a storage capacity`);
  const known = claim.status?.capacity?.['storage'];
  if (known === undefined || compareQuantities(known, storageCapacity(volume)) !== 0)
    status.capacity = spec.capacity;
  if (spec.volumeAttributesClassName)
    status.currentVolumeAttributesClassName = spec.volumeAttributesClassName;
}

/** Idempotent. Each write may fail: the next sync finishes the binding. */
export async function bind(context: ReconcileContext, { volume, claim }: Pair): Promise<void> {
  const named = await setVolumePhase(context, await nameClaim(context, { volume, claim }), {
    phase: 'Bound',
  });
  const bound = await nameVolume(context, { volume: named, claim });
  await setClaimPhase(context, bound, { phase: 'Bound', volume: named });
}

async function nameClaim({ api, log }: ReconcileContext, { volume, claim }: Pair): Promise<Volume> {
  const wasBound = isVolumeBoundToClaim(volume, claim);
  if (wasBound && volume.spec?.claimRef?.uid === claim.metadata.uid) return volume;
  const written = await api.update(persistentVolumes, {
    ...(wasBound ? volume : annotated(volume, [BOUND_BY_CONTROLLER])),
    spec: { ...volume.spec, claimRef: claimReference(claim) },
  });
  log.info('volume bound to claim', { volume: volume.metadata.name, claim: objectKey(claim) });
  return written;
}

async function nameVolume({ api }: ReconcileContext, { volume, claim }: Pair): Promise<Claim> {
  const { name } = volume.metadata;
  const isNamed = claim.spec?.volumeName === name;
  if (isNamed && hasAnnotation(claim, BIND_COMPLETED)) return claim;
  const marks = isNamed ? [BIND_COMPLETED] : [BIND_COMPLETED, BOUND_BY_CONTROLLER];
  return api.update(persistentVolumeClaims, {
    ...annotated(claim, marks),
    spec: { ...claim.spec, volumeName: name },
  });
}

/** Takes a binding back: a claim that a user chose stays named, without its UID. */
export async function unbind(context: ReconcileContext, volume: Volume): Promise<void> {
  const { [BOUND_BY_CONTROLLER]: byController, ...annotations } = volume.metadata.annotations ?? {};
  const { claimRef, ...spec } = volume.spec ?? {};
  const { uid: _, ...kept } = claimRef ?? {};
  const written = await context.api.update(persistentVolumes, {
    ...volume,
    metadata: { ...volume.metadata, annotations },
    spec: byController === undefined && claimRef ? { ...spec, claimRef: kept } : spec,
  });
  await setVolumePhase(context, written, { phase: 'Available' });
}

export function annotated<T extends KubeObject>(object: T, names: readonly string[], value = 'yes'): T {
  const annotations = { ...object.metadata?.annotations };
  for (const name of names) annotations[name] ??= value;
  return { ...object, metadata: { ...object.metadata, annotations } };
}

function claimReference({ metadata }: Claim): ObjectReference {
  const { name, namespace, uid, resourceVersion } = metadata;
  return {
    kind: 'PersistentVolumeClaim',
    apiVersion: 'v1',
    namespace: namespace!,
    name,
    uid,
    resourceVersion,
  };
}
