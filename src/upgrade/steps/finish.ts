/** Steps migrate and finish: objects in the new storage version, the version of the cluster's configuration, and what machines start with from now on. */
import { storeKubernetesVersion } from '../kubeadm-config.ts';
import { changedKinds, rewriteAll } from '../migrate.ts';
import { retrying } from '../retry.ts';
import { observed, type ApplyOptions } from '../tools.ts';

export async function migrateStorage(options: ApplyOptions): Promise<void> {
  const { api, clock, record, print } = options;
  for (const kind of await retrying(clock, () => changedKinds(api, record.state.hashes ?? {}))) {
    const { group, plural } = kind.ref;
    const name = group ? `${plural}.${group}` : plural;
    options.before?.(`migrate ${name}`);
    const written = await rewriteAll(options, kind);
    print(`[migrate] ${name}: ${written} objects in the new storage version`);
  }
}

export async function finishUpgrade(options: ApplyOptions): Promise<void> {
  const { api, clock, driver, record } = options;
  await retrying(clock, () => storeKubernetesVersion(api, record.state.to));
  for (const machine of await observed(options)) {
    options.before?.(`finish ${machine.name}`);
    await driver.change(machine, { step: 'finish' });
  }
}
