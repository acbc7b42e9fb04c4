/**
 * Paths of one cluster's containerd, and the names it uses on the machine. Everything derives from the directory, so that two clusters never collide,
 * and a teardown finds all of it even when nothing runs any more.
 */
import { createHash } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ContainerdError } from './errors.ts';
import { findCgroupRoot } from './systemd.ts';

export interface ContainerdLayout {
  /** Eight hex digits that are this directory's on this machine. */
  readonly id: string;
  readonly dir: string;
  /** Images, snapshots and the database: stays over reboots. */
  readonly root: string;
  /** Under /run, short: sockets, running containers; lost at a reboot. `dir`/run points to it. */
  readonly runDir: string;
  readonly runLink: string;
  readonly state: string;
  readonly runcRoot: string;
  readonly socketPath: string;
  readonly configPath: string;
  readonly pidPath: string;
  readonly bootIdPath: string;
  readonly snapshotterPath: string;
  readonly logPath: string;
  /** Archives being loaded; emptied at every start. */
  readonly spoolDir: string;
  readonly cniConfDir: string;
  readonly cniConfPath: string;
  /** host-local's leases: `<cniDataDir>/<networkName>/<address>`. */
  readonly cniDataDir: string;
  /** containerd's hosts.toml directories. */
  readonly registryDir: string;
  readonly networkName: string;
  readonly bridge: string;
  /** VXLAN or WireGuard device to the pods of other nodes. */
  readonly overlay: string;
  readonly nftTable: string;
  /** nftables table of the network policies. */
  readonly policyTable: string;
  /** nftables table that keeps traffic between pods of different nodes inside of the encrypted tunnel. */
  readonly tunnelTable: string;
  /** '/capstan-<id>', or the scope's (systemd.ts): pods' cgroups belong below it. */
  readonly cgroupRoot: string;
  /** Where earlier versions, or a start without systemd, may have left some. */
  readonly cgroupRoots: readonly string[];
}

/** sun_path of a unix socket holds 108 bytes with its closing zero. */
const MAX_SOCKET_PATH_BYTES = 107;
/** containerd opens a second socket beside its first. */
const LONGEST_SUFFIX = '.ttrpc';

interface LayoutOptions {
  readonly dir: string;
  /** '/run/capstan'; tests may use another. */
  readonly runBase?: string | undefined;
}

/** Throws ContainerdError 'socket-path-too-long'. */
export function containerdLayout({
  dir: givenDir,
  runBase = '/run/capstan',
}: LayoutOptions): ContainerdLayout {
  const dir = canonical(resolve(givenDir));
  const id = createHash('sha256').update(dir).digest('hex').slice(0, 8);
  const runDir = join(runBase, id);
  const socketPath = join(runDir, 'containerd.sock');
  const length = Buffer.byteLength(socketPath + LONGEST_SUFFIX);
  if (length > MAX_SOCKET_PATH_BYTES) {
    throw new ContainerdError(
      'socket-path-too-long',
      `the socket path ${socketPath} has ${length} bytes with its suffix ${LONGEST_SUFFIX}, at most ${MAX_SOCKET_PATH_BYTES} are possible: choose a shorter run directory`,
    );
  }
  const cniConfDir = join(dir, 'cni/net.d');
  return {
    id,
    dir,
    runDir,
    socketPath,
    root: join(dir, 'root'),
    runLink: join(dir, 'run'),
    state: join(runDir, 'state'),
    runcRoot: join(runDir, 'runc'),
    configPath: join(dir, 'config.toml'),
    pidPath: join(dir, 'containerd.pid'),
    bootIdPath: join(dir, 'boot-id'),
    snapshotterPath: join(dir, 'snapshotter'),
    logPath: join(dir, 'containerd.log'),
    spoolDir: join(dir, 'spool'),
    cniConfDir,
    cniConfPath: join(cniConfDir, '10-capstan.conflist'),
    cniDataDir: join(dir, 'cni/leases'),
    registryDir: join(dir, 'registries'),
    networkName: `capstan-${id}`,
    bridge: `cap-${id}`,
    overlay: `cvx-${id}`,
    nftTable: `capstan-${id}`,
    policyTable: `capstan-policy-${id}`,
    tunnelTable: `capstan-tunnel-${id}`,
    cgroupRoot: findCgroupRoot(id),
    cgroupRoots: [...new Set([findCgroupRoot(id), `/capstan-${id}`])],
  };
}

/** The path with symbolic links resolved as far as it exists: one directory has one id, before and after it is made. */
export function canonical(path: string): string {
  if (existsSync(path) || dirname(path) === path) return realpathSync(path);
  return join(canonical(dirname(path)), basename(path));
}
