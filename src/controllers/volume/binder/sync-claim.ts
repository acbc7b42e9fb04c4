/** One claim: finds it a volume, or asks a provisioner for one, and keeps its phase. Emits the event that says why it waits. */
import type { StorageClass } from '#api/types.ts';
import { persistentVolumeClaims, persistentVolumes, pods, storageClasses } from '#client/refs.ts';
import { newestDefault } from '#component-helpers/default-class.ts';
import {
  BETA_STORAGE_PROVISIONER,
  BIND_COMPLETED,
  BOUND_BY_CONTROLLER,
  choosesClass,
  classOfClaim,
  findMatchingVolume,
  hasAnnotation,
  isDefaultClass,
  isVolumeBoundToClaim,
  offersAccessModes,
  SELECTED_NODE,
  STORAGE_PROVISIONER,
  waitsForFirstConsumer,
  whyUnsatisfied,
} from '#component-helpers/persistent-volumes.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey } from '#machinery/object.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { annotated, bind, setClaimPhase, type Claim, type Volume } from './bindings.ts';
import { AVAILABLE_BY_CLASS, VOLUMES_BY_CLAIM } from './keys.ts';
import { podsOfClaim } from '../pods-by-claim.ts';

export async function syncClaim(context: ReconcileContext, key: string): Promise<void> {
  const claim = context.informer(persistentVolumeClaims).get(key);
  if (!claim) return;
  if (hasAnnotation(claim, BIND_COMPLETED)) return syncBound(context, claim);
  if (claim.spec?.volumeName) return syncRequested(context, claim);
  return syncUnbound(context, claim);
}

/** It takes any volume that satisfies it. */
async function syncUnbound(context: ReconcileContext, claim: Claim): Promise<void> {
  const storageClass = context.informer(storageClasses).get(classOfClaim(claim));
  const waits = waitsForFirstConsumer(storageClass);
  const volume = findBestMatch(context, { claim, waits });
  if (volume) return bind(context, { volume, claim });
  if (await assignDefaultClass(context, claim)) return;
  const needsProvisioning = !waits || hasAnnotation(claim, SELECTED_NODE);
  if (!needsProvisioning) emitWaiting(context, claim);
  else if (classOfClaim(claim) !== '') return provision(context, { claim, storageClass });
  else
    context.events.event(claim, {
      type: 'Normal',
      reason: 'FailedBinding',
      message: 'no persistent volumes available for this claim and no storage class is set',
    });
  await setClaimPhase(context, claim, { phase: 'Pending' });
}

/** Volumes with fewer access modes first, so that a claim does not take one that offers more than it needs. */
function findBestMatch(
  { informer }: ReconcileContext,
  { claim, waits }: { readonly claim: Claim; readonly waits: boolean },
): Volume | undefined {
  const groups = new Map<string, Volume[]>();
  const volumes = informer(persistentVolumes);
  const candidates = [
    ...volumes.byIndex(VOLUMES_BY_CLAIM, objectKey(claim)),
    ...volumes.byIndex(AVAILABLE_BY_CLASS, classOfClaim(claim)),
  ];
  for (const volume of candidates) {
    if (!offersAccessModes(claim, volume)) continue;
    const modes = (volume.spec?.accessModes ?? []).toSorted().join();
    const group = groups.get(modes);
    if (group) group.push(volume);
    else groups.set(modes, [volume]);
  }
  const size = (modes: string): number => modes.split(',').length;
  for (const [, group] of [...groups].toSorted(([a], [b]) => size(a) - size(b))) {
    const found = findMatchingVolume(claim, { volumes: group, waits });
    if (found) return found as Volume;
  }
  return undefined;
}

/** Retroactively, for a claim that was created before there was a default. True: the claim was written. */
async function assignDefaultClass({ api, informer, log }: ReconcileContext, claim: Claim): Promise<boolean> {
  if (choosesClass(claim)) return false;
  const found = newestDefault(informer(storageClasses).list().filter(isDefaultClass));
  if (!found) return false;
  const storageClassName = found.metadata?.name ?? '';
  await api.update(persistentVolumeClaims, { ...claim, spec: { ...claim.spec, storageClassName } });
  log.info('assigned the default storage class', { claim: objectKey(claim), class: storageClassName });
  return true;
}

