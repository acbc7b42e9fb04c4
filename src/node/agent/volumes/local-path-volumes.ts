/**
 * The directories behind this node's local-path volumes: made when a pod first uses one, removed when its volume is deleted. A directory without
 * a volume in the API is kept: data is removed by order, never for want of an object.
 *
 *   volume seen ──deleted, no other finalizer, no pod──► policy Delete: directory removed ──► finalizer released
 *                                                        Retain: kept ──────────────────────────┘
 */
import { chmod, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { PersistentVolume } from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import { persistentVolumes } from '#client/refs.ts';
import { LOCAL_PATH_FINALIZER, LOCAL_PATH_MADE, localPathSelector } from '#component-helpers/local-path.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Rounds } from '../rounds.ts';
import { VolumeError } from './errors.ts';

interface LocalPathVolumesOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  /** Where the directories are; absolute. */
  readonly dir: string;
  /** Whether a pod here still has this volume. */
  readonly isUsed: (volumeName: string) => boolean;
}

/** What could not be removed is tried again. */
const RETRY_MS = 10_000;
/** Of directories without a volume, in one line of the log. */
const NAMES_SHOWN = 20;
/** Of any user's, as others make such directories: pods run as they like. The directory above is root's alone. */
const VOLUME_MODE = 0o777;

export class LocalPathVolumes {
  readonly #options: LocalPathVolumesOptions;
  readonly #rounds: Rounds;
  #informer: Informer<PersistentVolume> | undefined;
  #unsubscribe = (): void => {};
  #again = false;
  #strangersNoted = false;
  #running: Promise<void> | undefined;

  constructor(options: LocalPathVolumesOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options.clock);
  }

  get dir(): string {
    return this.#options.dir;
  }

  start(): void {
    const { api, nodeName } = this.#options;
    this.#informer = api.informer(persistentVolumes, { labelSelector: localPathSelector(nodeName) });
    const look = (): void => void this.#look();
    this.#unsubscribe = this.#informer.subscribe({ added: look, updated: look });
    this.#rounds.start(async () => {
      await this.#look();
      await this.#noteStrangers();
      return RETRY_MS;
    });
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.#rounds.stop();
    await this.#running;
  }

  /** Once: what another cluster left, or volumes that were deleted while this node was not a part of the cluster. */
  async #noteStrangers(): Promise<void> {
    if (this.#strangersNoted || !this.#informer?.hasSynced) return;
    this.#strangersNoted = true;
    const { dir, log } = this.#options;
    const left = (await readdir(dir).catch((): string[] => [])).filter((name) => !this.#informer?.get(name));
    if (left.length > 0)
      log.warn('directories without a PersistentVolume are kept', {
        dir,
        count: left.length,
        names: left.slice(0, NAMES_SHOWN).join(),
      });
  }

  /**
   * The path of a volume's directory, made when it is first used. One that was made and is missing is not made again: its data is elsewhere, or
   * lost. Throws VolumeError, StatusError.
   */
  async makeDirectory({ metadata, spec }: PersistentVolume): Promise<string> {
    const path = this.#pathOf(metadata?.name ?? '');
    if (spec?.local?.path !== path)
      throw new VolumeError(
        `local path ${JSON.stringify(spec?.local?.path)} is not where this node keeps volumes: ${JSON.stringify(path)}`,
      );
    const {
      name = '',
      uid,
      annotations,
    } = this.#informer?.get(metadata?.name ?? '')?.metadata ?? metadata ?? {};
    if (annotations?.[LOCAL_PATH_MADE] !== undefined) return path;
    await mkdir(this.#options.dir, { recursive: true, mode: 0o700 });
    // Past the umask; an existing directory keeps what its pods made of it.
    if ((await mkdir(path, { recursive: true })) !== undefined) await chmod(path, VOLUME_MODE);
    const made = { [LOCAL_PATH_MADE]: formatTime(this.#options.clock.now()) };
    await this.#options.api.patch(
      persistentVolumes,
      { name },
      { type: 'merge', patch: { metadata: { uid, annotations: made } } },
    );
    return path;
  }

  /** Never from the volume's own path: names of objects have no slash. */
  #pathOf(name: string): string {
    if (name === '' || name.includes('/') || name.startsWith('.'))
      throw new VolumeError(`invalid volume name ${JSON.stringify(name)}`);
    return join(this.#options.dir, name);
  }

  /** One look at a time; a change during it causes one more. */
  #look(): Promise<void> {
    this.#again = true;
    this.#running ??= this.#lookUntilQuiet().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #lookUntilQuiet(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      for (const volume of this.#informer?.list() ?? []) await this.#removeIfDeleted(volume);
    }
  }

  async #removeIfDeleted(volume: Stored<PersistentVolume>): Promise<void> {
    const { api, log, isUsed } = this.#options;
    const { name, deletionTimestamp, finalizers = [], uid, resourceVersion } = volume.metadata;
    const isLast = finalizers.length === 1 && finalizers[0] === LOCAL_PATH_FINALIZER;
    if (!deletionTimestamp || !isLast || isUsed(name)) return;
    try {
      if (volume.spec?.persistentVolumeReclaimPolicy === 'Delete') {
        await rm(this.#pathOf(name), { recursive: true, force: true });
        log.info('directory of a deleted volume removed', { volume: name });
      }
      await api.patch(
        persistentVolumes,
        { name },
        { type: 'merge', patch: { metadata: { uid, resourceVersion, finalizers: null } } },
      );
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return;
      log.warn('error removing a deleted volume, retrying', { volume: name, error: errorMessage(error) });
    }
  }
}
