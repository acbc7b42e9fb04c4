/** etcd of this machine as its supervisor runs it: the service in the record is what starts and stops it. */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { LocalEtcd } from '../../etcd/join-member.ts';
import { clientURL, etcdService, peerURL } from '../../machine/etcd-service.ts';
import type { MachinePaths } from '../../machine/paths.ts';
import type { MachineFile } from '../../machine/record.ts';
import { withService } from '../../machine/services.ts';

interface SupervisedEtcd {
  readonly paths: MachinePaths;
  readonly machine: MachineFile;
  readonly name: string;
  readonly address: string;
  /** Further options of etcdService. */
  readonly settings: Pick<Parameters<typeof etcdService>[0], 'program' | 'extraArgs' | 'env'>;
  /** Has the supervisor follow the record, and starts one where none runs. */
  follow(): Promise<void>;
}

export function supervisedEtcd(options: SupervisedEtcd): LocalEtcd {
  const { paths, machine, name, address, settings, follow } = options;
  const url = peerURL(address);
  return {
    name,
    peerURL: url,
    clientURL: clientURL(address),
    hasData: () => hasEtcdData(paths),
    removeData: () => removeEtcdData(paths),
    recordedId: () => machine.read().etcd?.memberID,
    record: (memberID) =>
      void machine.update((record) => ({
        ...record,
        etcd: { name, peerURL: url, memberID },
      })),
    async start(initialCluster) {
      await mkdir(paths.etcdData, { recursive: true, mode: 0o700 });
      // A running etcd is not restarted for another list of members: it reads that once, without data.
      const isSame = machine.read().services.some((service) => service.name === 'etcd') && hasEtcdData(paths);
      if (!isSame)
        machine.update((record) => ({
          ...record,
          services: withService(
            record.services,
            etcdService({ ...settings, paths, name, address, initialCluster, state: 'existing' }),
          ),
        }));
      await follow();
    },
    async stop() {
      stopEtcdService(machine);
      await follow();
    },
  };
}

function hasEtcdData({ etcdData }: Pick<MachinePaths, 'etcdData'>): boolean {
  return existsSync(join(etcdData, 'member'));
}

/** The directory itself stays: it may be a mount point. */
export async function removeEtcdData({ etcdData }: Pick<MachinePaths, 'etcdData'>): Promise<void> {
  await rm(join(etcdData, 'member'), { recursive: true, force: true });
}

/** Out of the record; the supervisor follows. */
function stopEtcdService(machine: MachineFile): void {
  machine.update((record) => ({
    ...record,
    services: record.services.filter(({ name }) => name !== 'etcd'),
  }));
}
