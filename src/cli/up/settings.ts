/** The settings a start of `capstan up` uses. Written down in the data directory. */
import {
  createSettings,
  DATA_FORMAT,
  newClusterId,
  writeSettings,
  type ClusterSettings,
  type DataDir,
} from '#deploy/data-dir.ts';
import { releaseNetworks, simulatedPodCIDR } from '#deploy/networks.ts';
import {
  DEFAULT_BIND_ADDRESS,
  DEFAULT_HTTPS_PORT,
  type UpOptions,
  extraNames,
  requireOneNode,
} from './options.ts';
import { newNetworks } from './networks.ts';
import { chooseRuntime } from './runtime.ts';

interface SettleInput {
  readonly dir: DataDir;
  readonly stored: ClusterSettings | undefined;
  readonly options: UpOptions;
  readonly apiServerArgs: readonly string[];
  readonly say: (text: string) => void;
}

/** The settings this start uses: stored ones, overridden by options; a new cluster gets its id and address ranges once. Written down. */
export async function settle({
  dir,
  stored,
  options,
  apiServerArgs,
  say,
}: SettleInput): Promise<ClusterSettings> {
  // The kind of node is fixed at creation: containers do not become simulated because a package is missing today.
  const wanted = stored?.runtime ?? options.runtime ?? 'auto';
  const runtime =
    wanted === 'simulated'
      ? 'simulated'
      : chooseRuntime({ mustBeReal: wanted === 'cri', install: options.install, say });
  if (runtime === 'cri') requireOneNode(options.nodes);
  const overrides = {
    httpsPort: options.httpsPort ?? stored?.httpsPort ?? DEFAULT_HTTPS_PORT,
    bindAddress: options.bindAddress ?? stored?.bindAddress ?? DEFAULT_BIND_ADDRESS,
    nodes: options.nodes ?? stored?.nodes ?? 1,
  };
  const advertiseAddress = options.advertiseAddress ?? stored?.advertiseAddress;
  const certExtraSANs = extraNames(options.apiserverCertExtraSans ?? stored?.certExtraSANs ?? []);
  const componentEndpoints = options.componentEndpoints ?? stored?.componentEndpoints ?? false;
  const given = {
    ...(componentEndpoints ? { componentEndpoints } : {}),
    ...(apiServerArgs.length > 0 ? { apiServerArgs } : {}),
    ...(advertiseAddress === undefined ? {} : { advertiseAddress }),
    ...(certExtraSANs.length > 0 ? { certExtraSANs } : {}),
  };
  if (stored) {
    const { apiServerArgs: _args, certExtraSANs: _names, componentEndpoints: _endpoints, ...rest } = stored;
    const settings = {
      ...rest,
      ...overrides,
      ...given,
      ...(runtime === 'simulated'
        ? { podCIDR: simulatedPodCIDR({ nodes: overrides.nodes, podCIDR: stored.podCIDR }) }
        : {}),
    };
    writeSettings(dir, settings);
    return settings;
  }
  const id = newClusterId();
  const networks = await newNetworks({ ...options, id, dir, runtime, nodes: overrides.nodes });
  try {
    const settings = createSettings(dir, {
      format: DATA_FORMAT,
      id,
      runtime,
      ...overrides,
      ...given,
      ...networks,
    });
    if (settings.id !== id) releaseNetworks(id);
    return settings;
  } catch (error) {
    releaseNetworks(id);
    throw error;
  }
}
