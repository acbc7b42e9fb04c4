/**
 * The volumes of CSI drivers on this node. One at a time for each volume; every step is one that drivers must allow to be repeated, and is recorded on disk
 * before it is made, so that an agent that was killed at any step goes on or undoes it.
 *
 *   mount:    in use, said in the node's status ─► attached ─► record ─► NodeStageVolume ─► NodePublishVolume ─► fsGroup ─► NodeExpandVolume
 *   unmount:  NodeUnpublishVolume ─► record removed ─► the last pod's: NodeUnstageVolume ─► record removed ─► not in use: may be detached
 */
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CSIDriver, Node, Pod } from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import type { EventRecorder } from '#client/events.ts';
import { csiDrivers } from '#client/refs.ts';
import { needsAttachment, uniqueVolumeName } from '#component-helpers/csi.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { KeyedMutex } from '#stdx/keyed-mutex.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Rounds } from '../agent/rounds.ts';
import { setOwnership } from '../agent/volumes/ownership.ts';
import type { ServiceAccountTokens } from '../agent/volumes/service-account-tokens.ts';
import { mountsBelow } from '../containerd/teardown.ts';
import type { PluginRegistry } from '../plugins/plugin-registry.ts';
import { Attachments } from './attachments.ts';
import { CsiNodeRecord } from './csi-node-record.ts';
import { CsiDrivers, type CsiDriver } from './csi-drivers.ts';
import type { Texts, VolumeStats } from './protocol.ts';
import { readSecretTexts } from './secret-texts.ts';
import { VolumeExpansion } from './volume-expansion.ts';
import {
  removeEmpty,
  VolumeRecords,
  type PublishedVolume,
  type StagedRecord,
  type StagedVolume,
} from './volume-records.ts';
import {
  checkLifecycle,
  takesFsGroup,
  volumeCapability,
  volumeContext,
  type CsiVolume,
} from './volume-request.ts';

interface CsiVolumesOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  readonly tokens: ServiceAccountTokens;
  readonly nodeName: string;
  /** The own Node as the API has it. */
  readonly node: () => Node | undefined;
  /** '…/pods' and '…/plugins'. */
  readonly podsDir: string;
  readonly pluginsDir: string;
  /** Where drivers register. */
  readonly plugins: Pick<PluginRegistry, 'handle'>;
  /** The volumes in use have changed: write the node's status. */
  readonly onUseChanged: () => void;
}

interface MountOptions {
  readonly fsGroup: number | undefined;
  readonly fsGroupChangePolicy: string | undefined;
  readonly signal: AbortSignal;
}

/** A mounted volume of a pod. */
interface Mounted {
  readonly publishedAtMs: number;
  readonly publishContext: Texts;
}

/** What a mount needs at each step. */
interface MountStep {
  readonly volume: CsiVolume;
  readonly driver: CsiDriver;
  readonly object: CSIDriver | undefined;
  readonly options: MountOptions;
  readonly place: PublishedVolume;
  readonly staged: StagedVolume;
  readonly publishContext: Texts;
}

/** Upstream's, of drivers that want it. */
const REPUBLISH_MS = 60_000;
/** Staged volumes that no pod has any more, after a crash or a driver that was away. */
const SWEEP_MS = 30_000;

export class CsiVolumes {
  readonly #options: CsiVolumesOptions;
  readonly #registered: CsiDrivers;
  readonly #records: VolumeRecords;
  readonly #attachments: Attachments;
  readonly #expansion: VolumeExpansion;
  readonly #rounds: Rounds;
  /** By unique volume name. */
  readonly #locks = new KeyedMutex();
  /** By directory of the record. Bounded by the volumes of this node's pods. */
  readonly #mounted = new Map<string, Mounted>();
  /** Unique names: of attachable volumes from before the first step until after the last. */
  readonly #inUse = new Set<string>();
  #drivers: Informer<CSIDriver> | undefined;

  constructor(options: CsiVolumesOptions) {
    this.#options = options;
    const { api, clock, nodeName, node, podsDir, pluginsDir } = options;
    this.#records = new VolumeRecords({ podsDir, pluginsDir });
    this.#attachments = new Attachments({ api, clock, nodeName, node });
    this.#expansion = new VolumeExpansion(options);
    this.#registered = new CsiDrivers(new CsiNodeRecord({ api, nodeName }));
    options.plugins.handle('CSIPlugin', this.#registered);
    this.#rounds = new Rounds(clock);
  }

  /** Of attachable volumes, for the node's status; sorted. */
  get volumesInUse(): string[] {
    return [...this.#inUse].sort();
  }

  /** Reads what an earlier agent has mounted: before the node's status is written, since what is not in use may be detached. */
  async load(): Promise<void> {
    for (const record of [...(await this.#records.allPublished()), ...(await this.#records.allStaged())])
      if (!('volumeLifecycleMode' in record) || record.volumeLifecycleMode !== 'Ephemeral')
        this.#inUse.add(uniqueName(record));
  }

  start(): void {
    this.#rounds.start(
      async () => {
        await this.#sweep().catch((error: unknown) =>
          this.#options.log.warn('error looking for staged volumes without pods', {
            error: errorMessage(error),
          }),
        );
        return SWEEP_MS;
      },
      { firstMs: SWEEP_MS },
    );
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
  }

  /** The path for containers: a directory, or a device in block mode. Idempotent. Throws Error, CsiError, StatusError. */
  async mount(volume: CsiVolume, options: MountOptions): Promise<string> {
    const object = await this.#driverObject(volume.driver);
    checkLifecycle(volume, object);
    return this.#locks.run(uniqueVolumeName(volume), () => this.#mountLocked(volume, { object, options }));
  }

  /** Undoes what drivers did for a pod. Idempotent. Throws when a driver is away or refuses: call it again. */
  async unmountPod(uid: string): Promise<void> {
    for (const published of await this.#records.publishedOf(uid))
      await this.#locks.run(uniqueName(published), async () => {
        await this.#unpublish(published);
        await this.#unstageIfLast(published);
      });
  }

