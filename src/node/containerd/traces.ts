/** Describes what one directory's node has on this machine beside its files: for messages of a removal. Changes nothing. */
import { existsSync } from 'node:fs';
import type { ContainerdLayout } from './layout.ts';
import { cgroupHierarchies } from './machine.ts';
import { cachedAttachments } from './cached-attachments.ts';
import { findProcess, findShims } from './process.ts';
import { run } from './run.ts';
import { mountsBelow } from './teardown.ts';
import { join } from 'node:path';

/** Found by the names of layout.ts, in the order of removal. nodeDir: where the pods' volumes are mounted. */
export async function nodeTraces(layout: ContainerdLayout, nodeDir: string): Promise<string[]> {
  const containerd = await findProcess(layout);
  const shims = findShims(layout).length;
  const attachments = (await cachedAttachments(layout)).length;
  const mounts = (await mountsBelow([nodeDir, layout.runDir])).length;
  return [
    ...(containerd ? [`containerd (process ${containerd.pid})`] : []),
    ...(shims > 0 ? [`${counted(shims, 'pod')} with containers`] : []),
    ...(attachments > 0 ? [`the network of ${counted(attachments, 'pod')}`] : []),
    ...(existsSync(`/sys/class/net/${layout.bridge}`) ? [`the bridge ${layout.bridge}`] : []),
    ...(existsSync(`/sys/class/net/${layout.overlay}`) ? [`the tunnel's device ${layout.overlay}`] : []),
    ...(await tablesOf(layout)).map((table) => `the nftables table ${table}`),
    ...(mounts > 0 ? [counted(mounts, 'mount')] : []),
    ...(cgroupHierarchies().some((hierarchy) => existsSync(join(hierarchy, layout.cgroupRoot)))
      ? [`the cgroup ${layout.cgroupRoot}`]
      : []),
    ...[layout.runDir, layout.dir].filter((path) => existsSync(path)),
  ];
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

async function tablesOf({ nftTable, policyTable, tunnelTable }: ContainerdLayout): Promise<string[]> {
  const found: string[] = [];
  for (const table of [nftTable, policyTable, tunnelTable])
    if ((await run(['nft', 'list', 'table', 'inet', table])).code === 0) found.push(table);
  return found;
}
