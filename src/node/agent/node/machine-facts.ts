/** What this machine is and has, read from /proc and its file systems: a Node's capacity, nodeInfo and pressure. */
import { readFileSync } from 'node:fs';
import { readFile, statfs } from 'node:fs/promises';
import { arch, availableParallelism, release, totalmem } from 'node:os';
import type { NodeSystemInfo } from '#api/types.ts';

export interface DiskUsage {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
}
export interface MemoryUsage {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

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

export async function memoryUsage(): Promise<MemoryUsage> {
  const text = await readFile('/proc/meminfo', 'utf8');
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return { totalBytes: kilobytes('MemTotal') * 1024, availableBytes: kilobytes('MemAvailable') * 1024 };
}

export async function diskUsage(path: string): Promise<DiskUsage> {
  const { bsize, blocks, bavail, files, ffree } = await statfs(path);
  return { capacityBytes: bsize * blocks, availableBytes: bsize * bavail, inodes: files, inodesFree: ffree };
}

export interface ProcessUsage {
  readonly limit: number;
  readonly running: number;
}

export async function processUsage(): Promise<ProcessUsage> {
  const [limit, loadavg] = await Promise.all([
    readFile('/proc/sys/kernel/pid_max', 'utf8'),
    readFile('/proc/loadavg', 'utf8'),
  ]);
  // The fourth word is '<running>/<existing>'.
  return { limit: Number(limit), running: Number(loadavg.split(' ')[3]?.split('/')[1] ?? 0) };
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

/** Memory and disk that stay free for the machine itself: upstream's default eviction thresholds (100Mi, 10 %). */
export function allocatable(
  total: Readonly<Record<string, string>>,
  disk: DiskUsage,
): Record<string, string> {
  const kibibytes = Number(total['memory']?.replace('Ki', '') ?? 0);
  return {
    ...total,
    memory: `${Math.max(0, kibibytes - 100 * 1024)}Ki`,
    'ephemeral-storage': String(Math.floor(disk.capacityBytes * 0.9)),
  };
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
