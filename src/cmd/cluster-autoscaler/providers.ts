/** The provider that --cloud-provider and --cloud-config name. */
import { readFile } from 'node:fs/promises';
import type { NodeProvider } from '#capacity/autoscaler/provider.ts';
import { parseExternalGrpcConfig } from '#capacity/external-grpc/config.ts';
import { createExternalGrpcProvider } from '#capacity/external-grpc/provider.ts';
import { parseNodeGroups, type NodeGroups } from '#capacity/node-groups.ts';
import { createScriptProvider, parseScriptConfig } from '#capacity/script-provider.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { ComponentContext } from '#runtime/component.ts';
import { errorMessage } from '#stdx/log.ts';
import { readFlags } from '../flags/define.ts';
import { PROVIDER_FLAGS, PROVIDERS, type ClusterAutoscalerFlags, type ProviderName } from './flags.ts';
import { createSimulatedProvider } from './simulated-provider.ts';

type ProviderContext = Pick<ComponentContext, 'api' | 'clock' | 'log' | 'identity'>;
type MakeProvider = (context: ProviderContext) => Promise<NodeProvider>;

/** From the contents of --cloud-config. Throws what is wrong with it. */
const MAKERS: Readonly<Record<ProviderName, (content: string) => MakeProvider>> = {
  simulated(content) {
    const config = withTemplates(parseNodeGroups(content));
    return (context) => createSimulatedProvider({ ...context, config });
  },
  script(content) {
    const config = parseScriptConfig(content);
    return () => Promise.resolve(createScriptProvider(config));
  },
  externalgrpc(content) {
    const config = parseExternalGrpcConfig(content);
    return () => createExternalGrpcProvider(config);
  },
};

/** Reads the configuration at once; what it returns is called for each term of leadership. Throws a UserError. */
export async function providerFrom(
  flags: Pick<ClusterAutoscalerFlags, 'cloudProvider' | 'cloudConfig'>,
): Promise<MakeProvider> {
  const { cloudProvider, cloudConfig } = readFlags(PROVIDER_FLAGS, flags);
  if (cloudProvider === undefined)
    throw new UserError(`--cloud-provider is missing; it should be one of ${PROVIDERS.join(', ')}.`);
  if (cloudConfig === undefined)
    throw new UserError(`--cloud-config is missing; it is the configuration of ${cloudProvider}.`);
  try {
    return MAKERS[cloudProvider](await readFile(cloudConfig, 'utf8'));
  } catch (error) {
    throw new UserError(`--cloud-config ${cloudConfig}: ${errorMessage(error)}.`, error);
  }
}

function withTemplates(config: NodeGroups): NodeGroups {
  const bare = config.groups.findIndex(({ template }) => template === undefined);
  if (bare >= 0)
    throw new Error(`groups[${bare}].template is missing; it says what a simulated node is like`);
  return config;
}
