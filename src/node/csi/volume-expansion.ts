/** The node's part of a claim that grows: the driver enlarges the file system or device of a volume that its controller has enlarged. */
import type { PersistentVolumeClaim } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import type { EventRecorder } from '#client/events.ts';
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import { storageCapacity } from '#component-helpers/persistent-volumes.ts';
import { compareQuantities, parseQuantity } from '#machinery/quantity.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { CsiDriver } from './csi-drivers.ts';
import { readSecretTexts } from './secret-texts.ts';
import type { PublishedVolume, StagedVolume } from './volume-records.ts';
import { volumeCapability, type CsiVolume } from './volume-request.ts';

interface ExpansionOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly events: EventRecorder;
}

interface ExpandRequest {
  readonly volume: CsiVolume;
  readonly driver: CsiDriver;
  readonly place: PublishedVolume;
  readonly staged: StagedVolume;
}

/** Claims are read at most this often: a pod's volumes are looked at with each of its changes. */
const LOOK_MS = 20_000;
/** Of the maps of looks: a node has fewer volumes. */
const MAX_LOOKS = 10_000;

export class VolumeExpansion {
  readonly #options: ExpansionOptions;
  /** By directory of the record. */
  readonly #lookedAtMs = new Map<string, number>();

  constructor(options: ExpansionOptions) {
    this.#options = options;
  }

  /** Throws CsiError, StatusError. */
  async expandIfGrown(request: ExpandRequest): Promise<void> {
    const { volume, driver, place } = request;
    const { api, clock } = this.#options;
    if (!volume.persistent || !driver.capabilities.has('EXPAND_VOLUME')) return;
    if (clock.now() - (this.#lookedAtMs.get(place.dir) ?? -Infinity) < LOOK_MS) return;
    if (this.#lookedAtMs.size >= MAX_LOOKS) this.#lookedAtMs.clear();
    this.#lookedAtMs.set(place.dir, clock.now());
    const { name = '', namespace = '' } = volume.persistent.spec?.claimRef ?? {};
    const claim = await api.get(persistentVolumeClaims, { name, namespace });
    const persistent = await api.get(persistentVolumes, { name: volume.name });
    const wanted = storageCapacity(persistent);
    if (compareQuantities(wanted, claim.status?.capacity?.['storage'] ?? '0') <= 0) return;
    await this.#expand(request, { claim, wanted });
  }

  async #expand(
    { volume, driver, place, staged }: ExpandRequest,
    { claim, wanted }: { readonly claim: PersistentVolumeClaim; readonly wanted: string },
  ): Promise<void> {
    const { api, events } = this.#options;
    const secrets = await readSecretTexts(api, {
      reference: volume.expandSecret,
      field: 'NodeExpandSecretRef',
    });
    try {
      await driver.client.expand({
        volumeId: volume.volumeHandle,
        volumePath: place.targetPath,
        stagingTargetPath: driver.capabilities.has('STAGE_UNSTAGE_VOLUME') ? staged.stagingPath : '',
        capacityRange: { requiredBytes: parseQuantity(wanted).value() },
        volumeCapability: volumeCapability(volume, { capabilities: driver.capabilities, fsGroup: undefined }),
        secrets,
      });
    } catch (error) {
      events.event(volume.pod, {
        type: 'Warning',
        reason: 'VolumeResizeFailed',
        message: `NodeExpandVolume.NodeExpandVolume failed for volume ${JSON.stringify(volume.name)} : ${errorMessage(error)}`,
      });
      throw error;
    }
    await api.updateStatus(
      persistentVolumeClaims,
      grown(claim, wanted) as typeof claim & { metadata: never },
    );
    events.event(volume.pod, {
      type: 'Normal',
      reason: 'FileSystemResizeSuccessful',
      message: `MountVolume.NodeExpandVolume succeeded for volume ${JSON.stringify(volume.name)}`,
    });
  }
}

function grown(claim: PersistentVolumeClaim, storage: string): PersistentVolumeClaim {
  const {
    conditions = [],
    allocatedResourceStatuses: { storage: _done, ...others } = {},
    ...status
  } = claim.status ?? {};
  return {
    ...claim,
    status: {
      ...status,
      capacity: { ...status.capacity, storage },
      conditions: conditions.filter(({ type }) => type !== 'FileSystemResizePending' && type !== 'Resizing'),
      ...(Object.keys(others).length > 0 ? { allocatedResourceStatuses: others } : {}),
    },
  };
}