  /** Undefined: the driver has none. */
  async stats(uid: string, volumeName: string): Promise<VolumeStats | undefined> {
    for (const published of await this.#records.publishedOf(uid)) {
      const { driverName, volumeHandle } = published;
      const driver = this.#registered.get(driverName);
      if (published.specVolID !== volumeName || !driver?.capabilities.has('GET_VOLUME_STATS')) continue;
      return driver.client.getStats({
        volumeId: volumeHandle,
        volumePath: published.targetPath,
        stagingTargetPath: this.#records.stagedPlace({ driverName, volumeHandle }).stagingPath,
      });
    }
    return undefined;
  }

  async #mountLocked(
    volume: CsiVolume,
    { object, options }: { readonly object: CSIDriver | undefined; readonly options: MountOptions },
  ): Promise<string> {
    const driver = this.#driver(volume.driver);
    const podUid = volume.pod.metadata?.uid ?? '';
    const devices = volume.isBlock ? this.#records.devicePaths(volume.name, podUid) : undefined;
    const place = this.#records.publishedPlace(podUid, {
      specVolID: volume.name,
      volumeHandle: volume.volumeHandle,
      driverName: volume.driver,
      nodeName: this.#options.nodeName,
      volumeLifecycleMode: volume.isEphemeral ? 'Ephemeral' : 'Persistent',
      attachmentID: '',
      wasPublished: false,
      devicePath: devices?.publish,
    });
    const staged = this.#records.stagedPlace({
      driverName: volume.driver,
      volumeHandle: volume.volumeHandle,
      devicePath: devices?.staging,
    });
    const known = this.#mounted.get(place.dir);
    const step = {
      volume,
      driver,
      object,
      options,
      place,
      staged,
      publishContext: known?.publishContext ?? {},
    };
    if (!known) await this.#mountFirst(step);
    else if (
      object?.spec.requiresRepublish &&
      this.#options.clock.now() - known.publishedAtMs >= REPUBLISH_MS
    )
      await this.#publish(step);
    await this.#expansion.expandIfGrown({ volume, driver, place, staged });
    return place.targetPath;
  }

  async #mountFirst(step: MountStep): Promise<void> {
    const { volume, object, options, staged, driver, place } = step;
    const attaches = !volume.isEphemeral && needsAttachment(object);
    // After a restart of the agent the driver may have published it already.
    if (!(await this.#records.hasPublished(place))) await this.#records.writePublished(place);
    if (!volume.isEphemeral) this.#use(uniqueVolumeName(volume));
    const attachment = attaches ? await this.#attachments.wait(volume, options.signal) : undefined;
    const attached = {
      ...step,
      publishContext: attachment?.context ?? {},
      place: { ...place, attachmentID: attachment?.name ?? '', wasPublished: true },
    };
    await this.#records.writePublished(attached.place);
    if (!volume.isEphemeral && driver.capabilities.has('STAGE_UNSTAGE_VOLUME')) {
      await this.#records.writeStaged(staged);
      await this.#stage(attached);
    }
    await this.#publish(attached);
  }

  async #stage({ volume, driver, object, options, staged, publishContext }: MountStep): Promise<void> {
    await mkdir(staged.stagingPath, { recursive: true, mode: 0o750 });
    await driver.client.stage({
      volumeId: volume.volumeHandle,
      publishContext,
      stagingTargetPath: staged.stagingPath,
      volumeCapability: capabilityFor({ volume, driver, object, options }),
      secrets: await readSecretTexts(this.#options.api, {
        reference: volume.stageSecret,
        field: 'NodeStageSecretRef',
      }),
      volumeContext: volume.attributes,
    });
  }

  async #publish({
    volume,
    driver,
    object,
    options,
    staged,
    place,
    publishContext,
  }: MountStep): Promise<void> {
    const { clock } = this.#options;
    const isStaged = !volume.isEphemeral && driver.capabilities.has('STAGE_UNSTAGE_VOLUME');
    // The driver makes the target itself.
    await mkdir(dirname(place.targetPath), { recursive: true, mode: 0o750 });
    const tokens = await this.#tokensFor(volume.pod, object);
    const inSecrets = object?.spec.serviceAccountTokenInSecrets ?? false;
    await driver.client.publish({
      volumeId: volume.volumeHandle,
      publishContext,
      stagingTargetPath: isStaged ? staged.stagingPath : '',
      targetPath: place.targetPath,
      volumeCapability: capabilityFor({ volume, driver, object, options }),
      readonly: volume.readOnly,
      secrets: {
        ...(await readSecretTexts(this.#options.api, {
          reference: volume.publishSecret,
          field: 'NodePublishSecretRef',
        })),
        ...(inSecrets ? tokens : {}),
      },
      volumeContext: { ...volumeContext(volume, object), ...(inSecrets ? {} : tokens) },
    });
    const { fsGroup, fsGroupChangePolicy } = options;
    const isOurs = !driver.capabilities.has('VOLUME_MOUNT_GROUP') && takesFsGroup(volume, object);
    if (
      fsGroup !== undefined &&
      isOurs &&
      !volume.readOnly &&
      !volume.isBlock &&
      !this.#mounted.has(place.dir)
    )
      await setOwnership(place.targetPath, {
        group: fsGroup,
        onRootMismatch: fsGroupChangePolicy === 'OnRootMismatch',
      });
    this.#mounted.set(place.dir, { publishContext, publishedAtMs: clock.now() });
  }

  async #unpublish(published: PublishedVolume): Promise<void> {
    const { driverName, volumeHandle, targetPath, dir } = published;
    if (published.wasPublished)
      await this.#driver(driverName).client.unpublish({ volumeId: volumeHandle, targetPath });
    this.#mounted.delete(dir);
    await removeMountPoint(targetPath);
    if (published.devicePath !== undefined) await removeIfEmpty(dirname(targetPath));
    await this.#records.remove(published);
  }

  /** With the volume's lock. */
  async #unstageIfLast(volume: StagedRecord): Promise<void> {
    const unique = uniqueName(volume);
    const others = await this.#records.allPublished();
    if (others.some((other) => uniqueName(other) === unique)) return;
    for (const staged of await this.#records.allStaged())
      if (uniqueName(staged) === unique) await this.#unstage(staged);
    if (this.#inUse.delete(unique)) this.#options.onUseChanged();
  }

  async #unstage(staged: StagedVolume): Promise<void> {
    const { driverName, volumeHandle, stagingPath } = staged;
    await this.#driver(driverName).client.unstage({ volumeId: volumeHandle, stagingTargetPath: stagingPath });
    await removeMountPoint(stagingPath);
    await this.#records.remove(staged);
  }

  async #sweep(): Promise<void> {
    for (const staged of await this.#records.allStaged())
      if (this.#registered.get(staged.driverName))
        await this.#locks.run(uniqueName(staged), () => this.#unstageIfLast(staged));
  }

  #use(unique: string): void {
    if (this.#inUse.has(unique)) return;
    this.#inUse.add(unique);
    this.#options.onUseChanged();
  }

  #driver(name: string): CsiDriver {
    const driver = this.#registered.get(name);
    if (!driver) throw new Error(`driver name ${name} not found in the list of registered CSI drivers`);
    return driver;
  }

  async #driverObject(name: string): Promise<CSIDriver | undefined> {
    this.#drivers ??= this.#options.api.informer(csiDrivers);
    await this.#drivers.synced();
    return this.#drivers.get(name);
  }

  async #tokensFor(pod: Pod, object: CSIDriver | undefined): Promise<Texts> {
    const wanted = object?.spec.tokenRequests ?? [];
    if (wanted.length === 0) return {};
    const found: Record<string, object> = {};
    for (const { audience = '', expirationSeconds } of wanted) {
      const { token, expiresAtMs } = await this.#options.tokens.token(pod, {
        audience: audience || undefined,
        expirationSeconds,
      });
      found[audience] = { token, expirationTimestamp: formatTime(expiresAtMs) };
    }
    return { 'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify(found) };
  }
}

/** Of a record. */
function uniqueName({ driverName, volumeHandle }: StagedRecord): string {
  return uniqueVolumeName({ driver: driverName, volumeHandle });
}

function capabilityFor({
  volume,
  driver,
  object,
  options,
}: Pick<MountStep, 'volume' | 'driver' | 'object' | 'options'>) {
  const fsGroup = takesFsGroup(volume, object) ? options.fsGroup : undefined;
  return volumeCapability(volume, { capabilities: driver.capabilities, fsGroup });
}

/** Devices of other pods may be there. */
async function removeIfEmpty(dir: string): Promise<void> {
  await rmdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error;
  });
}

/** What a driver left mounted is somebody's data: nothing is removed then. */
async function removeMountPoint(path: string): Promise<void> {
  const [left] = await mountsBelow([path]);
  if (left !== undefined) throw new Error(`${left} is still mounted after the CSI driver has unmounted it`);
  await removeEmpty(path);
}
