/**
 * The volumes of this node's pods: set up before a pod's containers, updated while it runs, removed after it. All files of a pod are below DIR/<uid>, in
 * upstream's layout, so that leftovers of earlier runs are found and removed.
 *
 *   DIR/<uid>/volumes/kubernetes.io~empty-dir/<name>    DIR/<uid>/volume-subpaths/<name>/<container>/<index>    DIR/<uid>/etc-hosts
 */
import { chmod, chown, lchown, lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pod, Volume } from '#api/types.ts';
import { tryParseQuantity } from '#machinery/quantity.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ObjectReader } from '../config/environment.ts';
import type { DownwardContext } from '../config/downward.ts';
import { writeAtomically } from './atomic-writer.ts';
import type { ImageMounts } from '../../images/mount.ts';
import type { CsiVolumes } from '../../csi/csi-volumes.ts';
import { inlineCsiVolume, persistentCsiVolume, type CsiVolume } from '../../csi/volume-request.ts';
import { ClaimError, type ClaimedVolumes } from './claimed-volumes.ts';
import { VolumeError } from './errors.ts';
import { prepareHostPath } from './host-path.ts';
import { mountsBelow } from '../../containerd/teardown.ts';
import { isOwnFileSystem, mount, unmountBelow } from './mounts.ts';
import type { LocalPathVolumes } from './local-path-volumes.ts';
import { mountNfs, mountPersistentVolume } from './persistent-volume-mounts.ts';
import { buildPayload } from './payload.ts';
import type { ServiceAccountTokens } from './service-account-tokens.ts';

interface PodVolumesOptions {
  /** '…/pods' */
  readonly dir: string;
  readonly clock: Clock;
  readonly objects: ObjectReader;
  readonly tokens: ServiceAccountTokens;
  /** Absent: volumes of images are refused. */
  readonly imageMounts?: ImageMounts | undefined;
  /** Absent: volumes of claims are refused. */
  readonly claimed?: ClaimedVolumes | undefined;
  readonly localPaths?: LocalPathVolumes | undefined;
  /** Absent: volumes of CSI drivers are refused. */
  readonly csi?: CsiVolumes | undefined;
}

/** What volumes show of the pod, and what interrupts a wait: for the attachment of a volume, up to 2 minutes. */
type PrepareContext = DownwardContext & { readonly signal?: AbortSignal | undefined };

export interface PreparedVolumes {
  /** Host paths by volume name. */
  readonly paths: ReadonlyMap<string, string>;
  /** When to call prepare again although no object changed (tokens). */
  readonly renewAtMs: number | undefined;
}

/** Names the volume; the text is an event's. */
export class VolumeSetupError extends Error {
  override readonly name = 'VolumeSetupError';
  readonly volume: string;
  constructor(volume: string, cause: unknown) {
    super(setupMessage(volume, cause), { cause });
    this.volume = volume;
  }
}

/** A claim that cannot be used is not yet a volume that could be mounted. */
function setupMessage(volume: string, cause: unknown): string {
  if (!(cause instanceof ClaimError))
    return `MountVolume.SetUp failed for volume "${volume}" : ${errorMessage(cause)}`;
  if (!cause.message.startsWith('error processing PVC')) return cause.message;
  return `Unable to attach or mount volumes: unmounted volumes=[${volume}], unattached volumes=[], failed to process volumes=[${volume}]: ${cause.message}`;
}

const EMPTY_DIR_MODE = 0o777;

export class PodVolumes {
  readonly #options: PodVolumesOptions;

  constructor(options: PodVolumesOptions) {
    this.#options = options;
  }

