/**
 * What this node has mounted by CSI drivers, on disk, so that an agent that starts again undoes it. A record is written before its driver is called and
 * removed after the driver has undone it. Names of files and fields are upstream's, which tools and drivers read.
 *
 *   PODS/<uid>/volumes/kubernetes.io~csi/<volume>/{vol_data.json, mount}
 *   PLUGINS/kubernetes.io/csi/<driver>/<sha256 of the handle>/{vol_data.json, globalmount}
 *   PLUGINS/kubernetes.io/csi/volumeDevices/{staging/<volume>, publish/<volume>/<pod uid>}          of volumes in block mode
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '#stdx/atomic-file.ts';
import { errorMessage } from '#stdx/log.ts';

interface PublishedRecord {
  readonly specVolID: string;
  readonly volumeHandle: string;
  readonly driverName: string;
  readonly nodeName: string;
  readonly volumeLifecycleMode: 'Persistent' | 'Ephemeral';
  /** '': the volume is not attached. */
  readonly attachmentID: string;
  /** The driver was called, or may have been: it must undo it. */
  readonly wasPublished: boolean;
  /** Of block mode: where the driver puts the device. */
  readonly devicePath?: string | undefined;
}

export interface StagedRecord {
  readonly volumeHandle: string;
  readonly driverName: string;
  /** Of block mode. */
  readonly devicePath?: string | undefined;
}

/** A volume of one pod. */
export interface PublishedVolume extends PublishedRecord {
  readonly podUid: string;
  /** The directory of record and mount point. */
  readonly dir: string;
  readonly targetPath: string;
}

export interface StagedVolume extends StagedRecord {
  readonly dir: string;
  readonly stagingPath: string;
}

const RECORD = 'vol_data.json';
const PLUGIN_DIR = 'kubernetes.io~csi';

export class VolumeRecords {
  readonly #podsDir: string;
  readonly #csiDir: string;

  constructor({ podsDir, pluginsDir }: { readonly podsDir: string; readonly pluginsDir: string }) {
    this.#podsDir = podsDir;
    this.#csiDir = join(pluginsDir, 'kubernetes.io', 'csi');
  }

  stagedPlace({ driverName, volumeHandle, devicePath }: StagedRecord): StagedVolume {
    const dir = join(this.#csiDir, driverName, createHash('sha256').update(volumeHandle).digest('hex'));
    return { driverName, volumeHandle, devicePath, dir, stagingPath: devicePath ?? join(dir, 'globalmount') };
  }

  /** Where a volume of block mode is staged and published. */
  devicePaths(volume: string, podUid: string): { readonly staging: string; readonly publish: string } {
    const base = join(this.#csiDir, 'volumeDevices');
    return { staging: join(base, 'staging', volume), publish: join(base, 'publish', volume, podUid) };
  }

  publishedPlace(podUid: string, record: PublishedRecord): PublishedVolume {
    const dir = join(this.#podsDir, podUid, 'volumes', PLUGIN_DIR, record.specVolID);
    return { ...record, podUid, dir, targetPath: record.devicePath ?? join(dir, 'mount') };
  }

  async hasPublished({ dir }: PublishedVolume): Promise<boolean> {
    return (await readRecord(dir)) !== undefined;
  }

  async writePublished({
    podUid: _pod,
    dir,
    targetPath: _target,
    ...record
  }: PublishedVolume): Promise<void> {
    await writeRecord(dir, record);
  }

  async writeStaged({ dir, stagingPath: _path, ...record }: StagedVolume): Promise<void> {
    await writeRecord(dir, record);
  }

  /** Throws for a record that cannot be read: what it names may still be mounted. */
  async publishedOf(podUid: string): Promise<PublishedVolume[]> {
    const base = join(this.#podsDir, podUid, 'volumes', PLUGIN_DIR);
    const found: PublishedVolume[] = [];
    for (const name of await namesIn(base)) {
      const record = await readRecord<PublishedRecord>(join(base, name));
      if (record) found.push(this.publishedPlace(podUid, record));
    }
    return found;
  }

  async allPublished(): Promise<PublishedVolume[]> {
    const all = await Promise.all((await namesIn(this.#podsDir)).map((uid) => this.publishedOf(uid)));
    return all.flat();
  }

  async allStaged(): Promise<StagedVolume[]> {
    const found: StagedVolume[] = [];
    for (const driver of await namesIn(this.#csiDir))
      for (const hash of await namesIn(join(this.#csiDir, driver))) {
        const record = await readRecord<StagedRecord>(join(this.#csiDir, driver, hash));
        if (record) found.push(this.stagedPlace(record));
      }
    return found;
  }

  /** After the driver has undone it. Fails while something is left in the directory. */
  async remove({ dir }: { readonly dir: string }): Promise<void> {
    await rm(join(dir, RECORD), { force: true });
    await removeEmpty(dir);
  }
}

async function writeRecord(dir: string, record: object): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o750 });
  replaceFile(join(dir, RECORD), JSON.stringify(record));
}

async function readRecord<T>(dir: string): Promise<T | undefined> {
  const path = join(dir, RECORD);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const record = JSON.parse(text) as Partial<StagedRecord>;
    if (typeof record.driverName !== 'string' || typeof record.volumeHandle !== 'string')
      throw new Error('driverName and volumeHandle must be strings');
    return record as T;
  } catch (error) {
    throw new Error(
      `cannot read ${path}: ${errorMessage(error)}; when nothing is mounted below its directory, remove the file`,
      { cause: error },
    );
  }
}

async function namesIn(dir: string): Promise<string[]> {
  return readdir(dir).catch(() => []);
}

/** A directory, file or missing path; a directory with something in it is somebody's data and fails. */
export async function removeEmpty(path: string): Promise<void> {
  await rmdir(path).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return;
    if (error.code !== 'ENOTDIR') throw error;
    await unlink(path);
  });
}
