/** Phase etcd: the stacked member of the first control plane, as its supervisor will run it; or nothing where etcd is external. */
import { mkdir } from 'node:fs/promises';
import { etcdService, peerURL } from '../../machine/etcd-service.ts';
import { withService } from '../../machine/services.ts';
import { findEtcd } from '../../packages/etcd.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';

export const etcd: Phase<InitContext> = {
  name: 'etcd',
  short: 'Set up the local etcd instance',
  phases: [{ name: 'etcd/local', short: 'Set up a local, single-node etcd instance', run }],
};

async function run({
  cluster,
  init,
  paths,
  machine,
  options,
  print,
  warn,
  dryRun,
}: InitContext): Promise<void> {
  const { local } = cluster.etcd;
  if (!local) return print('[etcd] External etcd mode: Skipping local etcd');
  if (dryRun) return print(`[etcd] Would run a local etcd with its data in "${paths.etcdData}"`);
  const found = await findEtcd({
    given: options.etcdBinary,
    kept: paths.capstan,
    mayFetch: options.mayFetchEtcd,
    print: (line) => print(`[etcd] ${line}`),
  });
  if (found.remark) warn(found.remark);
  await mkdir(paths.etcdData, { recursive: true, mode: 0o700 });
  const name = init.nodeRegistration.name;
  const address = init.localAPIEndpoint.advertiseAddress;
  const url = peerURL(address);
  machine.update((record) => ({
    ...record,
    etcd: { ...record.etcd, name, peerURL: url },
    services: withService(
      record.services,
      etcdService({
        program: found.program,
        paths,
        name,
        address,
        initialCluster: `${name}=${url}`,
        state: 'new',
        extraArgs: local.extraArgs,
        env:
          local.extraEnvs &&
          Object.fromEntries(local.extraEnvs.map(({ name = '', value = '' }) => [name, value])),
      }),
    ),
  }));
  print(`[etcd] Local etcd ${found.version} at ${found.program}, data in "${paths.etcdData}"`);
}
