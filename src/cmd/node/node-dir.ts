/**
 * The --data-dir of `capstan node`: the node's files in it, its running process, and its API server.
 *
 *   DIR/node.json     the API server's address and the node's name       DIR/containerd/    its containerd (containerd-dir.ts)
 *   DIR/node.lock     which process runs the node                        DIR/kubelet/, DIR/pki/
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { runningPid } from '#deploy/daemon.ts';
import { dataDir, describeDiskError, UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import { WIREGUARD_FILES } from '#node/network/wireguard.ts';
import { fileIdentity } from '#stdx/kept-files.ts';
import { acquireProcessLock, LockedError, liveLockHolder, type ProcessLock } from '#stdx/process-lock.ts';
import { isNodeDir } from './containerd-dir.ts';

interface NodeRecord {
  readonly server: string;
  readonly nodeName: string;
  /** Those that it had at its last start, with a comma between: it starts with them while no API server answers. */
  readonly podCIDR?: string | undefined;
  /** The agent's directory, where --root-dir named one: outside of DIR, other files may be in it. */
  readonly rootDir?: string | undefined;
}

const RECORD = 'node.json';
const LOCK = 'node.lock';
/** Of the agent below --root-dir. */
const AGENT_FILES = [
  'pods',
  'plugins',
  'plugins_registry',
  'device-plugins',
  'pod-resources',
  'dra_manager_state',
  'local-path',
  'log',
];
/** When the node started, which its problem detector counts (problem-monitors.ts). */
export const STARTS_FILE = 'node-starts.json';
/** The record last: while it exists, a removal can be continued. */
const OWN_FILES = [
  'containerd',
  'kubelet',
  'pki',
  ...WIREGUARD_FILES,
  STARTS_FILE,
  LOCK,
  `${LOCK}.guard`,
  RECORD,
];

/**
 * Creates a missing directory. UserError when another process runs this node (`capstan up` runs that in DIR/node of its cluster), or the disk refuses.
 */
export function lockNodeDir(dir: string): ProcessLock {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    return acquireProcessLock(join(dir, LOCK));
  } catch (error) {
    if (!(error instanceof LockedError)) throw describeDiskError(dir, error);
    const { pid } = error.holder;
    const cluster = findRunningCluster(dir);
    throw new UserError(
      cluster?.pid === pid
        ? `The node in ${dir} is already run by the cluster in ${cluster.path} (process ${pid}).`
        : `The node in ${dir} is already run by process ${pid}.`,
      error,
    );
  }
}

/** The cluster that runs now and has this directory as its node's. */
export function findRunningCluster(
  nodeDir: string,
): { readonly path: string; readonly pid: number } | undefined {
  const cluster = dataDir(dirname(resolve(nodeDir)));
  const pid = runningPid(cluster);
  return pid !== undefined && fileIdentity(cluster.node) === fileIdentity(nodeDir)
    ? { path: cluster.path, pid }
    : undefined;
}

/** The process that runs the node of this directory, if one does. */
export function nodePid(dir: string): number | undefined {
  return liveLockHolder(join(dir, LOCK))?.pid;
}

export function writeNodeRecord(dir: string, record: NodeRecord): void {
  writeFileAtomic(join(dir, RECORD), `${JSON.stringify(record)}\n`);
}

/** undefined where there is none, or it is damaged: it is only a hint. */
export function readNodeRecord(dir: string): NodeRecord | undefined {
  try {
    const { server, nodeName, podCIDR, rootDir } = JSON.parse(
      readFileSync(join(dir, RECORD), 'utf8'),
    ) as Partial<NodeRecord>;
    return typeof server === 'string' && typeof nodeName === 'string'
      ? {
          server,
          nodeName,
          podCIDR: typeof podCIDR === 'string' ? podCIDR : undefined,
          rootDir: typeof rootDir === 'string' ? rootDir : undefined,
        }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Throws a UserError when pods' files of an earlier start are in another directory: their mounts would be lost there. */
export function requireSameRoot(dir: string, rootDir: string | undefined): void {
  const own = join(dir, 'kubelet');
  const before = readNodeRecord(dir)?.rootDir ?? own;
  const now = rootDir ?? own;
  if (resolve(before) === resolve(now) || !hasEntries(join(before, 'pods'))) return;
  throw new UserError(
    `--root-dir is ${now}, but the files of this node's pods are in ${before}; drain the node and run capstan reset --data-dir ${dir} first, or start it with --root-dir ${before}.`,
  );
}

function hasEntries(dir: string): boolean {
  return existsSync(dir) && readdirSync(dir).length > 0;
}

/** Whether `capstan node` created files here: names such as 'kubelet' alone may belong to others. */
export function isOwnNodeDir(dir: string): boolean {
  return existsSync(join(dir, RECORD)) || isNodeDir(dir);
}

/** Removes the node's files, and the directory when nothing else is in it. Returns what else is. */
export function removeNodeFiles(dir: string): string[] {
  try {
    const rootDir = readNodeRecord(dir)?.rootDir;
    if (rootDir !== undefined)
      for (const name of AGENT_FILES) rmSync(join(rootDir, name), { recursive: true, force: true });
    for (const name of OWN_FILES) rmSync(join(dir, name), { recursive: true, force: true });
    const others = existsSync(dir) ? readdirSync(dir) : [];
    if (others.length === 0 && existsSync(dir)) rmdirSync(dir);
    return others;
  } catch (error) {
    throw describeDiskError(dir, error);
  }
}
