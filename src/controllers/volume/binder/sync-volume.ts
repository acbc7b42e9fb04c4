/**
 * One volume: its phase, and what happens to it after its claim.
 *
 *   Pending → Available ──claim──► Bound ──claim deleted──► Released ──Retain──► (stays)
 *                 ▲                  │                         ├──Delete──► its provisioner deletes it; without one: Failed
 *                 └── claim elsewhere┘                         └──Recycle─► Failed
 */
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import { hasAnnotation, modesDiffer, PROVISIONED_BY } from '#component-helpers/persistent-volumes.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { setVolumePhase, unbind, type Claim, type Volume } from './bindings.ts';
import { claimKey, claimOfVolume } from './keys.ts';

export async function syncVolume(context: ReconcileContext, name: string): Promise<void> {
  const volume = context.informer(persistentVolumes).get(name);
  if (!volume) return;
  const { claimRef } = volume.spec ?? {};
  // Reserved for a claim by name: the claim's sync binds it.
  if (!claimRef?.uid) return void (await setVolumePhase(context, volume, { phase: 'Available' }));
  const claim = await findClaim(context, volume);
  if (!claim) return release(context, volume);
  const { volumeName } = claim.spec ?? {};
  if (!volumeName) return awaitClaim(context, volume, claim);
  if (volumeName === name) return void (await setVolumePhase(context, volume, { phase: 'Bound' }));
  if (hasAnnotation(volume, PROVISIONED_BY) && volume.spec?.persistentVolumeReclaimPolicy === 'Delete')
    return release(context, volume);
  return unbind(context, volume);
}

/** Asks the API before a claim is given up: the volume's data may be deleted next. Undefined also for another claim of the same name. */
async function findClaim({ api, informer }: ReconcileContext, { spec }: Volume): Promise<Claim | undefined> {
  const { namespace = '', name = '', uid } = spec?.claimRef ?? {};
  const cached = informer(persistentVolumeClaims).get(`${namespace}/${name}`);
  if (cached?.metadata.uid === uid) return cached;
  try {
    const claim = await api.get(persistentVolumeClaims, { namespace, name });
    return claim.metadata.uid === uid ? claim : undefined;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** The claim's sync completes the binding. */
function awaitClaim({ events, enqueue }: ReconcileContext, volume: Volume, claim: Claim): void {
  if (!modesDiffer(claim, volume)) return enqueue(claimKey(claimOfVolume(volume)[0]!));
  const because = 'due to incompatible volumeMode.';
  const claimName = JSON.stringify(claim.metadata.name);
  events.event(volume, {
    type: 'Warning',
    reason: 'VolumeMismatch',
    message: `Cannot bind PersistentVolume to requested PersistentVolumeClaim ${claimName} ${because}`,
  });
  events.event(claim, {
    type: 'Warning',
    reason: 'VolumeMismatch',
    message: `Cannot bind PersistentVolume ${JSON.stringify(volume.metadata.name)} to requested PersistentVolumeClaim ${claimName} ${because}`,
  });
}

async function release(context: ReconcileContext, volume: Volume): Promise<void> {
  const { phase } = volume.status ?? {};
  const released =
    phase === 'Released' || phase === 'Failed'
      ? volume
      : await setVolumePhase(context, volume, { phase: 'Released' });
  const failure = reclaimFailure(released);
  if (failure)
    await setVolumePhase(context, released, { phase: 'Failed', event: { type: 'Warning', ...failure } });
}

/** Only provisioners delete volumes, and nobody recycles them: upstream's recycler runs pods of an image that this cluster may not have. */
function reclaimFailure(volume: Volume): { readonly reason: string; readonly message: string } | undefined {
  switch (volume.spec?.persistentVolumeReclaimPolicy) {
    case 'Retain':
      return undefined;
    case 'Recycle':
      return { reason: 'VolumeFailedRecycle', message: 'No recycler plugin found for the volume!' };
    case 'Delete':
      return deleteFailure(volume);
    default:
      return {
        reason: 'VolumeUnknownReclaimPolicy',
        message: 'Volume has unrecognized PersistentVolumeReclaimPolicy',
      };
  }
}

function deleteFailure({
  metadata,
}: Volume): { readonly reason: string; readonly message: string } | undefined {
  const provisioner = metadata.annotations?.[PROVISIONED_BY] ?? '';
  if (provisioner.startsWith('kubernetes.io/'))
    return { reason: 'VolumeFailedDelete', message: `no volume plugin matched name: ${provisioner}` };
  if (provisioner !== '') return undefined;
  return {
    reason: 'VolumeFailedDelete',
    message: `error getting deleter volume plugin for volume ${JSON.stringify(metadata.name)}: no deletable volume plugin matched`,
  };
}
