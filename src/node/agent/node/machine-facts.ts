/** Facts of this machine, read from /proc and its file systems: a Node's capacity, nodeInfo and pressure. */
import { readFileSync } from 'node:fs';
import { readFile, statfs } from 'node:fs/promises';
import { arch, availableParallelism, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { NodeSystemInfo } from '#api/types.ts';
import { Quantity } from '#machinery/quantity.ts';
import type { NodeLimits } from '../cgroups.ts';

export interface DiskUsage {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
}
interface MemoryUsage {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

/** Default reservation, so that a fork bomb in a pod leaves the machine usable. Upstream reserves none. */
const RESERVED_PROCESSES = 1000;
const RESERVED_PROCESSES_SHARE = 0.1;

const GO_ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: '386',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
};

export function goArchitecture(): string {
  return GO_ARCHITECTURES[arch()] ?? arch();
}

export function memoryBytes(): number {
  return totalmem();
}

/** As upstream: available is what is not in the working set, which is used memory without file pages that are not active. */
export async function memoryUsage(proc = '/proc'): Promise<MemoryUsage> {
  const text = await readFile(join(proc, 'meminfo'), 'utf8');
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return {
    totalBytes: kilobytes('MemTotal') * 1024,
    availableBytes: (kilobytes('MemFree') + kilobytes('Inactive\\(file\\)')) * 1024,
  };
}

export async function diskUsage(path: string): Promise<DiskUsage> {
  const { bsize, blocks, bavail, files, ffree } = await statfs(path);
  return { capacityBytes: bsize * blocks, availableBytes: bsize * bavail, inodes: files, inodesFree: ffree };
}

/** Reservations by resource: 'cpu', 'memory', 'ephemeral-storage', 'pid'. */
export type Reserved = Readonly<Partial<Record<'cpu' | 'memory' | 'ephemeral-storage' | 'pid', Quantity>>>;

interface ProcessUsage {
  readonly limit: number;
  readonly running: number;
}

export async function processUsage(proc = '/proc'): Promise<ProcessUsage> {
  const [pids, threads, loadavg] = await Promise.all(
    ['sys/kernel/pid_max', 'sys/kernel/threads-max', 'loadavg'].map((name) =>
      readFile(join(proc, name), 'utf8'),
    ) as [Promise<string>, Promise<string>, Promise<string>],
  );
  // The fourth word is '<running>/<existing>'.
  return {
    limit: Math.min(Number(pids), Number(threads)),
    running: Number(loadavg.split(' ')[3]?.split('/')[1] ?? 0),
  };
}

/** Capacity as a Node shows it. */
export function capacity(disk: DiskUsage, maximumPods: number): Record<string, string> {
  return {
    cpu: String(availableParallelism()),
    memory: `${Math.floor(memoryBytes() / 1024)}Ki`,
    'ephemeral-storage': `${Math.floor(disk.capacityBytes / 1024)}Ki`,
    'hugepages-1Gi': hugepages(1024 * 1024),
    'hugepages-2Mi': hugepages(2048),
    pods: String(maximumPods),
  };
}

function hugepages(kilobytes: number): string {
  const bytes =
    Number(readOr(`/sys/kernel/mm/hugepages/hugepages-${kilobytes}kB/nr_hugepages`, '0')) * kilobytes * 1024;
  return bytes === 0 ? '0' : `${bytes / 1024 / 1024}Mi`;
}

/** In bytes: what hard eviction thresholds keep from pods. */
interface EvictionReserve {
  readonly memoryBytes: number;
  readonly storageBytes: number;
}

/** Capacity minus reservations and hard eviction thresholds. */
export function allocatable(
  total: Readonly<Record<string, string>>,
  {
    disk,
    reserved,
    eviction,
  }: { readonly disk: DiskUsage; readonly reserved: Reserved; readonly eviction: EvictionReserve },
): Record<string, string> {
  const kept = amountOf(reserved, 'memory') + eviction.memoryBytes;
  const kibibytes = Number(total['memory']?.replace('Ki', '') ?? 0) - kept / 1024;
  const milliCpu = availableParallelism() * 1000 - (reserved.cpu?.milliValue() ?? 0);
  return {
    ...total,
    cpu: milliCpu % 1000 === 0 ? String(Math.max(0, milliCpu / 1000)) : `${Math.max(0, milliCpu)}m`,
    memory: `${Math.max(0, Math.floor(kibibytes))}Ki`,
    'ephemeral-storage': String(
      Math.max(0, disk.capacityBytes - eviction.storageBytes - amountOf(reserved, 'ephemeral-storage')),
    ),
  };
}

/** What pods' cgroups together are held to: as upstream, without the eviction thresholds. */
export async function nodeLimits(reserved: Reserved): Promise<NodeLimits> {
  const { limit } = await processUsage();
  const ownProcesses = Math.min(RESERVED_PROCESSES, Math.floor(limit * RESERVED_PROCESSES_SHARE));
  return {
    milliCpu: Math.max(0, availableParallelism() * 1000 - (reserved.cpu?.milliValue() ?? 0)),
    memoryBytes: Math.max(0, memoryBytes() - amountOf(reserved, 'memory')),
    processes: Math.max(1, limit - (reserved.pid?.value() ?? ownProcesses)),
  };
}

function amountOf(reserved: Reserved, name: keyof Reserved): number {
  return (reserved[name] ?? Quantity.zero).value();
}

export function systemInfo(of: {
  readonly kubeletVersion: string;
  readonly runtimeVersion: string;
}): NodeSystemInfo {
  return {
    machineID: readOr('/etc/machine-id', ''),
    systemUUID: readOr('/sys/class/dmi/id/product_uuid', readOr('/etc/machine-id', '')),
    bootID: readOr('/proc/sys/kernel/random/boot_id', ''),
    kernelVersion: release(),
    osImage: osImage(),
    containerRuntimeVersion: of.runtimeVersion,
    kubeletVersion: of.kubeletVersion,
    kubeProxyVersion: '',
    operatingSystem: 'linux',
    architecture: goArchitecture(),
  };
}

function osImage(): string {
  return /^PRETTY_NAME="?([^"\n]*)"?/m.exec(readOr('/etc/os-release', ''))?.[1] ?? 'Linux';
}

function readOr(path: string, fallback: string): string {
  try {
    return readFileSync(path, 'utf8').trim() || fallback;
  } catch {
    return fallback;
  }
}
