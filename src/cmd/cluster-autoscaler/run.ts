/** `capstan cluster-autoscaler`: adds machines for pods that fit nowhere, and removes those that are not needed. */
import { createClusterAutoscaler } from '#capacity/autoscaler/component.ts';
import { electionFrom } from '../flags/common.ts';
import { readFlags } from '../flags/define.ts';
import { optionalAddress } from '../flags/endpoints.ts';
import { runComponent } from '../run-component.ts';
import { AUTOSCALING_FLAGS, CLUSTER_AUTOSCALER_FLAGS, type ClusterAutoscalerFlags } from './flags.ts';
import { providerFrom } from './providers.ts';
import { autoscalerSettingsFrom } from './settings.ts';

const NAME = 'cluster-autoscaler';
const PORT = 8085;

export async function runClusterAutoscaler(flags: ClusterAutoscalerFlags): Promise<void> {
  const settings = autoscalerSettingsFrom(flags);
  const leaderElect = electionFrom(flags, NAME);
  const makeProvider = await providerFrom(flags);
  const { address: text } = readFlags(AUTOSCALING_FLAGS, flags);
  await runComponent({
    name: NAME,
    flags,
    endpoints: {
      table: CLUSTER_AUTOSCALER_FLAGS,
      access: flags,
      listen: optionalAddress('--address', { text, defaultPort: PORT }),
    },
    create: (context) =>
      createClusterAutoscaler({
        ...context,
        settings,
        leaderElect,
        provider: () => makeProvider(context),
      }),
  });
}
