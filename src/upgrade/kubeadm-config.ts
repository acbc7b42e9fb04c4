/** The version in ConfigMap kube-system/kubeadm-config, which kubeadm's upgrade writes too and machines that join later read. Nothing where there is none. */
import type { Client } from '#client/client.ts';
import { configMaps } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';

export const KUBEADM_CONFIG = { name: 'kubeadm-config', namespace: 'kube-system' };
/** Its key, and the kind of the YAML in it. */
export const CLUSTER_CONFIGURATION = 'ClusterConfiguration';

/** version: 'v1.37.0+capstan.0.2.0' */
export async function storeKubernetesVersion(api: Client, version: string): Promise<void> {
  try {
    const { data } = await api.get(configMaps, KUBEADM_CONFIG);
    const before = data?.[CLUSTER_CONFIGURATION] ?? '';
    const after = before.replace(
      /^kubernetesVersion:.*$/m,
      `kubernetesVersion: ${version.replace(/\+.*/, '')}`,
    );
    if (after === before) return;
    await api.patch(configMaps, KUBEADM_CONFIG, {
      type: 'merge',
      patch: { data: { [CLUSTER_CONFIGURATION]: after } },
    });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}
