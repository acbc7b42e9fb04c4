/** Measures the eviction signals of this machine. */
import { stat } from 'node:fs/promises';
import type { CriClient } from '../../cri/client.ts';
import type { Cgroups, NodeLimits } from '../cgroups.ts';
import { diskUsage, memoryUsage, processUsage, type DiskUsage } from '../node/machine-facts.ts';
import type { FileSystems, Observation, Observations, Signal } from './thresholds.ts';

export interface NodeSignalsOptions {
  readonly cri: Pick<CriClient, 'imageFsInfo'>;
  readonly cgroups: Pick<Cgroups, 'usage'>;
  readonly cgroupRoot: string;
  /** Of pods' volumes and logs: nodefs. */
  readonly dir: string;
  /** The file system of images where the runtime does not say. */
  readonly imageDir: string;
  /** Of all pods together. */
  readonly limits: () => Promise<NodeLimits>;
  /** Default /proc. */
  readonly proc?: string | undefined;
}

/** nodefs, imagefs and containerfs. */
export interface Directories {
  readonly node: string;
  readonly images: string;
  readonly containers: string;
}

/** Where the runtime keeps images and containers' layers. Rejects with CriError. */
export async function fileSystemDirectories({
  cri,
  dir,
  imageDir,
}: NodeSignalsOptions): Promise<Directories> {
  const { imageFilesystems, containerFilesystems } = await cri.imageFsInfo({});
  const images = imageFilesystems[0]?.fsId?.mountpoint || imageDir;
  return { node: dir, images, containers: containerFilesystems[0]?.fsId?.mountpoint || images };
}

export async function compareFileSystems({ node, images, containers }: Directories): Promise<FileSystems> {
  const [nodeDevice, imageDevice, containerDevice] = await Promise.all(
    [node, images, containers].map(async (path) => (await stat(path)).dev),
  );
  return {
    dedicatedImages: imageDevice !== nodeDevice,
    splitContainers: containerDevice !== imageDevice,
  };
}

export async function observeNode(
  { cgroups, cgroupRoot, limits, proc }: NodeSignalsOptions,
  directories: Directories,
): Promise<Observations> {
  const [memory, processes, pods, { memoryBytes }] = await Promise.all([
    memoryUsage(proc),
    processUsage(proc),
    cgroups.usage(`${cgroupRoot}/kubepods`),
    limits(),
  ]);
  const [node, images, containers] = await Promise.all([
    diskUsage(directories.node),
    diskUsage(directories.images),
    diskUsage(directories.containers),
  ]);
  const observations = new Map<Signal, Observation>([
    ['memory.available', { available: memory.availableBytes, capacity: memory.totalBytes }],
    ...diskSignals('nodefs', node),
    ...diskSignals('imagefs', images),
    ...diskSignals('containerfs', containers),
    ['pid.available', { available: processes.limit - processes.running, capacity: processes.limit }],
  ]);
  if (pods)
    observations.set('allocatableMemory.available', {
      available: Math.max(0, memoryBytes - pods.workingSetBytes),
      capacity: memoryBytes,
    });
  return observations;
}

/** Some file systems do not count inodes. */
function diskSignals(
  name: 'nodefs' | 'imagefs' | 'containerfs',
  { availableBytes, capacityBytes, inodes, inodesFree }: DiskUsage,
): [Signal, Observation][] {
  return [
    [`${name}.available`, { available: availableBytes, capacity: capacityBytes }],
    ...(inodes > 0
      ? [[`${name}.inodesFree`, { available: inodesFree, capacity: inodes }] satisfies [Signal, Observation]]
      : []),
  ];
}
