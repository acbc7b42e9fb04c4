/**
 * Pod cgroups: one per pod, with the sums of its containers, below one per QoS class, all below one limited to the node's allocatable resources.
 * Cgroup v1 and v2, in the layout of the cgroupfs driver. On hybrid machines (v1 beside an empty v2) the runtime creates directories in both
 * hierarchies, so both are removed.
 */
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { milliCpuToShares, sharesToWeight, type PodCgroup } from './config/resources.ts';

const BASE = '/sys/fs/cgroup';
const PERIOD = '100000';
/** The controllers that are enabled on the path to a pod's cgroup. */
const CONTROLLERS = ['cpu', 'cpuset', 'memory', 'pids', 'io', 'hugetlb'];
/** The v1 hierarchies in which the node itself creates cgroups; the runtime creates the others. */
const CONTROLLERS_OF_VERSION_1 = ['cpu', 'memory', 'pids'];
/** How often the processes of a cgroup are killed before it is removed, in case they fork meanwhile. Upstream's number. */
const KILL_ROUNDS = 5;
const KILL_PAUSE_MS = 20;

/** Limits of all pods together. */
export interface NodeLimits {
  readonly milliCpu: number;
  readonly memoryBytes: number;
  readonly processes: number;
}

export interface Cgroups {
  readonly version: 1 | 2;
  ensure(cgroup: PodCgroup): Promise<void>;
  /** Updates an existing cgroup. Throws when the kernel refuses. */
  update(cgroup: PodCgroup): Promise<void>;
  /** Kills the processes in it, then removes it. Best effort: a cgroup is busy for a moment after its last process has exited. */
  remove(path: string): Promise<void>;
  /** The existing pod cgroups below this root: path and pod UID. */
  list(root: string): Promise<{ readonly path: string; readonly uid: string }[]>;
  /** CPU shares of the burstable QoS cgroup. */
  setBurstableMilliCpu(root: string, milli: number): Promise<void>;
  /** Applies the node's limits to the cgroup of all pods. Throws when the kernel refuses, as it does for a memory limit below current usage. */
  enforceNode(root: string, limits: NodeLimits): Promise<void>;
  /** undefined: the cgroup does not exist. */
  usage(path: string): Promise<CgroupUsage | undefined>;
  /** Further counters, for metrics. undefined: the cgroup does not exist. */
  details(path: string): Promise<CgroupDetails | undefined>;
  /** How many processes are in the cgroup and below it. undefined: the cgroup does not exist, or the machine does not count them. */
  processes(path: string): Promise<number | undefined>;
  /** A process in the cgroup or below it, if there is one. */
  processOf(path: string): Promise<number | undefined>;
  /** Whether swap can be disabled for containers below this root. */
  controlsSwap(root: string): boolean;
}

/** Usage of all processes in a cgroup and below it. */
export interface CgroupUsage {
  readonly cpuNanos: number;
  readonly memoryBytes: number;
  /** The working set: without memory that the kernel could reclaim at once. */
  readonly workingSetBytes: number;
  readonly rssBytes: number;
}

/** The kernel's accounting of a cgroup and its descendants. A missing controller counts nothing. */
export interface CgroupDetails {
  readonly cfsPeriods: number;
  readonly cfsThrottledPeriods: number;
  readonly cacheBytes: number;
  readonly disks: readonly DiskCounters[];
}

interface DiskCounters {
  /** '/dev/sda' */
  readonly device: string;
  readonly reads: number;
  readonly writes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
}

interface CgroupsOptions {
  readonly log: Logger;
  /** Maximum number of processes in one pod; undefined: unlimited. */
  readonly podPidsLimit?: number | undefined;
}

