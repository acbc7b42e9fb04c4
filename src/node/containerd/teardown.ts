/**
 * Stops and removes everything of one cluster's containerd on the machine. Finds it by the names of layout.ts, so that it works whether containerd
 * responds or not. Idempotent.
 */
import { readdir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Clock } from '#stdx/clock.ts';
import type { CriClient } from '../cri/client.ts';
import { isCriError } from '../cri/errors.ts';
import { canonical, type ContainerdLayout } from './layout.ts';
import { cgroupHierarchies } from './machine.ts';
import { findShims, isAlive, readStartTime } from './process.ts';
import { run } from './run.ts';

const PARALLEL = 8;
const CALL_DEADLINE_MS = 30_000;
const PROCESSES_GONE_MS = 10_000;
const POLL_MS = 20;
const NETNS_DIR = '/run/netns';

interface StopPodsOptions {
  /** What running containers get between SIGTERM and SIGKILL. */
  readonly gracePeriodSeconds: number;
  /** Removes the sandboxes too, with their network and leases. */
  readonly remove: boolean;
}

/** Stops every pod through the runtime. Returns what failed, one sentence each. */
export async function stopPods(
  cri: CriClient,
  { gracePeriodSeconds, remove }: StopPodsOptions,
): Promise<string[]> {
  const problems: string[] = [];
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    await work().catch((error: unknown) => {
      if (!isCriError(error, 'not-found')) problems.push(`${what}: ${(error as Error).message}`);
    });
  };
  const { containers } = await cri.listContainers({ filter: { state: { state: 'CONTAINER_RUNNING' } } });
  await eachOf(containers, ({ id }) =>
    attempt(`stopping container ${id}`, () =>
      cri.stopContainer(
        { containerId: id, timeout: gracePeriodSeconds },
        { deadlineMs: CALL_DEADLINE_MS + gracePeriodSeconds * 1000 },
      ),
    ),
  );
  const { items } = await cri.listPodSandbox({});
  await eachOf(items, async ({ id: podSandboxId }) => {
    await attempt(`stopping sandbox ${podSandboxId}`, () =>
      cri.stopPodSandbox({ podSandboxId }, { deadlineMs: CALL_DEADLINE_MS }),
    );
    if (remove)
      await attempt(`removing sandbox ${podSandboxId}`, () =>
        cri.removePodSandbox({ podSandboxId }, { deadlineMs: CALL_DEADLINE_MS }),
      );
  });
  return problems;
}

async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
    }),
  );
}

/** Kills processes in our cgroups and our shims. containerd must have ended before, or it would report and restart them. */
export async function killLeftovers(layout: ContainerdLayout, clock: Clock): Promise<string[]> {
  const deadline = clock.monotonic() + PROCESSES_GONE_MS;
  for (;;) {
    const left = [...new Set([...findShims(layout), ...cgroupProcesses(layout)])]
      .flatMap((pid) => {
        const startTime = readStartTime(pid);
        return startTime === undefined ? [] : [{ pid, startTime }];
      })
      .filter(isAlive);
    if (left.length === 0) return [];
    if (clock.monotonic() > deadline)
      return left.map(({ pid }) => `process ${pid} of this cluster does not end`);
    for (const { pid } of left) killQuietly(pid);
    await clock.sleep(POLL_MS);
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // removed in the meantime
  }
}

