/** Phases stop and cleanup-node: the services of this machine stop, then what Capstan made on it goes: pods, mounts, interfaces, rules, files. */
import { existsSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { KubeconfigName } from '../../machine/paths.ts';
import { removeEtcdData } from '../join/local-etcd.ts';
import type { Phase } from '../phase.ts';
import type { LeaveContext } from './context.ts';

const KUBECONFIGS: readonly KubeconfigName[] = [
  'admin',
  'super-admin',
  'kubelet',
  'bootstrap-kubelet',
  'controller-manager',
  'scheduler',
  'dns',
];

export const stop: Phase<LeaveContext> = {
  name: 'stop',
  short: 'Stop the services of this machine',
  async run({ print, dryRun, program }) {
    if (dryRun) return print('[stop] Would stop the services of this machine');
    print('[stop] Stopping the services of this machine');
    await program.stopSupervisor();
  },
};

export const cleanupNode: Phase<LeaveContext> = {
  name: 'cleanup-node',
  short: 'Run cleanup node',
  async run({ paths, machine, print, dryRun, program }) {
    const { clusterID, role } = machine.read();
    const what = [paths.manifests, paths.kubelet, paths.pki, paths.etcdData, paths.capstan, paths.run];
    if (dryRun) return print(`[cleanup-node] Would delete the contents of directories: [${what.join(' ')}]`);
    // Containers hold mounts below the node's directory, so they go first.
    if (role !== 'witness' && existsSync(paths.node)) {
      print('[cleanup-node] Stopping the pods and containerd of this machine, and removing their mounts');
      await program.destroyNode({ node: paths.node, clusterID });
    }
    print(`[cleanup-node] Deleting contents of directories: [${what.join(' ')}]`);
    await removeEtcdData(paths);
    await emptied(paths.etcdData);
    for (const path of [paths.manifests, paths.kubelet, paths.pki]) await emptied(path);
    for (const name of KUBECONFIGS) await rm(paths.kubeconfig(name), { force: true });
    await emptied(paths.run);
    // The record last: while it exists, the command can be repeated. This command holds the lock.
    await emptied(paths.capstan, [paths.machineFile, paths.machineLock]);
    machine.remove();
    if (existsSync(paths.kubernetes) && (await readdir(paths.kubernetes)).length === 0)
      await rmdir(paths.kubernetes);
  },
};

/** The directory itself stays: it may be a mount point, and the next init or join uses it. */
async function emptied(path: string, except: readonly string[] = []): Promise<void> {
  const names = existsSync(path) ? await readdir(path) : [];
  for (const name of names) {
    const one = join(path, name);
    if (!except.some((kept) => one.startsWith(kept))) await rm(one, { recursive: true, force: true });
  }
}
