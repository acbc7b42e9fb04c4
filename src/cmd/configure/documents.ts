/** The documents of a changed configuration: what a file asks for, what the cluster has, and what is handed to each machine. */
import type { ServiceCIDR } from '#api/types.ts';
import { parseEncryptionConfiguration } from '#apiserver/encryption/configuration.ts';
import type { Client } from '#client/client.ts';
import { configMaps } from '#client/refs.ts';
import { defaultCluster, defaultKubelet, type DefaultedCluster } from '#deploy/config/defaults.ts';
import { parseConfigDocuments, readConfigFile } from '#deploy/config/read.ts';
import type { ClusterConfiguration, KubeletConfiguration } from '#deploy/config/types.ts';
import { requireValid } from '#deploy/config/validate.ts';
import { UserError } from '#deploy/data-dir.ts';
import { serviceAddress } from '#deploy/machine/service-address.ts';
import { renderKubeletConfig } from '#deploy/phases/init/kubelet-start.ts';
import { isStatusError } from '#machinery/errors.ts';
import { parseYaml, stringifyYaml } from '#machinery/yaml.ts';
import { errorMessage } from '#stdx/log.ts';
import type { EncryptionConfiguration } from '#upgrade/configuration/encryption-keys.ts';
import { CLUSTER_CONFIGURATION, KUBEADM_CONFIG } from '#upgrade/kubeadm-config.ts';
import { KUBERNETES_VERSION } from '../version.ts';

/** What every machine of the cluster has in common. */
export interface SharedConfiguration {
  readonly cluster: DefaultedCluster;
  /** Undefined: it is not known, and stays as it is. */
  readonly kubelet?: KubeletConfiguration | undefined;
  /** The file with the keys of encryption, as it is: of control planes. Undefined: it stays as it is. It is in no ConfigMap. */
  readonly encryption?: string | undefined;
}

/** What a file asks for; what it leaves out stays. */
export interface GivenConfiguration {
  readonly cluster?: ClusterConfiguration | undefined;
  readonly kubelet?: KubeletConfiguration | undefined;
  readonly serviceCIDRs: readonly ServiceCIDR[];
  readonly encryption?: EncryptionConfiguration | undefined;
  readonly warnings: readonly string[];
}

const ENCRYPTION = 'EncryptionConfiguration';
const SERVICE_CIDR = 'ServiceCIDR';
const SERVICE_CIDR_VERSION = 'networking.k8s.io/v1';
const KUBELET_CONFIG = { name: 'kubelet-config', namespace: 'kube-system' };
const KUBELET_KEY = 'kubelet';

/** Throws a UserError. */
export function readGiven(file: string): GivenConfiguration {
  const documents = readConfigFile(file, { others: [SERVICE_CIDR, ENCRYPTION] });
  requireValid(documents);
  const { cluster, kubelet, others = [], warnings } = documents;
  const ranges = others.filter(({ kind }) => kind === SERVICE_CIDR);
  const [encryption, another] = others.filter(({ kind }) => kind === ENCRYPTION);
  if (another) throw new UserError(`--config ${file} holds ${ENCRYPTION} twice.`);
  const wrong = ranges.find(({ apiVersion }) => apiVersion !== SERVICE_CIDR_VERSION);
  if (wrong)
    throw new UserError(
      `--config ${file}: ${SERVICE_CIDR} has the apiVersion ${String(wrong['apiVersion'])}; it should be ${SERVICE_CIDR_VERSION}.`,
    );
  if (!cluster && !kubelet && others.length === 0)
    throw new UserError(
      `--config ${file} holds nothing that can be changed: it should have a ${CLUSTER_CONFIGURATION}, KubeletConfiguration, ${ENCRYPTION} or ${SERVICE_CIDR}.`,
    );
  return {
    cluster,
    kubelet,
    serviceCIDRs: ranges as ServiceCIDR[],
    encryption: encryption && readEncryption(stringifyYaml(encryption), `--config ${file}`),
    warnings,
  };
}

/** where: for messages. Throws a UserError. */
export function readEncryption(content: string, where: string): EncryptionConfiguration {
  try {
    parseEncryptionConfiguration(content);
  } catch (error) {
    throw new UserError(`${where}: ${ENCRYPTION}: ${errorMessage(error)}.`, error);
  }
  return parseYaml(content).value as EncryptionConfiguration;
}

/** As its ConfigMaps say. */
export async function storedConfiguration(api: Client): Promise<SharedConfiguration> {
  const { data } = await api.get(configMaps, KUBEADM_CONFIG);
  const cluster = defaulted(parseConfigDocuments(data?.[CLUSTER_CONFIGURATION] ?? '').cluster ?? {});
  const kubelet = await dataOf(api, KUBELET_CONFIG, KUBELET_KEY);
  return { cluster, kubelet: kubelet === undefined ? undefined : parseConfigDocuments(kubelet).kubelet };
}

async function dataOf(
  api: Client,
  place: { readonly name: string; readonly namespace: string },
  key: string,
): Promise<string | undefined> {
  try {
    return (await api.get(configMaps, place)).data?.[key];
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

function defaulted(cluster: ClusterConfiguration): DefaultedCluster {
  return defaultCluster(cluster, { kubernetesVersion: KUBERNETES_VERSION.split('+', 1)[0] ?? '' });
}

/** With the defaults that init gives it; the paths are those of the one that is stored. */
export function defaultedKubelet(
  given: KubeletConfiguration,
  { cluster, kubelet = {} }: SharedConfiguration,
): KubeletConfiguration {
  return defaultKubelet(given, {
    cluster,
    dnsAddress: serviceAddress(cluster.networking.serviceSubnet, 10),
    clientCAFile: kubelet.authentication?.x509?.clientCAFile ?? '',
    staticPodPath: kubelet.staticPodPath ?? '',
  });
}

/** One YAML text, for a machine. */
export function renderShared({ cluster, kubelet, encryption }: SharedConfiguration): string {
  const documents = [
    renderCluster(cluster),
    ...(kubelet ? [renderKubeletConfig(kubelet)] : []),
    ...(encryption === undefined ? [] : [encryption]),
  ];
  return documents.join('---\n');
}

function renderCluster(cluster: DefaultedCluster): string {
  return stringifyYaml({ apiVersion: 'kubeadm.k8s.io/v1beta4', kind: CLUSTER_CONFIGURATION, ...cluster });
}

/** Throws a ConfigError. */
export function parseShared(content: string): SharedConfiguration {
  const { cluster = {}, kubelet, others = [] } = parseConfigDocuments(content, { others: [ENCRYPTION] });
  const [encryption] = others;
  return {
    cluster: defaulted(cluster),
    kubelet,
    // The same bytes again: API servers report a file by its hash.
    encryption: encryption && stringifyYaml(encryption),
  };
}

export async function storeConfiguration(
  api: Client,
  { cluster, kubelet }: SharedConfiguration,
): Promise<void> {
  const store = (place: typeof KUBELET_CONFIG, data: Readonly<Record<string, string>>): Promise<unknown> =>
    api.patch(configMaps, place, { type: 'merge', patch: { data } });
  await store(KUBEADM_CONFIG, { [CLUSTER_CONFIGURATION]: renderCluster(cluster) });
  if (kubelet) await store(KUBELET_CONFIG, { [KUBELET_KEY]: renderKubeletConfig(kubelet) });
}