export function createCgroups({ log, podPidsLimit }: CgroupsOptions): Cgroups {
  const version = existsSync(join(BASE, 'cgroup.controllers')) ? 2 : 1;
  const hierarchies = version === 2 ? [BASE] : mountsOfType(['cgroup', 'cgroup2']);
  const write = async (path: string, text: string): Promise<void> => {
    await writeFile(path, text).catch((error: unknown) =>
      log.debug('error writing a cgroup setting', { path, error: errorMessage(error) }),
    );
  };

  async function make(path: string): Promise<void> {
    if (version === 1) {
      for (const controller of CONTROLLERS_OF_VERSION_1) {
        const hierarchy = hierarchyOf(controller);
        if (hierarchy) await mkdir(join(hierarchy, path), { recursive: true });
      }
      return;
    }
    let at = BASE;
    for (const part of path.split('/').filter((name) => name !== '')) {
      const available = new Set(readFileSync(join(at, 'cgroup.controllers'), 'utf8').trim().split(' '));
      for (const controller of CONTROLLERS.filter((name) => available.has(name)))
        await write(join(at, 'cgroup.subtree_control'), `+${controller}`);
      at = join(at, part);
      await mkdir(at, { recursive: true });
    }
  }

  function hierarchyOf(controller: string): string | undefined {
    return hierarchies.find((path) => path.split('/').pop()?.split(',').includes(controller));
  }

  /** Path of a file of this controller; undefined: the machine does not have the controller. */
  function fileOf(
    controller: string,
    { path, name }: { readonly path: string; readonly name: string },
  ): string | undefined {
    const hierarchy = version === 2 ? BASE : hierarchyOf(controller);
    return hierarchy && join(hierarchy, path, name);
  }

  async function setPids(path: string, limit: number | undefined): Promise<void> {
    const file = fileOf('pids', { path, name: 'pids.max' });
    if (file) await write(file, limit === undefined ? 'max' : String(limit));
  }

  async function setShares(path: string, shares: number): Promise<void> {
    if (version === 2) await write(join(BASE, path, 'cpu.weight'), String(sharesToWeight(shares)));
    else if (hierarchyOf('cpu'))
      await write(join(hierarchyOf('cpu') ?? '', path, 'cpu.shares'), String(shares));
  }

  return {
    version,
    async ensure({ path, cpuShares, cpuQuota, memoryLimitBytes }) {
      await make(path);
      const parent = dirname(path);
      if (parent.endsWith('/besteffort')) await setShares(parent, milliCpuToShares(0));
      await setShares(path, cpuShares);
      await setPids(path, podPidsLimit);
      if (version === 2) {
        await write(join(BASE, path, 'cpu.max'), `${cpuQuota > 0 ? cpuQuota : 'max'} ${PERIOD}`);
        await write(join(BASE, path, 'memory.max'), memoryLimitBytes > 0 ? String(memoryLimitBytes) : 'max');
        return;
      }
      const cpu = hierarchyOf('cpu');
      const memory = hierarchyOf('memory');
      if (cpu && cpuQuota > 0) {
        await write(join(cpu, path, 'cpu.cfs_period_us'), PERIOD);
        await write(join(cpu, path, 'cpu.cfs_quota_us'), String(cpuQuota));
      }
      if (memory && memoryLimitBytes > 0)
        await write(join(memory, path, 'memory.limit_in_bytes'), String(memoryLimitBytes));
    },
    async update({ path, cpuShares, cpuQuota, memoryLimitBytes }) {
      const memory = hierarchyOf('memory');
      const cpu = hierarchyOf('cpu');
      await setShares(path, cpuShares);
      if (version === 2) {
        await writeFile(join(BASE, path, 'cpu.max'), `${cpuQuota > 0 ? cpuQuota : 'max'} ${PERIOD}`);
        await writeFile(
          join(BASE, path, 'memory.max'),
          memoryLimitBytes > 0 ? String(memoryLimitBytes) : 'max',
        );
        return;
      }
      if (cpu) await writeFile(join(cpu, path, 'cpu.cfs_quota_us'), String(cpuQuota > 0 ? cpuQuota : -1));
      if (memory)
        await writeFile(
          join(memory, path, 'memory.limit_in_bytes'),
          String(memoryLimitBytes > 0 ? memoryLimitBytes : -1),
        );
    },
    async remove(path) {
      await killProcesses(hierarchies.map((hierarchy) => join(hierarchy, path)));
      for (const hierarchy of hierarchies) await removeTree(join(hierarchy, path));
    },
    async list(root) {
      const found = new Map<string, string>();
      for (const hierarchy of hierarchies) {
        for (const qos of ['', '/besteffort', '/burstable']) {
          const parent = `${root}/kubepods${qos}`;
          for (const name of await readdir(join(hierarchy, parent)).catch(() => []))
            if (name.startsWith('pod')) found.set(`${parent}/${name}`, name.slice(3));
        }
      }
      return [...found].map(([path, uid]) => ({ path, uid }));
    },
    async setBurstableMilliCpu(root, milli) {
      const path = `${root}/kubepods/burstable`;
      await make(path);
      await setShares(path, milliCpuToShares(milli));
    },
    async enforceNode(root, { milliCpu, memoryBytes, processes }) {
      const path = `${root}/kubepods`;
      await make(path);
      await setShares(path, milliCpuToShares(milliCpu));
      await setPids(path, processes);
      const file = fileOf('memory', { path, name: version === 2 ? 'memory.max' : 'memory.limit_in_bytes' });
      if (file) await writeFile(file, String(memoryBytes));
    },
    async usage(path) {
      const file = (controller: string, name: string): Promise<string> =>
        readFile(fileOf(controller, { path, name }) ?? '', 'utf8');
      const texts =
        version === 2
          ? [file('cpu', 'cpu.stat'), file('memory', 'memory.current'), file('memory', 'memory.stat')]
          : [
              file('cpuacct', 'cpuacct.usage'),
              file('memory', 'memory.usage_in_bytes'),
              file('memory', 'memory.stat'),
            ];
      const [cpu, memory, details] = await Promise.all(texts).catch(() => []);
      return cpu === undefined || memory === undefined || details === undefined
        ? undefined
        : computeUsage(version, { cpu, memory, details });
    },
    async details(path) {
      const file = (controller: string, name: string): Promise<string> =>
        readFile(fileOf(controller, { path, name }) ?? '', 'utf8').catch(() => '');
      const cpu = await file('cpu', 'cpu.stat');
      if (cpu === '') return undefined;
      const memory = await file('memory', 'memory.stat');
      const disks =
        version === 2
          ? disksOfVersion2(await file('io', 'io.stat'))
          : disksOfVersion1(
              await file('blkio', 'blkio.throttle.io_service_bytes_recursive'),
              await file('blkio', 'blkio.throttle.io_serviced_recursive'),
            );
      return {
        cfsPeriods: numberIn(cpu, 'nr_periods'),
        cfsThrottledPeriods: numberIn(cpu, 'nr_throttled'),
        cacheBytes: numberIn(memory, version === 2 ? 'file' : 'total_cache'),
        disks,
      };
    },
    async processes(path) {
      const file = fileOf('pids', { path, name: 'pids.current' });
      const text = file && (await readFile(file, 'utf8').catch(() => undefined));
      return text === undefined ? undefined : Number(text);
    },
    async processOf(path) {
      const procs = fileOf('memory', { path, name: 'cgroup.procs' });
      return procs === undefined ? undefined : (await processesBelow(dirname(procs)))[0];
    },
    controlsSwap: (root) => version === 2 && existsSync(join(BASE, root, 'kubepods', 'memory.swap.max')),
  };
}

