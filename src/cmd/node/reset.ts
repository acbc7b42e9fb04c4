/**
 * `capstan reset`: removes the state of `capstan node` and `capstan proxy`, run as single commands, from this machine, as kubeadm does. Cluster state stays:
 * the Node object is deleted there. A cluster of `capstan up` is removed by `capstan delete`, with the same functions.
 *
 *   find (files of node-dir.ts, names of containerd's layout, nftables tables) ─► ask ─► stop processes ─► remove ─► find again: report
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { dataDir, readSettings, SettingsError, UserError } from '#deploy/data-dir.ts';
import { claimedBy } from '#deploy/networks.ts';
import { destroyServiceProxy, serviceProxyIds } from '#proxy/destroy.ts';
import { tableName } from '#proxy/nft.ts';
import { processStartTime } from '#stdx/process-lock.ts';
import { destroyNode, findNode } from './control.ts';
import { isOwnNodeDir, nodePid, readNodeRecord, removeNodeFiles, findRunningCluster } from './node-dir.ts';
import { computeProxyId, proxyPid, removeRulesLock } from '../proxy/run.ts';
import { readConnection } from '../run-component.ts';

export interface ResetFlags {
  /** Of `capstan node`. */
  readonly dataDir?: string;
  /** Of `capstan proxy`, where its rules are not those of the node's API server. */
  readonly kubeconfig?: string;
  readonly clusterId?: string;
}

export interface Reset {
  /** What will go, one phrase each; empty: there is nothing. */
  readonly found: readonly string[];
  /** What `found` is of: "the node in /x", for messages. */
  readonly what: string;
  /** Stops and removes it. UserError when something stays. */
  remove(): Promise<Removed>;
}

export interface Removed {
  readonly gone: readonly string[];
  /** Files in the directory that are not the node's. */
  readonly others: readonly string[];
  /** Service rules that are left on the machine and that no cluster of `capstan up` has: of proxies for other API servers. */
  readonly otherRules: readonly string[];
}

interface Target {
  readonly node: string | undefined;
  readonly proxyId: string | undefined;
}

const STOP_TIMEOUT_MS = 90_000;
const POLL_MS = 50;

/** Inspects only. UserError where `reset` must not remove it. */
export async function prepareReset(flags: ResetFlags): Promise<Reset> {
  const target = targetOf(flags);
  if (process.platform !== 'linux')
    return {
      found: [],
      what: describe(target),
      remove: () => Promise.resolve({ gone: [], others: [], otherRules: [] }),
    };
  const found = await findAll(target);
  if (found.length > 0 && process.getuid?.() !== 0)
    throw new UserError(`Removing ${describe(target)} needs root.`);
  return { found, what: describe(target), remove: () => removeAll(target, found) };
}

function targetOf({ dataDir: path, kubeconfig, clusterId }: ResetFlags): Target {
  if (path === undefined && kubeconfig === undefined && clusterId === undefined)
    throw new UserError(
      'Nothing was made by init or join on this machine. For what capstan node and proxy, run by themselves, have made, --data-dir DIR (of capstan node), or --kubeconfig FILE or --cluster-id ID (of capstan proxy) is needed: it says what to remove.',
    );
  if (clusterId !== undefined && !/^[0-9a-f]{8}$/.test(clusterId))
    throw new UserError(`--cluster-id is "${clusterId}"; it should be 8 hexadecimal digits.`);
  const node = path === undefined ? undefined : dataDir(path).path;
  if (node !== undefined) refuseClusters(node);
  const cluster = node === undefined ? undefined : findRunningCluster(node);
  if (cluster)
    throw new UserError(
      `The node in ${node} is run by the cluster in ${cluster.path} (process ${cluster.pid}); remove it with: capstan delete --data-dir ${cluster.path}`,
    );
  const server =
    kubeconfig === undefined
      ? node === undefined
        ? undefined
        : readNodeRecord(node)?.server
      : readConnection({ kubeconfig }).options.server;
  const proxyId = clusterId ?? (server === undefined ? undefined : computeProxyId(server));
  const owner = proxyId === undefined ? undefined : claimedBy(proxyId);
  if (owner !== undefined)
    throw new UserError(
      `The service rules ${tableName(proxyId ?? '')} are those of the cluster in ${owner}; remove it with: capstan delete --data-dir ${owner}`,
    );
  return { node, proxyId };
}

