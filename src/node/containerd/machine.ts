/**
 * Detects this machine's container features by trying: tools, cgroups, a snapshotter that works on this file system, and whether processes may be
 * protected from the out-of-memory killer.
 */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { ContainerdError } from './errors.ts';
import { run } from './run.ts';

export interface Machine {
  readonly containerd: string;
  readonly ctr: string;
  /** '1.6.20' */
  readonly containerdVersion: string;
  readonly runc: string;
  readonly cniBinDir: string;
  /** CNI's portmap plugin needs iptables; without it pods with a hostPort are refused by name. */
  readonly iptables: boolean;
  readonly cgroupVersion: 1 | 2;
  /** False without CAP_SYS_RESOURCE: then no process may lower its oom_score_adj, and runc fails when requested to. */
  readonly mayLowerOomScore: boolean;
}

export type Snapshotter = 'overlayfs' | 'native';

/** bridge, host-local, loopback: without one of them no pod gets an address. */
const NEEDED_PLUGINS = ['bridge', 'host-local', 'loopback', 'portmap'];
const CNI_BIN_DIRS = ['/usr/lib/cni', '/opt/cni/bin', '/usr/libexec/cni'];
const CAP_SYS_RESOURCE = 24n;
const TOOL_DIRS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Throws ContainerdError: not-linux, not-root, not-installed, unsupported-machine. */
export async function inspectMachine(): Promise<Machine> {
  if (process.platform !== 'linux')
    throw new ContainerdError('not-linux', `containers need Linux, this is ${process.platform}`);
  if (process.getuid?.() !== 0)
    throw new ContainerdError('not-root', 'containers need root: run it as root, or use simulated nodes');
  const containerd = requireTool('containerd', 'containerd');
  return {
    containerd,
    ctr: requireTool('ctr', 'containerd'),
    containerdVersion: await readVersion(containerd),
    runc: requireTool('runc', 'runc'),
    cniBinDir: findCniBinDir(),
    iptables: findTool('iptables') !== undefined,
    cgroupVersion: cgroupVersion(),
    mayLowerOomScore: mayLowerOomScore(),
  };
}

export function findTool(name: string): string | undefined {
  const dirs = [
    ...(process.env['PATH'] ?? '').split(delimiter).filter((dir) => dir.startsWith('/')),
    ...TOOL_DIRS,
  ];
  return dirs.map((dir) => join(dir, name)).find((path) => isExecutable(path));
}

function requireTool(name: string, debianPackage: string): string {
  const path = findTool(name);
  if (!path)
    throw new ContainerdError('not-installed', `${name} is not installed: apt-get install ${debianPackage}`);
  return path;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function readVersion(containerd: string): Promise<string> {
  const { code, stdout, stderr } = await run([containerd, '--version']);
  // 'containerd github.com/containerd/containerd 1.6.20~ds1 …'
  const version = /\sv?(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  if (code !== 0 || !version)
    throw new ContainerdError(
      'unsupported-machine',
      `${containerd} --version does not tell its version: ${(stderr || stdout).trim()}`,
    );
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 1 || (major === 1 && minor < 6))
    throw new ContainerdError(
      'unsupported-machine',
      `containerd ${version} is too old: 1.6 or newer is needed for CRI v1`,
    );
  return version;
}

function findCniBinDir(): string {
  const dir = CNI_BIN_DIRS.find((candidate) =>
    NEEDED_PLUGINS.every((plugin) => isExecutable(join(candidate, plugin))),
  );
  if (dir) return dir;
  throw new ContainerdError(
    'not-installed',
    `the CNI plugins ${NEEDED_PLUGINS.join(', ')} are in none of ${CNI_BIN_DIRS.join(', ')}: apt-get install containernetworking-plugins`,
  );
}

function cgroupVersion(): 1 | 2 {
  if (existsSync('/sys/fs/cgroup/cgroup.controllers')) return 2;
  if (cgroupV1Mounts().some(({ options }) => options.includes('memory'))) return 1;
  throw new ContainerdError(
    'unsupported-machine',
    'no cgroups are mounted under /sys/fs/cgroup: neither version 2 nor the memory controller of version 1',
  );
}

interface CgroupMount {
  readonly path: string;
  readonly options: readonly string[];
}

function cgroupV1Mounts(): CgroupMount[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, path = '', type, options = ''] = line.split(' ');
      return type === 'cgroup' ? [{ path, options: options.split(',') }] : [];
    });
}

/** The directories that may contain a cgroup of this name: one in version 2, one per controller in version 1. */
export function cgroupHierarchies(): string[] {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, path = '', type] = line.split(' ');
      return type === 'cgroup' || type === 'cgroup2' ? [path] : [];
    });
  return [...new Set(mounts)];
}

function mayLowerOomScore(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> CAP_SYS_RESOURCE) & 1n) === 1n;
}

/** The random id of this boot. */
export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/**
 * overlayfs where it can be mounted on this directory's file system (not on another overlay, nor on some network file systems), else
 * the native one, which copies. Chosen once for a directory and remembered, since images are unpacked for one.
 */
export async function chooseSnapshotter(of: {
  readonly root: string;
  readonly rememberIn: string;
}): Promise<Snapshotter> {
  const remembered = await readFile(of.rememberIn, 'utf8').catch(() => '');
  if (remembered.trim() === 'overlayfs' || remembered.trim() === 'native')
    return remembered.trim() as Snapshotter;
  const chosen = (await overlayWorks(of.root)) ? 'overlayfs' : 'native';
  await writeFile(of.rememberIn, `${chosen}\n`);
  return chosen;
}

async function overlayWorks(root: string): Promise<boolean> {
  const probe = join(root, `.overlay-probe-${process.pid}`);
  const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'].map((name) =>
    join(probe, name),
  ) as [string, string, string, string];
  try {
    for (const dir of [lower, upper, work, merged]) await mkdir(dir, { recursive: true });
    await writeFile(join(lower, 'file'), 'x');
    const mounted = await run([
      'mount',
      '-t',
      'overlay',
      'overlay',
      '-o',
      `lowerdir=${lower},upperdir=${upper},workdir=${work}`,
      merged,
    ]);
    if (mounted.code !== 0) return false;
    const works = await rm(join(merged, 'file')).then(
      () => !existsSync(join(merged, 'file')),
      () => false,
    );
    await run(['umount', merged]);
    return works;
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
}
