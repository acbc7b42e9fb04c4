/** Installs the definition of ClusterNetworkPolicy, which the nodes enforce, unless an administrator's or another program's is there. */
import { customResourceDefinitions } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { defineController, watch } from '#runtime/controller.ts';
import { installDefinitions } from '../definitions/custom-resource.ts';
import { CLUSTER_NETWORK_POLICY } from './cluster-network-policy.ts';

const NAME = CLUSTER_NETWORK_POLICY.metadata?.name ?? '';
const MANAGED_BY = 'app.kubernetes.io/managed-by';
const LOOK_AGAIN_MS = 60_000;

export const networkPolicyDefinitionsController = defineController({
  name: 'network-policy-definitions-controller',
  watches: [
    watch(customResourceDefinitions, {
      select: { fieldSelector: `metadata.name=${NAME}` },
      keys: () => [''],
    }),
  ],
  workers: 1,
  resyncEveryMs: LOOK_AGAIN_MS,
  async reconcile(context): Promise<void> {
    // Not the cache: what it has not seen yet would be overwritten.
    const found = await context.api.get(customResourceDefinitions, { name: NAME }).catch((error: unknown) => {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    });
    if (found && found.metadata.labels?.[MANAGED_BY] !== 'capstan') return;
    // Ours is brought up to date once for each leader.
    if (found && context.memory.get('installed') === true) return;
    await installDefinitions(context, [CLUSTER_NETWORK_POLICY]);
    context.memory.set('installed', true);
  },
});