function emitWaiting({ informer, events }: ReconcileContext, claim: Claim): void {
  const unscheduled = podsOfClaim(informer(pods), objectKey(claim))
    .filter(({ spec }) => !spec?.nodeName)
    .map(({ metadata }) => metadata.name)
    .toSorted();
  if (unscheduled.length === 0)
    events.event(claim, {
      type: 'Normal',
      reason: 'WaitForFirstConsumer',
      message: 'waiting for first consumer to be created before binding',
    });
  else
    events.event(claim, {
      type: 'Normal',
      reason: 'WaitForPodScheduled',
      message:
        unscheduled.length === 1
          ? `waiting for pod ${unscheduled[0]} to be scheduled`
          : `waiting for pods ${unscheduled.join(',')} to be scheduled`,
    });
}

/** Marks the claim for its provisioner, which runs on its own: no volume is made here. */
async function provision(
  context: ReconcileContext,
  { claim, storageClass }: { readonly claim: Claim; readonly storageClass: StorageClass | undefined },
): Promise<void> {
  const { api, events } = context;
  const failed = (message: string): void =>
    events.event(claim, { type: 'Warning', reason: 'ProvisioningFailed', message });
  if (!storageClass)
    return failed(`storageclass.storage.k8s.io ${JSON.stringify(classOfClaim(claim))} not found`);
  const { provisioner = '' } = storageClass;
  if (provisioner.startsWith('kubernetes.io/'))
    return failed(`no volume plugin matched name: ${provisioner}`);
  const names = [STORAGE_PROVISIONER, BETA_STORAGE_PROVISIONER];
  const marked = names.every((name) => claim.metadata.annotations?.[name] === provisioner)
    ? claim
    : await api.update(persistentVolumeClaims, annotated(without(claim, names), names, provisioner));
  events.event(marked, {
    type: 'Normal',
    reason: 'ExternalProvisioning',
    message: `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.`,
  });
}

function without(claim: Claim, names: readonly string[]): Claim {
  const annotations = { ...claim.metadata.annotations };
  for (const name of names) delete annotations[name];
  return { ...claim, metadata: { ...claim.metadata, annotations } };
}

/** A user asked for this volume. */
async function syncRequested(context: ReconcileContext, claim: Claim): Promise<void> {
  const name = claim.spec?.volumeName ?? '';
  const volume = context.informer(persistentVolumes).get(name);
  const wait = async (reason?: string, message = ''): Promise<void> => {
    if (reason !== undefined) context.events.event(claim, { type: 'Warning', reason, message });
    await setClaimPhase(context, claim, { phase: 'Pending' });
  };
  if (!volume) return wait();
  if (!volume.spec?.claimRef) {
    const problem = whyUnsatisfied(volume, claim);
    if (problem === undefined) return bind(context, { volume, claim });
    return wait('VolumeMismatch', `Cannot bind to requested volume ${JSON.stringify(name)}: ${problem}`);
  }
  if (isVolumeBoundToClaim(volume, claim)) return bind(context, { volume, claim });
  if (!hasAnnotation(claim, BOUND_BY_CONTROLLER))
    return wait('FailedBinding', `volume ${JSON.stringify(name)} already bound to a different claim.`);
  const { namespace, name: other } = volume.spec.claimRef;
  throw new Error(
    `invalid binding of claim ${JSON.stringify(objectKey(claim))} to volume ${JSON.stringify(name)}: volume already claimed by "${namespace}/${other}"`,
  );
}

async function syncBound(context: ReconcileContext, claim: Claim): Promise<void> {
  const lost = (reason: string, message: string): Promise<Claim> =>
    setClaimPhase(context, claim, { phase: 'Lost', event: { type: 'Warning', reason, message } });
  const name = claim.spec?.volumeName;
  if (!name)
    return void (await lost(
      'ClaimLost',
      'Bound claim has lost reference to PersistentVolume. Data on the volume is lost!',
    ));
  const volume = await findVolume(context, name);
  if (!volume)
    return void (await lost(
      'ClaimLost',
      'Bound claim has lost its PersistentVolume. Data on the volume is lost!',
    ));
  const { claimRef } = volume.spec ?? {};
  if (!claimRef || claimRef.uid === claim.metadata.uid) return bind(context, { volume, claim });
  await lost('ClaimMisbound', 'Two claims are bound to the same volume, this one is bound incorrectly');
}

/** Asks the API before a volume is given up: the cache of volumes may be behind that of claims. */
async function findVolume({ api, informer }: ReconcileContext, name: string): Promise<Volume | undefined> {
  const cached = informer(persistentVolumes).get(name);
  if (cached) return cached;
  try {
    return await api.get(persistentVolumes, { name });
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}
