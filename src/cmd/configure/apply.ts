/**
 * `capstan config apply`: changes of the configuration of a running cluster. The ConfigMaps kubeadm-config and kubelet-config are written last, so they say
 * what every machine has; a killed run is run again with the same file.
 */
import { UserError } from '#deploy/data-dir.ts';
import { argument, ENCRYPTION_FLAG } from '#deploy/machine/encryption-file.ts';
import { changeMachines } from '#upgrade/configuration/change.ts';
import { beginEncryptionChange, changeEncryption } from '#upgrade/configuration/encryption-change.ts';
import { createServiceCIDR } from '#upgrade/configuration/service-cidrs.ts';
import { retrying } from '#upgrade/retry.ts';
import type { UpgradeTools } from '#upgrade/tools.ts';
import { onControlPlane, type Call, type ChangeFlags } from '../upgrade/upgrade.ts';
import { renderShared, storeConfiguration } from './documents.ts';
import { planOf, renderChanges, type ChangePlan } from './plan.ts';

/** Its exit code: 0 every machine has it, 1 it was taken back. */
export async function runConfigApply(
  flags: ChangeFlags & { readonly config: string },
  call: Call,
): Promise<number> {
  return onControlPlane(flags, call, async ({ cluster, tools, isManual }) => {
    const { print } = call;
    const state = await tools.record.load();
    if (state && state.phase !== 'done' && state.phase !== 'rolled-back')
      throw new UserError('An upgrade is under way: let it end first (capstan upgrade status).');
    const plan = await planOf(cluster, flags.config);
    for (const line of renderChanges(plan)) print(line);
    if (plan.refused.length > 0) throw new UserError('Nothing was changed.');
    if (plan.changes.length === 0) return 0;
    if (isManual && plan.machines.length > 1)
      throw new UserError(
        'There are several machines: give --inventory, or run on each, one after the other: capstan config apply --here --config FILE',
      );
    if (!flags.yes) await call.confirm(`change ${plan.machines.length} machines`);
    return (await changeCluster(plan, { tools, call })) ? 0 : 1;
  });
}

interface Changing {
  readonly tools: UpgradeTools;
  readonly call: Call;
}

/** False: a gate stayed shut, and the machines that were changed are as before. */
async function changeCluster(plan: ChangePlan, { tools, call }: Changing): Promise<boolean> {
  const { api, clock, gates, print } = tools;
  const { machines, before, wanted } = plan;
  await gates.remember();
  for (const object of plan.serviceCIDRs) {
    const name = object.metadata?.name ?? '';
    call.before?.(`ServiceCIDR ${name}`);
    await createServiceCIDR(api, { object, clock });
    print(`[configure] ServiceCIDR ${name} is ready`);
  }
  const around = { ...tools, before: call.before };
  const keys = plan.encryption && {
    plan: plan.encryption,
    current: plan.encryption.current,
    configuration: (encryption: string) => renderShared({ cluster: wanted.cluster, encryption }),
  };
  if (keys) await beginEncryptionChange(keys, around);
  // API servers that are not told of a file yet may have none: they get it with the flags that name it.
  const isNamed = argument(before.cluster.apiServer?.extraArgs, ENCRYPTION_FLAG) !== undefined;
  const encryption = keys && !isNamed ? (keys.current ?? keys.plan.read) : undefined;
  // A kubelet starts again where its machine is given its settings: only where they change.
  const from = renderShared({ ...before, kubelet: wanted.kubelet && before.kubelet });
  const to = renderShared({ ...wanted, encryption });
  if (!(await changeMachines({ machines, from, to }, around))) return false;
  if (keys && !(await changeEncryption(keys, around))) return false;
  call.before?.('store');
  await retrying(clock, () => storeConfiguration(api, wanted));
  print('The cluster is as the file says.');
  return true;
}
