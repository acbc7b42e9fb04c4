/** Measures what pods use of the node: memory and processes from their cgroups, writable layers from the runtime, logs and emptyDirs from their files. */
import { join } from 'node:path';
import type { Pod, Volume } from '#api/types.ts';
import type { CriClient } from '../../cri/client.ts';
import type { ContainerStats } from '../../cri/types.ts';
import type { Cgroups } from '../cgroups.ts';
import { podCgroup } from '../config/resources.ts';
import { LABELS } from '../labels.ts';
import { podLogDirectory } from '../pod/pod-text.ts';
import type { PodVolumes } from '../volumes/pod-volumes.ts';
import { diskUseBelow, sumOfUses } from './disk-use.ts';
import type { DiskUse, PodUse } from './rank.ts';

export interface PodUseDependencies {
  readonly cri: Pick<CriClient, 'listContainerStats'>;
  readonly cgroups: Pick<Cgroups, 'usage' | 'processes'>;
  readonly cgroupRoot: string;
  readonly volumes: Pick<PodVolumes, 'emptyDirPath'>;
  /** Of pods' logs. */
  readonly logsDir: string;
}

/** Of a container: its writable layer and its logs. */
interface ContainerDisk {
  readonly rootfs: DiskUse;
  readonly logs: DiskUse;
}

interface PodDisk {
  /** By name; those on disk. */
  readonly volumes: ReadonlyMap<string, DiskUse>;
  readonly containers: ReadonlyMap<string, ContainerDisk>;
}

/** Those in memory have their limit from the file system. */
export function diskVolumes({ spec }: Pod): Volume[] {
  return (spec?.volumes ?? []).filter(({ emptyDir }) => emptyDir && emptyDir.medium !== 'Memory');
}

/** stats: of all containers. Counts files: not for free. */
export async function measureDisk(
  pod: Pod,
  {
    stats,
    volumes,
    logsDir,
  }: { readonly stats: readonly ContainerStats[] } & Pick<PodUseDependencies, 'volumes' | 'logsDir'>,
): Promise<PodDisk> {
  const { uid = '' } = pod.metadata ?? {};
  const used = new Map<string, DiskUse>();
  const containers = new Map<string, ContainerDisk>();
  for (const { name } of diskVolumes(pod))
    used.set(name, await diskUseBelow(volumes.emptyDirPath(uid, name)));
  for (const { name } of [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])])
    containers.set(name, {
      rootfs: sumOfUses(statsOf(stats, uid, name).map(layerUse)),
      logs: await diskUseBelow(join(podLogDirectory(logsDir, pod), name)),
    });
  return { volumes: used, containers };
}

/** Of pods that are candidates for eviction, in the same order. disk: their files too. undefined: there is nothing of the pod. Rejects with CriError. */
export async function measurePods(
  pods: readonly Pod[],
  { disk, ...dependencies }: PodUseDependencies & { readonly disk: boolean },
): Promise<(PodUse | undefined)[]> {
  const { stats } = await dependencies.cri.listContainerStats({});
  const measured: (PodUse | undefined)[] = [];
  for (const pod of pods) measured.push(await measurePod(pod, { ...dependencies, stats, disk }));
  return measured;
}

async function measurePod(
  pod: Pod,
  {
    stats,
    disk,
    ...dependencies
  }: PodUseDependencies & { readonly stats: readonly ContainerStats[]; readonly disk: boolean },
): Promise<PodUse | undefined> {
  const { uid = '' } = pod.metadata ?? {};
  const { cgroups, cgroupRoot: root } = dependencies;
  const { path } = podCgroup(pod.spec ?? { containers: [] }, { root, uid });
  const [whole, processes] = await Promise.all([cgroups.usage(path), cgroups.processes(path)]);
  const own = stats.filter(({ attributes }) => attributes?.labels[LABELS.podUID] === uid);
  if (!whole && own.length === 0) return undefined;
  const files = disk ? await measureDisk(pod, { ...dependencies, stats }) : undefined;
  const containers = own.map(({ attributes, memory }) => {
    const name = attributes?.labels[LABELS.containerName] ?? '';
    return { name, memoryBytes: memory?.workingSetBytes?.value ?? 0, ...files?.containers.get(name) };
  });
  return {
    memoryBytes: whole?.workingSetBytes ?? containers.reduce((sum, one) => sum + one.memoryBytes, 0),
    processes: processes ?? 0,
    containers,
    volumes: files && sumOfUses([...files.volumes.values()]),
  };
}

function statsOf(stats: readonly ContainerStats[], uid: string, name: string): readonly ContainerStats[] {
  return stats.filter(
    ({ attributes }) =>
      attributes?.labels[LABELS.podUID] === uid && attributes.labels[LABELS.containerName] === name,
  );
}

function layerUse({ writableLayer }: ContainerStats): DiskUse {
  return { bytes: writableLayer?.usedBytes?.value ?? 0, inodes: writableLayer?.inodesUsed?.value ?? 0 };
}
