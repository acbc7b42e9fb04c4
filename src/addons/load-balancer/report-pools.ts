/** The status of IPAddressPools: how many addresses are given, and whether all entries are understood. */
import { ipAddresses } from '#client/refs.ts';
import { updateCondition } from '#component-helpers/conditions.ts';
import { deepEqual } from '#machinery/json.ts';
import { formatTime } from '#machinery/time.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { ipAddressPools, POOL, type IPAddressPool } from './api.ts';
import type { AddressPool } from './pools.ts';

type PoolStatus = NonNullable<IPAddressPool['status']>;

export async function reportPools(
  { api, clock, informer }: Pick<ReconcileContext, 'api' | 'clock' | 'informer'>,
  pools: readonly AddressPool[],
): Promise<void> {
  const given = Map.groupBy(informer(ipAddresses).list(), ({ metadata }) => metadata.labels?.[POOL]);
  for (const { name, source, problems } of pools) {
    const { generation, resourceVersion } = source.metadata;
    const conditions = updateCondition(source.status?.conditions, {
      type: 'Ready',
      status: problems.length === 0 ? 'True' : 'False',
      reason: problems.length === 0 ? 'Valid' : 'InvalidAddresses',
      message: problems.join('; '),
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      lastTransitionTime: formatTime(clock.now()),
    });
    const status: PoolStatus = { assigned: given.get(name)?.length ?? 0, conditions };
    if (deepEqual(status, source.status)) continue;
    const patch = { metadata: { resourceVersion }, status };
    await api.patch(ipAddressPools, { name }, { type: 'merge', subresource: 'status', patch });
  }
}
