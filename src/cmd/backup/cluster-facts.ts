/** What a backup's objects say about its cluster besides themselves: the configuration that `init` stored, and which kind of nodes there was. Collected while the backup is verified. */
import { ConfigError } from '#machinery/config/read.ts';
import type { BackupFile, BackupRecord } from '#backup/format.ts';
import { subnetsOf } from '#deploy/config/networking.ts';
import { parseClusterConfiguration, parseConfigDocuments } from '#deploy/config/read.ts';
import type { ClusterConfiguration, KubeletConfiguration } from '#deploy/config/types.ts';
import { UserError, type ClusterSettings, type RuntimeKind } from '#deploy/data-dir.ts';

const CONFIG_MAPS = '/registry/configmaps/kube-system/';
const NODES = '/registry/minions/';
const SIMULATED = 'simulated://';

export class ClusterFacts {
  /** Of a cluster of `up`, undefined. */
  #configuration: string | undefined;
  #kubelet: string | undefined;
  #settings: ClusterSettings | undefined;
  #runtime: RuntimeKind | undefined;

  seeFile({ path, content }: BackupFile): void {
    if (path === 'capstan.json') this.#settings = JSON.parse(content.toString()) as ClusterSettings;
  }

  see({ key, value }: Pick<BackupRecord, 'key' | 'value'>): void {
    if (key === `${CONFIG_MAPS}kubeadm-config`)
      this.#configuration = dataOf(value)['ClusterConfiguration'] ?? this.#configuration;
    else if (key === `${CONFIG_MAPS}kubelet-config`) this.#kubelet = dataOf(value)['kubelet'];
    else if (key.startsWith(NODES) && this.#runtime !== 'cri') this.#runtime = runtimeOf(value);
  }

  /** Throws a UserError where it cannot be read. Of a cluster of `up`: its ranges. */
  configuration(): ClusterConfiguration {
    const text = this.#configuration;
    if (text !== undefined) return parsed('kubeadm-config', () => parseClusterConfiguration(text));
    const { podCIDR: podSubnet, serviceCIDR: serviceSubnet } = this.#settings ?? {};
    if (podSubnet === undefined || serviceSubnet === undefined) return {};
    return { networking: { podSubnet, serviceSubnet } };
  }

  /** Without paths of the machine that it was written on. */
  kubelet(): KubeletConfiguration | undefined {
    const text = this.#kubelet;
    if (text === undefined) return undefined;
    const { kubelet } = parsed('kubelet-config', () => parseConfigDocuments(text));
    if (!kubelet) return undefined;
    const { staticPodPath: _, authentication, ...rest } = kubelet;
    const { x509: __, ...others } = authentication ?? {};
    return { ...rest, authentication: others };
  }

  /** 'simulated' where every node is. */
  get runtime(): RuntimeKind {
    return this.#runtime ?? 'cri';
  }

  ranges(): { readonly podCIDR: string; readonly serviceCIDR: string } {
    const { podSubnet, serviceSubnet } = subnetsOf(this.configuration());
    return { podCIDR: podSubnet, serviceCIDR: serviceSubnet };
  }
}

function dataOf(value: Buffer): Readonly<Record<string, string>> {
  return (JSON.parse(value.toString()) as { data?: Record<string, string> }).data ?? {};
}

function runtimeOf(value: Buffer): RuntimeKind {
  const { status } = JSON.parse(value.toString()) as {
    status?: { nodeInfo?: { containerRuntimeVersion?: string } };
  };
  return status?.nodeInfo?.containerRuntimeVersion?.startsWith(SIMULATED) ? 'simulated' : 'cri';
}

function parsed<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof ConfigError)
      throw new UserError(`ConfigMap kube-system/${name} of the backup: ${error.message}.`, error);
    throw error;
  }
}