interface UsageFiles {
  readonly cpu: string;
  readonly memory: string;
  readonly details: string;
}

function numberIn(text: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
}

/** By device number, 'major:minor'. Lines of version 2: '8:0 rbytes=1 wbytes=2 rios=3 wios=4 …'. */
function disksOfVersion2(io: string): DiskCounters[] {
  return Array.from(io.matchAll(/^(\d+:\d+) (.*)$/gm), ([, device = '', rest = '']) => {
    const field = (name: string): number => Number(new RegExp(`\\b${name}=(\\d+)`).exec(rest)?.[1] ?? 0);
    return {
      device: deviceName(device),
      reads: field('rios'),
      writes: field('wios'),
      readBytes: field('rbytes'),
      writtenBytes: field('wbytes'),
    };
  });
}

/** From two files with lines such as '8:0 Read 123'. */
function disksOfVersion1(bytes: string, operations: string): DiskCounters[] {
  const of = (text: string, device: string, word: string): number => numberIn(text, `${device} ${word}`);
  const devices = new Set(Array.from(bytes.matchAll(/^(\d+:\d+) /gm), ([, device = '']) => device));
  return Array.from(devices, (device) => ({
    device: deviceName(device),
    reads: of(operations, device, 'Read'),
    writes: of(operations, device, 'Write'),
    readBytes: of(bytes, device, 'Read'),
    writtenBytes: of(bytes, device, 'Write'),
  }));
}

/** '8:0' → '/dev/sda'; the number if the kernel has no name for it. */
function deviceName(number: string): string {
  try {
    return `/dev/${basename(readlinkSync(`/sys/dev/block/${number}`))}`;
  } catch {
    return number;
  }
}

function computeUsage(version: 1 | 2, { cpu, memory, details }: UsageFiles): CgroupUsage {
  const field = (text: string, name: string): number =>
    Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  const memoryBytes = Number(memory);
  const inactive = field(details, version === 2 ? 'inactive_file' : 'total_inactive_file');
  return {
    cpuNanos: version === 2 ? field(cpu, 'usage_usec') * 1000 : Number(cpu),
    memoryBytes,
    workingSetBytes: Math.max(0, memoryBytes - inactive),
    rssBytes: field(details, version === 2 ? 'anon' : 'total_rss'),
  };
}

/** Kills the processes of a cgroup and of its descendants, before its removal. */
async function killProcesses(dirs: readonly string[]): Promise<void> {
  for (let round = 0; round < KILL_ROUNDS; round += 1) {
    const pids = new Set((await Promise.all(dirs.map(processesBelow))).flat());
    if (pids.size === 0) return;
    for (const pid of pids) killQuietly(pid);
    await sleep(KILL_PAUSE_MS);
  }
}

/** Processes of another PID namespace are read as 0. */
async function processesBelow(dir: string): Promise<number[]> {
  const text = await readFile(join(dir, 'cgroup.procs'), 'utf8').catch(() => '');
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  const below = entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => processesBelow(join(dir, name)));
  return [...text.split('\n').map(Number), ...(await Promise.all(below)).flat()].filter((pid) => pid > 1);
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // The process has exited meanwhile.
  }
}

function mountsOfType(types: readonly string[]): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, path = '', type] = line.split(' ');
      return types.includes(type ?? '') ? [path] : [];
    });
}

async function removeTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => []))
    if (entry.isDirectory()) await removeTree(join(dir, entry.name));
  await rmdir(dir).catch(() => {});
}
