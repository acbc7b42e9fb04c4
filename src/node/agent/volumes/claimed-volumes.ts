/** The PersistentVolumes behind the claims of this node's pods: read and checked once for each pod, as a kubelet may read no others. Mounts nothing. */
import type { PersistentVolume, PersistentVolumeClaim, Pod, Volume } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import { claimNameOf, isReachableFrom, whyNotForPod } from '#component-helpers/persistent-volumes.ts';
import type { Labels } from '#machinery/labels.ts';
import type { Stored } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';

/** The claim cannot be used: the text, upstream's, is an event's. */
export class ClaimError extends Error {
  override readonly name = 'ClaimError';
}

interface ClaimedVolumesOptions {
  readonly api: Client;
  readonly nodeName: string;
  /** The labels of the own Node. */
  readonly nodeLabels: () => Labels;
}

export class ClaimedVolumes {
  readonly #options: ClaimedVolumesOptions;
  /** Pod UID → name in the pod → volume. Bounded by the volumes of this node's pods. */
  readonly #known = new Map<string, Map<string, Stored<PersistentVolume>>>();

  constructor(options: ClaimedVolumesOptions) {
    this.#options = options;
  }

  /** Throws ClaimError. A volume stays what it was while the pod is here. */
  async resolve(pod: Pod, volume: Volume): Promise<Stored<PersistentVolume>> {
    const uid = pod.metadata?.uid ?? '';
    const known = this.#known.get(uid)?.get(volume.name);
    if (known) return known;
    const found = await this.#read(pod, volume);
    const ofPod = this.#known.get(uid) ?? new Map<string, Stored<PersistentVolume>>();
    this.#known.set(uid, ofPod.set(volume.name, found));
    return found;
  }

  /** The pod's volumes are not mounted any more. */
  forget(uid: string): void {
    this.#known.delete(uid);
  }

  /** Whether a pod on this node still has the volume. */
  isUsed(volumeName: string): boolean {
    for (const volumes of this.#known.values())
      for (const { metadata } of volumes.values()) if (metadata.name === volumeName) return true;
    return false;
  }

  async #read(pod: Pod, volume: Volume): Promise<Stored<PersistentVolume>> {
    const { api, nodeName, nodeLabels } = this.#options;
    const namespace = pod.metadata?.namespace ?? '';
    const name = claimNameOf(pod, volume) ?? '';
    const refuse = (why: string): ClaimError =>
      new ClaimError(`error processing PVC ${namespace}/${name}: ${why}`);
    const claim = await api.get(persistentVolumeClaims, { namespace, name }).catch((error: unknown) => {
      throw refuse(`failed to fetch PVC from API server: ${errorMessage(error)}`);
    });
    const problem = claimProblem(pod, claim, volume.ephemeral !== undefined);
    if (problem !== undefined) throw refuse(problem);
    const volumeName = claim.spec?.volumeName ?? '';
    const found = await api.get(persistentVolumes, { name: volumeName }).catch((error: unknown) => {
      throw refuse(`failed to fetch PV ${volumeName} from API server: ${errorMessage(error)}`);
    });
    const uid = found.spec?.claimRef?.uid;
    if (uid !== claim.metadata.uid)
      throw refuse(
        uid === undefined
          ? `found PV object ${volumeName} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim`
          : `found PV object ${volumeName} but its pv.Spec.ClaimRef.UID ${uid} does not point to claim.UID ${claim.metadata.uid}`,
      );
    if (!isReachableFrom(found, { name: nodeName, labels: nodeLabels() }))
      throw new ClaimError(
        `MountVolume.NodeAffinity check failed for volume ${JSON.stringify(volumeName)} : no matching NodeSelectorTerms`,
      );
    return found;
  }
}

function claimProblem(pod: Pod, claim: PersistentVolumeClaim, isEphemeral: boolean): string | undefined {
  if (isEphemeral) {
    const problem = whyNotForPod(pod, claim);
    if (problem !== undefined) return problem;
  }
  if (claim.metadata?.deletionTimestamp) return 'PVC is being deleted';
  return claim.status?.phase === 'Bound' && claim.spec?.volumeName ? undefined : 'PVC is not bound';
}
