/** Operations of the command line on a node of this machine: stop its containers, remove all its traces, load an image. */
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserError, type ClusterSettings, type DataDir } from '#deploy/data-dir.ts';
import { findOriginal } from '#deploy/original.ts';
import { containerdExists, createContainerd, destroyContainerd } from '#node/containerd/containerd.ts';
import { ContainerdError } from '#node/containerd/errors.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { deletePolicyTable } from '#node/containerd/network.ts';
import { chooseSnapshotter, findTool } from '#node/containerd/machine.ts';
import { unmountBelow } from '#node/containerd/teardown.ts';
import { nodeTraces } from '#node/containerd/traces.ts';
import { createCriClient } from '#node/cri/client.ts';
import { isCriError } from '#node/cri/errors.ts';
import { ImageError } from '#node/images/errors.ts';
import { importImage } from '#node/images/import.ts';
import { destroyServiceProxy, serviceProxyIds } from '#proxy/destroy.ts';
import { tableName } from '#proxy/nft.ts';
import { errorMessage } from '#stdx/log.ts';
import { containerdDir } from './containerd-dir.ts';
import { readNodeRecord } from './node-dir.ts';

interface Target {
  readonly dir: DataDir;
  readonly settings: ClusterSettings;
}

/** Stops pods and containerd; images and the pods' files stay. */
export async function stopNode({ dir, settings }: Target): Promise<void> {
  const options = { dir: containerdDir(dir) };
  if (!(await containerdExists(options))) return;
  const problems = [
    ...(await createContainerd(options).stopAll()),
    ...(await unmountBelow([join(dir.node, 'kubelet')])),
    ...(await deletePolicyTable(containerdLayout(options))),
  ];
  if (findOriginal(dir, { id: settings.id }) === undefined) await destroyServiceProxy(settings.id);
  if (problems.length > 0) throw new UserError(`Not everything could be stopped: ${problems.join('; ')}`);
}

/** A node's directory (DIR/node of a cluster, the --data-dir of `capstan node`), and whose service rules go with it. */
export interface NodeTarget {
  readonly node: string;
  readonly proxyId?: string | undefined;
}

/** What destroyNode would remove, one phrase each; may be empty. */
export async function findNode({ node, proxyId }: NodeTarget): Promise<string[]> {
  const traces = await nodeTraces(containerdLayout({ dir: containerdDir({ node }) }), node);
  const rules = proxyId !== undefined && (await serviceProxyIds()).includes(proxyId);
  return [...traces, ...(rules ? [`the service rules (nftables table ${tableName(proxyId)})`] : [])];
}

/** Removes every process, mount, interface, rule and cgroup of the node, and its containerd's files. */
export async function destroyNode({ node, proxyId }: NodeTarget): Promise<void> {
  const rootDir = readNodeRecord(node)?.rootDir;
  // containerd first: its containers hold the pods' volumes, which are mounts below the node's directory.
  const problems = [
    ...(await destroyContainerd({ dir: containerdDir({ node }) })),
    ...(await unmountBelow([node, ...(rootDir === undefined ? [] : [rootDir])])),
  ];
  if (proxyId !== undefined) await destroyServiceProxy(proxyId);
  if (problems.length > 0)
    throw new UserError(
      `Not everything could be removed, so ${node} stays; try again: ${problems.join('; ')}`,
    );
}

/** Names of the images in the archive, now known to the node. node: its directory, DIR/node of a cluster or the --data-dir of `capstan node`. */
export async function loadImage({
  node,
  file,
}: {
  readonly node: string;
  readonly file: string;
}): Promise<readonly string[]> {
  requireReadableFile(file);
  const layout = containerdLayout({ dir: containerdDir({ node }) });
  const cri = createCriClient({ socketPath: layout.socketPath });
  try {
    const snapshotter = await chooseSnapshotter({ root: layout.root, rememberIn: layout.snapshotterPath });
    const ctr = findTool('ctr');
    const images = await importImage(file, {
      address: layout.socketPath,
      cri,
      snapshotter,
      ...(ctr ? { ctr } : {}),
    });
    return images.map((image) => image.name);
  } catch (error) {
    if (error instanceof ImageError || error instanceof ContainerdError)
      throw new UserError(error.message, error);
    if (isCriError(error, 'unavailable'))
      throw new UserError(`The container runtime of ${node} does not answer: is the node running?`, error);
    throw error;
  } finally {
    cri.close();
  }
}

function requireReadableFile(file: string): void {
  try {
    if (!statSync(file).isFile())
      throw new UserError(
        `${file} is not a file; it should be an image archive made by docker save, or an OCI layout in a tar file.`,
      );
    accessSync(file, constants.R_OK);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${file} cannot be read: ${errorMessage(error)}`, error);
  }
}
