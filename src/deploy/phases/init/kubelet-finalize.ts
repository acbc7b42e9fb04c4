/** Phase kubelet-finalize: the kubelet's credentials move from its kubeconfig into the file that it renews itself. */
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { writeKubeconfig } from '../../pki/kubeconfig.ts';
import { kubeletClientPath, writeKubeletClient } from '../kubelet-client.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';

export const kubeletFinalize: Phase<InitContext> = {
  name: 'kubelet-finalize',
  short: 'Updates settings relevant to the kubelet after TLS bootstrap',
  phases: [
    {
      name: 'kubelet-finalize/enable-client-cert-rotation',
      short: 'Enable kubelet client certificate rotation',
      run,
    },
  ],
};

async function run({ paths, cluster, init, kubelet, print, dryRun }: InitContext): Promise<void> {
  const path = paths.kubeconfig('kubelet');
  if (kubelet.rotateCertificates === false)
    return print('[kubelet-finalize] rotateCertificates is off: the kubelet keeps its certificate');
  if (dryRun) return print(`[kubelet-finalize] Would update "${path}" to a rotatable client certificate`);
  const { server, ca, cert, key } = resolveContext(loadKubeconfig({ path })).options;
  if (cert === undefined || key === undefined)
    return print(`[kubelet-finalize] "${path}" points to a rotatable kubelet client certificate already`);
  print(`[kubelet-finalize] Updating "${path}" to point to a rotatable kubelet client certificate and key`);
  await writeKubeletClient(paths.kubeletPki, { certificatePem: String(cert), keyPem: String(key) });
  await writeKubeconfig(path, {
    server,
    caPem: String(ca),
    clusterName: cluster.clusterName,
    userName: `system:node:${init.nodeRegistration.name}`,
    credentials: { certificateFile: kubeletClientPath(paths.kubeletPki) },
  });
}