function refuseClusters(path: string): void {
  const isCluster = ((): boolean => {
    try {
      return readSettings(dataDir(path)) !== undefined;
    } catch (error) {
      if (error instanceof SettingsError) return true;
      throw error;
    }
  })();
  if (isCluster)
    throw new UserError(
      `${path} is a cluster's directory; remove it with: capstan delete --data-dir ${path}`,
    );
}

function describe({ node, proxyId }: Target): string {
  return [
    ...(node === undefined ? [] : [`the node in ${node}`]),
    ...(proxyId === undefined ? [] : [`the service rules ${tableName(proxyId)}`]),
  ].join(' and ');
}

/** Processes first, then state of the machine, then files. */
async function findAll({ node, proxyId }: Target): Promise<string[]> {
  const nodeProcess = node === undefined ? undefined : nodePid(node);
  const proxyProcess = proxyId === undefined ? undefined : proxyPid(proxyId);
  const traces = node === undefined ? await rulesOf(proxyId) : await findNode({ node, proxyId });
  // 'containerd' in /etc and 'kubelet' in /var/lib are not ours.
  const isForeign = node !== undefined && existsSync(join(node, 'containerd')) && !isOwnNodeDir(node);
  if (isForeign)
    throw new UserError(`${node} holds a containerd that Capstan did not make: nothing was removed.`);
  return [
    ...(nodeProcess === undefined ? [] : [`the program capstan node (process ${nodeProcess})`]),
    ...(proxyProcess === undefined ? [] : [`the program capstan proxy (process ${proxyProcess})`]),
    ...traces,
    ...(node !== undefined && isOwnNodeDir(node) ? [`the node's files in ${node}`] : []),
  ];
}

async function rulesOf(proxyId: string | undefined): Promise<string[]> {
  return proxyId !== undefined && (await serviceProxyIds()).includes(proxyId)
    ? [`the service rules (nftables table ${tableName(proxyId)})`]
    : [];
}

async function removeAll(target: Target, found: readonly string[]): Promise<Removed> {
  const { node, proxyId } = target;
  const isOwn = node !== undefined && isOwnNodeDir(node);
  // The node first: it starts containerd again when that ends.
  if (node !== undefined) await stopProcess(nodePid(node), 'capstan node');
  if (proxyId !== undefined) await stopProcess(proxyPid(proxyId), 'capstan proxy');
  if (node !== undefined) await destroyNode({ node, proxyId });
  else if (proxyId !== undefined) await destroyServiceProxy(proxyId);
  if (proxyId !== undefined) removeRulesLock(proxyId);
  const others = isOwn ? removeNodeFiles(node) : [];
  const left = await findAll(target);
  if (left.length > 0) throw new UserError(`Not everything could be removed, try again: ${left.join(', ')}`);
  return {
    gone: found,
    others,
    otherRules: (await serviceProxyIds()).filter(
      (id) => claimedBy(id) === undefined && proxyPid(id) === undefined,
    ),
  };
}

/** Sends SIGTERM and waits until it has ended. */
async function stopProcess(pid: number | undefined, name: string): Promise<void> {
  if (pid === undefined) return;
  const startTime = processStartTime(pid);
  process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while (startTime !== undefined && processStartTime(pid) === startTime) {
    if (performance.now() > deadline)
      throw new UserError(
        `${name} (process ${pid}) did not stop within ${STOP_TIMEOUT_MS / 1000} s: nothing was removed.`,
      );
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
