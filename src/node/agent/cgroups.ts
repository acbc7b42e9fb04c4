/** The cgroups above containers: one per pod with the pod's sums, under one per quality of service. Version 1 and 2; the cgroupfs driver's layout. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { milliCpuToShares, sharesToWeight, type PodCgroup } from './config/resources.ts';

const BASE = '/sys/fs/cgroup';
const PERIOD = '100000';
/** What pods' cgroups are given of the machine: controllers that are switched on on the way down. */
const CONTROLLERS = ['cpu', 'cpuset', 'memory', 'pids', 'io', 'hugetlb'];

export interface Cgroups {
  readonly version: 1 | 2;
  ensure(cgroup: PodCgroup): Promise<void>;
  /** Changes one that is there. Throws when the kernel refuses. */
  update(cgroup: PodCgroup): Promise<void>;
  /** Best effort: a cgroup is busy for a moment after its last process ended. */
  remove(path: string): Promise<void>;
  /** The pods' cgroups that are there, below this root: path and pod uid. */
  list(root: string): Promise<{ readonly path: string; readonly uid: string }[]>;
  /** What burstable pods together ask for, against the others. */
  setBurstableMilliCpu(root: string, milli: number): Promise<void>;
}

export function createCgroups(log: Logger): Cgroups {
  const version = existsSync(join(BASE, 'cgroup.controllers')) ? 2 : 1;
  const hierarchies = version === 2 ? [BASE] : mountsOfVersion1();
  const write = async (path: string, text: string): Promise<void> => {
    await writeFile(path, text).catch((error: unknown) =>
      log.debug('cgroup setting not written', { path, error: errorMessage(error) }),
    );
  };

  async function make(path: string): Promise<void> {
    if (version === 1) {
      for (const controller of ['cpu', 'memory'])
        if (hierarchyOf(controller))
          await mkdir(join(hierarchyOf(controller) ?? '', path), { recursive: true });
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
  };
}

function mountsOfVersion1(): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, path = '', type] = line.split(' ');
      return type === 'cgroup' ? [path] : [];
    });
}

async function removeTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => []))
    if (entry.isDirectory()) await removeTree(join(dir, entry.name));
  await rmdir(dir).catch(() => {});
}
