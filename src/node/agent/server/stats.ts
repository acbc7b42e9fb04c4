/**
 * /stats/summary: resource usage of the node and its pods, in upstream's stats/v1alpha1 shape. As upstream only running containers are listed; a pod's
 * own usage is its cgroup's, including the sandbox.
 */
import { isoTime } from '#stdx/dates.ts';
import { readFile } from 'node:fs/promises';
import { availableParallelism, uptime } from 'node:os';
import type { CriClient } from '../../cri/client.ts';
import type { ContainerStats } from '../../cri/types.ts';
import type { CgroupDetails, CgroupUsage } from '../cgroups.ts';
import type { InterfaceCounters } from './pod-network.ts';
import { LABELS } from '../labels.ts';
import { diskUsage, memoryUsage } from '../node/machine-facts.ts';

const NANOS_PER_MS = 1e6;
const CPU_TICKS_PER_SECOND = 100;

/** What something used until, and uses at, a time. undefined: the runtime does not say. */
export interface Usage {
  readonly atMs: number;
  readonly cpuSeconds: number;
  readonly workingSetBytes: number;
  readonly memoryBytes: number;
  readonly rssBytes?: number | undefined;
  readonly swapBytes?: number | undefined;
  readonly diskBytes?: number | undefined;
  /** What else the kernel counts of a container. */
  readonly details?: CgroupDetails | undefined;
}

export interface ContainerUsage extends Usage {
  readonly id: string;
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}
export interface PodUsage extends Usage {
  readonly namespace: string;
  readonly pod: string;
  readonly interfaces: readonly InterfaceCounters[];
}
export interface NodeUsage extends Usage {
  readonly cores: number;
  readonly memoryTotalBytes: number;
}

interface Sample {
  readonly usage: number;
  readonly atMs: number;
}

interface StatsSummaryOptions {
  readonly cri: CriClient;
  readonly nodeName: string;
  readonly dir: string;
  /** Of the pod's cgroup, by its uid; undefined: there is none. */
  readonly podUsage: (uid: string) => Promise<CgroupUsage | undefined>;
  readonly details: (uid: string, containerId: string) => Promise<CgroupDetails | undefined>;
  readonly interfaces: (uid: string) => Promise<readonly InterfaceCounters[]>;
}

/** Keeps the previous counter, to compute a rate: older runtimes do not report CRI's own rate. */
export class StatsSummary {
  readonly #cri: CriClient;
  readonly #nodeName: string;
  readonly #dir: string;
  readonly #podUsage: StatsSummaryOptions['podUsage'];
  readonly #options: StatsSummaryOptions;
  readonly #samples = new Map<string, Sample & { readonly rate: number }>();

  constructor(options: StatsSummaryOptions) {
    const { cri, nodeName, dir, podUsage } = options;
    this.#options = options;
    this.#podUsage = podUsage;
    this.#cri = cri;
    this.#nodeName = nodeName;
    this.#dir = dir;
  }

