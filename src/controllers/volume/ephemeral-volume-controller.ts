/** Creates the claims of pods' ephemeral volumes; each is owned by its pod and deleted with it. After upstream's pkg/controller/volume/ephemeral. */
import type { PersistentVolumeClaim, Pod, Volume } from '#api/types.ts';
import { persistentVolumeClaims, pods } from '#client/refs.ts';
import { claimNameOf, whyNotForPod } from '#component-helpers/persistent-volumes.ts';
import { controllerReference } from '#component-helpers/owner-references.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { defineController, watch, type ReconcileContext } from '#runtime/controller.ts';

const BY_CLAIM = 'ephemeral-claim';

export const ephemeralVolumeController = defineController({
  name: 'ephemeral-volume-controller',
  eventSource: 'ephemeral_volume',
  watches: [
    watch(pods, { keys: (pod) => (isConcerned(pod) ? [objectKey(pod)] : []), changed: () => false }),
    // A claim that was deleted while its pod lives is made again.
    watch(persistentVolumeClaims, {
      keys: (claim, { informer }) => informer(pods).byIndex(BY_CLAIM, objectKey(claim)).map(objectKey),
      changed: () => false,
    }),
  ],
  indexes: [{ resource: pods, name: BY_CLAIM, values: claimKeysOf as (object: never) => readonly string[] }],
  async reconcile(context) {
    const pod = context.informer(pods).get(context.key);
    if (!pod || !isConcerned(pod)) return;
    for (const volume of pod.spec?.volumes ?? [])
      if (volume.ephemeral) await ensureClaim(context, { pod, volume });
  },
});

function claimKeysOf(pod: Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap((volume) =>
    volume.ephemeral ? [`${pod.metadata?.namespace}/${claimNameOf(pod, volume)}`] : [],
  );
}

function isConcerned(pod: Pod): boolean {
  return claimKeysOf(pod).length > 0 && !pod.metadata?.deletionTimestamp && !isPodTerminal(pod);
}

async function ensureClaim(
  { api, informer, events }: ReconcileContext,
  { pod, volume }: { readonly pod: Stored<Pod>; readonly volume: Volume },
): Promise<void> {
  const name = claimNameOf(pod, volume)!;
  const { namespace } = pod.metadata;
  const existing = informer(persistentVolumeClaims).get(`${namespace}/${name}`);
  if (existing) {
    const problem = whyNotForPod(pod, existing);
    if (problem === undefined) return;
    throw new Error(problem);
  }
  const template = volume.ephemeral?.volumeClaimTemplate;
  if (!template) return;
  const claim: PersistentVolumeClaim = {
    metadata: {
      name,
      namespace: namespace!,
      labels: template.metadata?.labels ?? {},
      annotations: template.metadata?.annotations ?? {},
      ownerReferences: [controllerReference(pod, pods)],
    },
    spec: template.spec,
  };
  try {
    await api.create(persistentVolumeClaims, claim);
  } catch (error) {
    events.event(pod, {
      type: 'Warning',
      reason: 'FailedBinding',
      message: `ephemeral volume: create PVC ${name}: ${error instanceof Error ? error.message : String(error)}`,
    });
    throw error;
  }
}