function cgroupProcesses(layout: ContainerdLayout): number[] {
  return ourCgroups(layout).flatMap((dir) => {
    try {
      return readFileSync(join(dir, 'cgroup.procs'), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map(Number);
    } catch {
      return []; // removed, or a threaded cgroup of version 2
    }
  });
}

/** Deepest first. */
function ourCgroups(layout: ContainerdLayout): string[] {
  return cgroupHierarchies().flatMap((hierarchy) =>
    layout.cgroupRoots.flatMap((root) => tree(join(hierarchy, root))),
  );
}

function tree(dir: string): string[] {
  try {
    const children = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [...children.flatMap((child) => tree(join(dir, child.name))), dir];
  } catch {
    return [];
  }
}

export async function removeCgroups(layout: ContainerdLayout, clock: Clock): Promise<string[]> {
  const deadline = clock.monotonic() + PROCESSES_GONE_MS;
  for (;;) {
    for (const dir of ourCgroups(layout)) await rmdir(dir).catch(() => {});
    const left = ourCgroups(layout);
    if (left.length === 0) return [];
    // A cgroup is busy for a moment after its last process ended.
    if (clock.monotonic() > deadline) return [`cannot remove the cgroup ${left[0]}: it is still in use`];
    await clock.sleep(POLL_MS);
  }
}

/** Mount points at or below these directories, the last mounted first. */
export async function mountsBelow(given: readonly string[]): Promise<string[]> {
  // The kernel's list has no symbolic links.
  const directories = given.map((dir) => canonical(resolve(dir)));
  const text = await readFile('/proc/self/mountinfo', 'utf8');
  const points = text.split('\n').flatMap((line) => {
    const point = line.split(' ')[4];
    return point === undefined
      ? []
      : [
          point.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
            String.fromCharCode(Number.parseInt(octal, 8)),
          ),
        ];
  });
  return points
    .filter((point) => directories.some((dir) => point === dir || point.startsWith(`${dir}/`)))
    .reverse();
}

export async function unmountBelow(directories: readonly string[]): Promise<string[]> {
  for (const point of await mountsBelow(directories)) await run(['umount', '-l', point]);
  return (await mountsBelow(directories)).map((point) => `cannot unmount ${point}`);
}

/** A killed shim leaves its socket under /run/containerd/s; its bundle knows the address. */
export async function removeShimSockets(layout: ContainerdLayout): Promise<void> {
  const tasks = join(layout.state, 'io.containerd.runtime.v2.task');
  for (const namespace of await readdir(tasks).catch(() => [])) {
    for (const id of await readdir(join(tasks, namespace)).catch(() => []))
      await removeShimSocket(join(tasks, namespace, id));
  }
}

/** bundle: the directory of a container in containerd's state. */
export async function removeShimSocket(bundle: string): Promise<void> {
  const address = await readFile(join(bundle, 'address'), 'utf8').catch(() => '');
  const path = address.trim().replace(/^unix:\/\//, '');
  if (path.startsWith('/')) await rm(path, { force: true });
}

/**
 * Network namespaces of our pods, collected while containerd and the pods still exist: from the runtime's sandboxes (also stopped ones), and from our
 * processes.
 */
export async function podNamespaces(
  layout: ContainerdLayout,
  cri: CriClient | undefined,
): Promise<readonly string[]> {
  const paths = cri ? await sandboxNamespaces(cri).catch(() => []) : [];
  return [...new Set([...paths, ...(await processNamespaces(layout))])];
}

async function sandboxNamespaces(cri: CriClient): Promise<string[]> {
  const { items } = await cri.listPodSandbox({}, { deadlineMs: CALL_DEADLINE_MS });
  const found: string[] = [];
  await eachOf(items, async ({ id: podSandboxId }) => {
    const { info } = await cri
      .podSandboxStatus({ podSandboxId, verbose: true }, { deadlineMs: CALL_DEADLINE_MS })
      .catch(() => ({ info: {} as Readonly<Record<string, string>> }));
    const spec = JSON.parse(info['info'] ?? '{}') as {
      runtimeSpec?: { linux?: { namespaces?: { type?: string; path?: string }[] } };
    };
    const path = spec.runtimeSpec?.linux?.namespaces?.find(({ type }) => type === 'network')?.path;
    if (path?.includes('/netns/')) found.push(path); // a pod of the host's network has none
  });
  return found;
}

async function processNamespaces(layout: ContainerdLayout): Promise<string[]> {
  const inodes = new Set(
    await Promise.all(
      cgroupProcesses(layout).map((pid) =>
        stat(`/proc/${pid}/ns/net`).then(
          ({ ino }) => ino,
          () => undefined,
        ),
      ),
    ),
  );
  const names = await readdir(NETNS_DIR).catch(() => [] as string[]);
  const matches = await Promise.all(
    names.map(async (name) =>
      inodes.has(
        await stat(join(NETNS_DIR, name)).then(
          ({ ino }) => ino,
          () => -1,
        ),
      ),
    ),
  );
  return names
    .filter((name, index) => name.startsWith('cni-') && matches[index])
    .map((name) => join(NETNS_DIR, name));
}
