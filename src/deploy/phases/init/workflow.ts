/** `capstan init` as the list of its phases. */
import { X509Certificate } from 'node:crypto';
import { deriveClusterID } from '../../machine/cluster-id.ts';
import { hostPort } from '../../config/endpoint.ts';
import type { Phase, Workflow } from '../phase.ts';
import { addon } from './addon.ts';
import { bootstrapToken } from './bootstrap-token.ts';
import { certs } from './certs.ts';
import type { InitContext } from './context.ts';
import { controlPlane } from './control-plane.ts';
import { etcd } from './etcd.ts';
import { clusterAuthority, kubeconfig } from './kubeconfig.ts';
import { kubeletFinalize } from './kubelet-finalize.ts';
import { kubeletStart } from './kubelet-start.ts';
import { markControlPlane } from './mark-control-plane.ts';
import { preflight } from './preflight.ts';
import { restoreCerts, restoreObjects } from './restore.ts';
import { showJoinCommand } from './show-join-command.ts';
import { uploadCerts } from './upload-certs.ts';
import { uploadConfig } from './upload-config.ts';
import { waitControlPlane } from './wait-control-plane.ts';

export const INIT_WORKFLOW: Workflow<InitContext> = {
  name: 'init',
  phases: [
    preflight,
    claimed(restoreCerts),
    claimed(certs),
    identified(kubeconfig),
    etcd,
    restoreObjects,
    controlPlane,
    kubeletStart,
    waitControlPlane,
    uploadConfig,
    uploadCerts,
    markControlPlane,
    bootstrapToken,
    kubeletFinalize,
    addon,
    showJoinCommand,
  ],
};

/** The first phase that writes claims the machine in the record: from then on it can be nothing else. */
function claimed(phase: Phase<InitContext>): Phase<InitContext> {
  return {
    ...phase,
    async run(context) {
      const { machine, init, endpoint, cluster, dryRun } = context;
      const local = init.localAPIEndpoint;
      if (!dryRun)
        machine.update((record) => ({
          ...record,
          role: 'control-plane',
          nodeName: init.nodeRegistration.name,
          controlPlaneEndpoint: endpoint,
          advertiseAddress: local.advertiseAddress,
          bindPort: local.bindPort,
          seeds: [hostPort(local.advertiseAddress, local.bindPort)],
          networking: cluster.networking,
        }));
      await phase.run?.(context);
    },
  };
}

/** The cluster's name on its machines comes from its authority. */
function identified(phase: Phase<InitContext>): Phase<InitContext> {
  return {
    ...phase,
    async run(context) {
      const { machine, paths, dryRun } = context;
      if (!dryRun) {
        const { certificatePem } = await clusterAuthority(paths.pki);
        machine.update((record) => ({
          ...record,
          clusterID: deriveClusterID(new X509Certificate(certificatePem)),
        }));
      }
      await phase.run?.(context);
    },
  };
}
