/** Mounts PersistentVolumes, and NFS volumes of pods, into a pod's directory. Kinds that this node does not know are refused by name. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { NFSVolumeSource, PersistentVolume } from '#api/types.ts';
import { LOCAL_PATH_NODE } from '#component-helpers/local-path.ts';
import { isBlockMode } from '#component-helpers/persistent-volumes.ts';
import { mountsBelow } from '../../containerd/teardown.ts';
import { VolumeError } from './errors.ts';
import { prepareHostPath } from './host-path.ts';
import type { LocalPathVolumes } from './local-path-volumes.ts';
import { mount } from './mounts.ts';
import { setOwnership } from './ownership.ts';

interface MountOptions {
  /** '…/pods/<uid>/volumes' */
  readonly base: string;
  /** The pod's volume is read-only: its files keep their owners. */
  readonly readOnly: boolean;
  readonly fsGroup: number | undefined;
  readonly fsGroupChangePolicy: string | undefined;
  readonly localPaths: LocalPathVolumes | undefined;
}

/** The path on the machine: a directory, or the device of a volume of mode Block. Idempotent. Throws VolumeError. */
export async function mountPersistentVolume(
  volume: PersistentVolume,
  options: MountOptions,
): Promise<string> {
  const { spec } = volume;
  const name = volume.metadata?.name ?? '';
  if (isBlockMode(spec?.volumeMode)) return blockDevice(volume);
  if (spec?.hostPath) return prepareHostPath(spec.hostPath);
  if (spec?.local) return mountLocal(volume, options);
  if (spec?.nfs) return mountNfs(spec.nfs, { ...options, name, mountOptions: spec.mountOptions ?? [] });
  throw new VolumeError(`${kindOf(volume)} volumes are not supported by this node`);
}

const NO_SOURCE = new Set([
  'capacity',
  'accessModes',
  'claimRef',
  'persistentVolumeReclaimPolicy',
  'storageClassName',
  'mountOptions',
  'volumeMode',
  'nodeAffinity',
  'volumeAttributesClassName',
]);

function kindOf({ spec }: PersistentVolume): string {
  return Object.keys(spec ?? {}).find((key) => !NO_SOURCE.has(key)) ?? 'unknown';
}

async function blockDevice(volume: PersistentVolume): Promise<string> {
  const path = volume.spec?.local?.path;
  if (path === undefined)
    throw new VolumeError(`${kindOf(volume)} volumes of mode Block are not supported by this node`);
  const stats = await stat(path).catch(() => undefined);
  if (!stats) throw new VolumeError(`path ${JSON.stringify(path)} does not exist`);
  if (!stats.isBlockDevice()) throw new VolumeError(`${path} is not a block device`);
  return path;
}

async function mountLocal(volume: PersistentVolume, options: MountOptions): Promise<string> {
  const { base, readOnly, fsGroup, fsGroupChangePolicy, localPaths } = options;
  const name = volume.metadata?.name ?? '';
  const source =
    volume.metadata?.labels?.[LOCAL_PATH_NODE] !== undefined && localPaths
      ? await localPaths.makeDirectory(volume)
      : (volume.spec?.local?.path ?? '');
  const stats = await stat(source).catch(() => undefined);
  if (!stats) throw new VolumeError(`path ${JSON.stringify(source)} does not exist`);
  if (stats.isBlockDevice())
    throw new VolumeError(
      `${source} is a block device: this node makes no file systems on devices; mount it, and use the directory`,
    );
  if (!stats.isDirectory()) throw new VolumeError(`${source} is not a directory`);
  const target = join(base, 'kubernetes.io~local-volume', name);
  if (await isMounted(target)) return target;
  if (fsGroup !== undefined && !readOnly)
    await setOwnership(source, { group: fsGroup, onRootMismatch: fsGroupChangePolicy === 'OnRootMismatch' });
  await mkdir(target, { recursive: true, mode: 0o750 });
  await mount(['--bind', source, target]);
  const flags = volume.spec?.mountOptions ?? [];
  // A bind mount takes options only when it is there.
  if (flags.length > 0) await mount(['-o', ['bind', 'remount', ...flags].join(), target]);
  return target;
}

/** Needs mount.nfs and a kernel that knows NFS: mount(8) says what lacks. */
export async function mountNfs(
  { server, path, readOnly = false }: NFSVolumeSource,
  {
    base,
    name,
    mountOptions = [],
  }: { readonly base: string; readonly name: string; readonly mountOptions?: readonly string[] },
): Promise<string> {
  const target = join(base, 'kubernetes.io~nfs', name);
  if (await isMounted(target)) return target;
  await mkdir(dirname(target), { recursive: true, mode: 0o750 });
  await mkdir(target, { recursive: true, mode: 0o750 });
  const host = server.includes(':') && !server.startsWith('[') ? `[${server}]` : server;
  const flags = [...mountOptions, ...(readOnly ? ['ro'] : [])];
  await mount(['-t', 'nfs', ...(flags.length > 0 ? ['-o', flags.join()] : []), `${host}:${path}`, target]);
  return target;
}

async function isMounted(path: string): Promise<boolean> {
  return (await mountsBelow([path])).includes(path);
}