  podDir(uid: string): string {
    return join(this.#options.dir, uid);
  }

  emptyDirPath(uid: string, name: string): string {
    return join(this.podDir(uid), 'volumes', 'kubernetes.io~empty-dir', name);
  }

  /** Idempotent: creates what is missing, updates what changed. Throws VolumeSetupError. */
  async prepare(pod: Pod, context: PrepareContext): Promise<PreparedVolumes> {
    const paths = new Map<string, string>();
    let renewAtMs: number | undefined;
    const uid = pod.metadata?.uid ?? '';
    await mkdir(join(this.podDir(uid), 'volumes'), { recursive: true, mode: 0o750 });
    for (const volume of pod.spec?.volumes ?? []) {
      // Mounted by the first container that wants it: like a container's own, its image may have to be pulled.
      if (volume.image) continue;
      try {
        const made = await this.#prepareOne(pod, volume, context);
        paths.set(volume.name, made.path);
        if (made.renewAtMs !== undefined) renewAtMs = Math.min(renewAtMs ?? Infinity, made.renewAtMs);
      } catch (error) {
        throw error instanceof VolumeSetupError ? error : new VolumeSetupError(volume.name, error);
      }
    }
    return { paths, renewAtMs };
  }

  async #prepareOne(
    pod: Pod,
    volume: Volume,
    downward: PrepareContext,
  ): Promise<{ readonly path: string; readonly renewAtMs?: number | undefined }> {
    if (volume.hostPath) return { path: await prepareHostPath(volume.hostPath) };
    const { uid = '' } = pod.metadata ?? {};
    const base = join(this.podDir(uid), 'volumes');
    const fsGroup = pod.spec?.securityContext?.fsGroup;
    if (volume.emptyDir)
      return {
        path: await makeEmptyDir(this.emptyDirPath(uid, volume.name), { ...volume.emptyDir, fsGroup }),
      };
    if (volume.nfs) return { path: await mountNfs(volume.nfs, { base, name: volume.name }) };
    if (volume.persistentVolumeClaim ?? volume.ephemeral)
      return { path: await this.#mountClaimed(pod, volume, downward.signal) };
    if (volume.csi && this.#options.csi)
      return {
        path: await this.#mountCsi(inlineCsiVolume(pod, { volume, source: volume.csi }), downward.signal),
      };
    const { clock, objects, tokens } = this.#options;
    const kind = volume.configMap
      ? 'configmap'
      : volume.secret
        ? 'secret'
        : volume.downwardAPI
          ? 'downward-api'
          : volume.projected
            ? 'projected'
            : undefined;
    if (!kind) throw new VolumeError(`${kindOf(volume)} volumes are not supported by this node`);
    const payload = await buildPayload(volume, { objects, tokens, downward });
    const path = join(base, `kubernetes.io~${kind}`, volume.name);
    await mkdir(path, { recursive: true, mode: 0o755 });
    // Secrets never touch a disk.
    if (kind !== 'configmap' && !(await isOwnFileSystem(path)))
      await mount(['-t', 'tmpfs', '-o', 'mode=0755', 'tmpfs', path]);
    if (fsGroup !== undefined) await chown(path, 0, fsGroup);
    await writeAtomically(path, { files: payload?.files ?? new Map(), fsGroup, nowMs: clock.now() });
    return { path, renewAtMs: payload?.renewAtMs };
  }

  async #mountCsi(volume: CsiVolume, signal = new AbortController().signal): Promise<string> {
    const { csi } = this.#options;
    if (!csi) throw new VolumeError('csi volumes are not supported by this node');
    const { fsGroup, fsGroupChangePolicy } = volume.pod.spec?.securityContext ?? {};
    return csi.mount(volume, { fsGroup, fsGroupChangePolicy, signal });
  }

  async #mountClaimed(pod: Pod, volume: Volume, signal: AbortSignal | undefined): Promise<string> {
    const { claimed, localPaths } = this.#options;
    if (!claimed) throw new VolumeError(`${kindOf(volume)} volumes are not supported by this node`);
    const { fsGroup, fsGroupChangePolicy } = pod.spec?.securityContext ?? {};
    const persistent = await claimed.resolve(pod, volume);
    const readOnly = volume.persistentVolumeClaim?.readOnly ?? false;
    const source = persistent.spec?.csi;
    try {
      if (source)
        return await this.#mountCsi(persistentCsiVolume(pod, { persistent, source, readOnly }), signal);
      return await mountPersistentVolume(persistent, {
        base: join(this.podDir(pod.metadata?.uid ?? ''), 'volumes'),
        readOnly,
        fsGroup,
        fsGroupChangePolicy,
        localPaths,
      });
    } catch (error) {
      throw new VolumeSetupError(persistent.metadata.name, error);
    }
  }

  /** The files of a local image, read-only. Idempotent. Throws VolumeError and ImageError. */
  async mountImage(
    pod: Pod,
    { volume, image }: { readonly volume: string; readonly image: string },
  ): Promise<string> {
    const { imageMounts } = this.#options;
    if (!imageMounts) throw new VolumeError('image volumes are not supported by this node');
    const path = join(this.#imagesDir(pod.metadata?.uid ?? ''), volume);
    await mkdir(path, { recursive: true, mode: 0o755 });
    if (!(await mountsBelow([path])).includes(path)) await imageMounts.mountImage(image, path);
    return path;
  }

  #imagesDir(uid: string): string {
    return join(this.podDir(uid), 'volumes', 'kubernetes.io~image');
  }

  /** Unmounts and removes everything of a pod. Idempotent. */
  async remove(uid: string): Promise<void> {
    const dir = this.podDir(uid);
    if (!(await lstat(dir).catch(() => undefined))) return this.#options.claimed?.forget(uid);
    const images = await readdir(this.#imagesDir(uid)).catch((): string[] => []);
    await this.#options.csi?.unmountPod(uid);
    await unmountBelow(dir);
    // What is still mounted is somebody's data: nothing below may be removed then.
    const [left] = await mountsBelow([dir]);
    if (left !== undefined) throw new Error(`${left} is still mounted`);
    for (const name of images)
      await this.#options.imageMounts?.unmountImage(join(this.#imagesDir(uid), name));
    await rm(dir, { recursive: true, force: true });
    this.#options.claimed?.forget(uid);
  }

  /** Pods with files on disk. */
  async leftovers(): Promise<string[]> {
    return readdir(this.#options.dir).catch(() => []);
  }
}

function kindOf(volume: Volume): string {
  return Object.keys(volume).find((key) => key !== 'name') ?? 'unknown';
}

async function makeEmptyDir(
  path: string,
  {
    medium = '',
    sizeLimit,
    fsGroup,
  }: {
    readonly medium?: string | undefined;
    readonly sizeLimit?: string | undefined;
    readonly fsGroup: number | undefined;
  },
): Promise<string> {
  if (medium !== '' && medium !== 'Memory')
    throw new VolumeError(`emptyDir with medium ${JSON.stringify(medium)} is not supported by this node`);
  const existed = await lstat(path).then(
    () => true,
    () => false,
  );
  await mkdir(path, { recursive: true });
  const mounted = medium === 'Memory' && (await isOwnFileSystem(path));
  if (medium === 'Memory' && !mounted) {
    const bytes = sizeLimit === undefined ? 0 : (tryParseQuantity(sizeLimit)?.value() ?? 0);
    await mount(['-t', 'tmpfs', ...(bytes > 0 ? ['-o', `size=${bytes}`] : []), 'tmpfs', path]);
  }
  if (existed && (medium === '' || mounted)) return path;
  if (fsGroup !== undefined) await lchown(path, 0, fsGroup);
  // As tmpfs comes: who wrote a file alone may remove it.
  const sticky = medium === 'Memory' ? 0o1000 : 0;
  await chmod(path, EMPTY_DIR_MODE | sticky | (fsGroup === undefined ? 0 : 0o2000));
  return path;
}
