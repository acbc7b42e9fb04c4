/** Phase upload-config: the configuration of the cluster and of its kubelets as ConfigMaps, which machines that join read. */
import { configMaps, roleBindings, roles } from '#client/refs.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import type { DefaultedCluster } from '../../config/defaults.ts';
import { applyObject } from '../apply-object.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';
import { renderKubeletConfig } from './kubelet-start.ts';

const NAMESPACE = 'kube-system';
const RBAC = 'rbac.authorization.k8s.io';
const READERS = ['system:bootstrappers:kubeadm:default-node-token', 'system:nodes'];

interface Upload {
  readonly name: string;
  readonly role: string;
  readonly data: Readonly<Record<string, string>>;
}

export const uploadConfig: Phase<InitContext> = {
  name: 'upload-config',
  short: 'Upload the kubeadm and kubelet configuration to ConfigMaps',
  phases: [
    {
      name: 'upload-config/kubeadm',
      short: 'Upload the kubeadm ClusterConfiguration to a ConfigMap',
      run: (context) =>
        upload(context, {
          name: 'kubeadm-config',
          role: 'kubeadm:nodes-kubeadm-config',
          data: { ClusterConfiguration: renderClusterConfig(context.cluster) },
        }),
    },
    {
      name: 'upload-config/kubelet',
      short: 'Upload the kubelet component config to a ConfigMap',
      run: (context) =>
        upload(context, {
          name: 'kubelet-config',
          role: 'kubeadm:kubelet-config',
          data: { kubelet: renderKubeletConfig(context.kubelet) },
        }),
    },
  ],
};

function renderClusterConfig(cluster: DefaultedCluster): string {
  return stringifyYaml({
    apiVersion: 'kubeadm.k8s.io/v1beta4',
    kind: 'ClusterConfiguration',
    ...cluster,
  });
}

async function upload({ program, print, dryRun }: InitContext, { name, role, data }: Upload): Promise<void> {
  const what = `the configuration in ConfigMap "${name}" in the "${NAMESPACE}" Namespace`;
  if (dryRun) return print(`[upload-config] Would store ${what}`);
  print(`[upload-config] Storing ${what}`);
  const api = program.api();
  await applyObject(api, configMaps, { metadata: { name, namespace: NAMESPACE }, data });
  await applyObject(api, roles, {
    metadata: { name: role, namespace: NAMESPACE },
    rules: [{ apiGroups: [''], resources: ['configmaps'], resourceNames: [name], verbs: ['get'] }],
  });
  await applyObject(api, roleBindings, {
    metadata: { name: role, namespace: NAMESPACE },
    roleRef: { apiGroup: RBAC, kind: 'Role', name: role },
    subjects: READERS.map((group) => ({ apiGroup: RBAC, kind: 'Group', name: group })),
  });
}