  /** startOf: when a container that runs began, by its id. */
  async summary(startOf: (id: string) => number | undefined): Promise<object> {
    const [stats, node] = await Promise.all([this.#running(), this.#node()]);
    const byPod = Map.groupBy(stats, podUIDOf);
    const ids = new Set(['node', ...byPod.keys(), ...stats.map(({ attributes }) => attributes?.id ?? '')]);
    for (const id of this.#samples.keys()) if (!ids.has(id)) this.#samples.delete(id);
    const pods = Array.from(byPod, async ([uid, containers]) =>
      this.#pod(uid, { stats: containers, startOf, whole: await this.#podUsage(uid) }),
    );
    return { node, pods: await Promise.all(pods) };
  }

  /** Of pods' containers that run. */
  async #running(): Promise<ContainerStats[]> {
    const [{ stats }, { containers }] = await Promise.all([
      this.#cri.listContainerStats({}),
      this.#cri.listContainers({ filter: { state: { state: 'CONTAINER_RUNNING' } } }),
    ]);
    const running = new Set(containers.map(({ id }) => id));
    return stats.filter((one) => running.has(one.attributes?.id ?? '') && podUIDOf(one) !== '');
  }

  /** The same by itself, for metrics. */
  async usage(): Promise<{
    readonly node: NodeUsage;
    readonly containers: readonly ContainerUsage[];
    readonly pods: readonly PodUsage[];
  }> {
    const [stats, cpuSeconds, memory] = await Promise.all([this.#running(), nodeCpuSeconds(), memoryUsage()]);
    const usedBytes = memory.totalBytes - memory.availableBytes;
    return {
      node: {
        atMs: Date.now(),
        cpuSeconds,
        workingSetBytes: usedBytes,
        memoryBytes: usedBytes,
        cores: availableParallelism(),
        memoryTotalBytes: memory.totalBytes,
      },
      containers: await Promise.all(stats.map((one) => this.#detailed(one))),
      pods: await Promise.all(
        Array.from(Map.groupBy(stats, podUIDOf), async ([uid, all]) =>
          podUsageOf(all.map(computeUsage), {
            whole: await this.#podUsage(uid),
            interfaces: await this.#options.interfaces(uid),
          }),
        ),
      ),
    };
  }

  async #detailed(stats: ContainerStats): Promise<ContainerUsage> {
    const usage = computeUsage(stats);
    return { ...usage, details: await this.#options.details(podUIDOf(stats), usage.id) };
  }

  #pod(
    uid: string,
    {
      stats,
      startOf,
      whole,
    }: {
      readonly stats: readonly ContainerStats[];
      readonly startOf: (id: string) => number | undefined;
      readonly whole: CgroupUsage | undefined;
    },
  ): object {
    const labels = stats[0]?.attributes?.labels ?? {};
    const containers = stats.map((one) => this.#container(one, startOf));
    const sum = (read: (one: (typeof containers)[number]) => number): number =>
      containers.reduce((total, one) => total + read(one), 0);
    const time = containers[0]?.cpu.time ?? text(Date.now());
    return {
      podRef: { name: labels[LABELS.podName] ?? '', namespace: labels[LABELS.podNamespace] ?? '', uid },
      startTime: containers.reduce((first, { startTime }) => (startTime < first ? startTime : first), time),
      containers,
      cpu: {
        time,
        usageNanoCores: whole
          ? this.#rate(uid, { usage: whole.cpuNanos, atMs: Date.now() })
          : sum(({ cpu }) => cpu.usageNanoCores),
        usageCoreNanoSeconds: whole?.cpuNanos ?? sum(({ cpu }) => cpu.usageCoreNanoSeconds),
      },
      memory: {
        time,
        usageBytes: whole?.memoryBytes ?? sum(({ memory }) => memory.usageBytes),
        workingSetBytes: whole?.workingSetBytes ?? sum(({ memory }) => memory.workingSetBytes),
        rssBytes: whole?.rssBytes ?? sum(({ memory }) => memory.rssBytes),
      },
    };
  }

  #container(
    { attributes, cpu, memory, writableLayer }: ContainerStats,
    startOf: (id: string) => number | undefined,
  ) {
    const usage = cpu?.usageCoreNanoSeconds?.value ?? 0;
    const atMs = (cpu?.timestamp ?? 0) / NANOS_PER_MS || Date.now();
    const time = text(atMs);
    return {
      name: attributes?.labels[LABELS.containerName] ?? attributes?.metadata?.name ?? '',
      startTime: text(startOf(attributes?.id ?? '') ?? atMs),
      cpu: {
        time,
        usageNanoCores: cpu?.usageNanoCores?.value || this.#rate(attributes?.id ?? '', { usage, atMs }),
        usageCoreNanoSeconds: usage,
      },
      memory: {
        time,
        usageBytes: memory?.usageBytes?.value ?? memory?.workingSetBytes?.value ?? 0,
        workingSetBytes: memory?.workingSetBytes?.value ?? 0,
        rssBytes: memory?.rssBytes?.value ?? 0,
        pageFaults: memory?.pageFaults?.value ?? 0,
        majorPageFaults: memory?.majorPageFaults?.value ?? 0,
      },
      rootfs: {
        time,
        usedBytes: writableLayer?.usedBytes?.value ?? 0,
        inodesUsed: writableLayer?.inodesUsed?.value ?? 0,
      },
    };
  }

  async #node(): Promise<object> {
    const [cpuSeconds, memory, disk] = await Promise.all([
      nodeCpuSeconds(),
      memoryUsage(),
      diskUsage(this.#dir),
    ]);
    const usage = cpuSeconds * 1e9;
    const atMs = Date.now();
    const time = text(atMs);
    return {
      nodeName: this.#nodeName,
      startTime: text(atMs - uptime() * 1000),
      cpu: { time, usageNanoCores: this.#rate('node', { usage, atMs }), usageCoreNanoSeconds: usage },
      memory: {
        time,
        availableBytes: memory.availableBytes,
        usageBytes: memory.totalBytes - memory.availableBytes,
        workingSetBytes: memory.totalBytes - memory.availableBytes,
      },
      fs: {
        time,
        availableBytes: disk.availableBytes,
        capacityBytes: disk.capacityBytes,
        usedBytes: disk.capacityBytes - disk.availableBytes,
        inodesFree: disk.inodesFree,
        inodes: disk.inodes,
      },
    };
  }

  #rate(id: string, { usage, atMs }: Sample): number {
    const before = this.#samples.get(id);
    if (before && atMs <= before.atMs) return before.rate;
    const rate = before ? Math.max(0, Math.round(((usage - before.usage) / (atMs - before.atMs)) * 1000)) : 0;
    this.#samples.set(id, { usage, atMs, rate });
    return rate;
  }
}

async function nodeCpuSeconds(): Promise<number> {
  const ticks = (/^cpu\s+(.*)$/m.exec(await readFile('/proc/stat', 'utf8'))?.[1] ?? '')
    .trim()
    .split(/\s+/)
    .map(Number);
  // Without idle and waiting for I/O.
  return (
    ticks.reduce((sum, value, index) => (index === 3 || index === 4 || index > 7 ? sum : sum + value), 0) /
    CPU_TICKS_PER_SECOND
  );
}

function podUIDOf({ attributes }: ContainerStats): string {
  return attributes?.labels[LABELS.podUID] ?? '';
}

/** A pod's cgroup counts more than its containers; without one they are summed. */
function podUsageOf(
  containers: readonly ContainerUsage[],
  {
    whole,
    interfaces,
  }: { readonly whole: CgroupUsage | undefined; readonly interfaces: readonly InterfaceCounters[] },
): PodUsage {
  const sum = (read: (one: ContainerUsage) => number): number =>
    containers.reduce((total, one) => total + read(one), 0);
  return {
    namespace: containers[0]?.namespace ?? '',
    pod: containers[0]?.pod ?? '',
    interfaces,
    atMs: whole ? Date.now() : Math.max(...containers.map(({ atMs }) => atMs)),
    cpuSeconds: whole ? whole.cpuNanos / 1e9 : sum(({ cpuSeconds }) => cpuSeconds),
    workingSetBytes: whole?.workingSetBytes ?? sum(({ workingSetBytes }) => workingSetBytes),
    memoryBytes: whole?.memoryBytes ?? sum(({ memoryBytes }) => memoryBytes),
  };
}

function computeUsage({ attributes, cpu, memory, swap, writableLayer }: ContainerStats): ContainerUsage {
  const labels = attributes?.labels ?? {};
  return {
    id: attributes?.id ?? '',
    namespace: labels[LABELS.podNamespace] ?? '',
    pod: labels[LABELS.podName] ?? '',
    container: labels[LABELS.containerName] ?? attributes?.metadata?.name ?? '',
    atMs: (cpu?.timestamp ?? 0) / NANOS_PER_MS || Date.now(),
    cpuSeconds: (cpu?.usageCoreNanoSeconds?.value ?? 0) / 1e9,
    workingSetBytes: memory?.workingSetBytes?.value ?? 0,
    memoryBytes: memory?.usageBytes?.value ?? memory?.workingSetBytes?.value ?? 0,
    rssBytes: memory?.rssBytes?.value,
    swapBytes: swap?.swapUsageBytes?.value,
    diskBytes: writableLayer?.usedBytes?.value,
  };
}

function text(ms: number): string {
  return isoTime(ms);
}
