/** Phase control-plane-prepare: the authorities of the cluster, this machine's leaves and kubeconfigs; of a witness only those of etcd. */
import { externalEtcdFiles } from '../../machine/external-etcd.ts';
import { sharedFiles } from '../kubeadm-certs.ts';
import { downloadCertificates } from '../download-certs.ts';
import { runPhaseWith } from './phase-of-init.ts';
import { certs } from '../init/certs.ts';
import { kubeconfig } from '../init/kubeconfig.ts';
import type { Phase } from '../phase.ts';
import { bootstrapClient, type JoinContext } from './context.ts';
import { claim } from './claim.ts';

const CERTIFICATES_OF_WITNESS = ['etcd-ca', 'etcd-server', 'etcd-peer', 'etcd-healthcheck-client'];

export const controlPlanePrepare: Phase<JoinContext> = {
  name: 'control-plane-prepare',
  short: 'Prepare the machine for serving a control plane, or as a witness',
  phases: [
    {
      name: 'control-plane-prepare/download-certs',
      short: 'Download certificates shared among control-plane nodes from the kubeadm-certs Secret',
      run: download,
    },
    {
      name: 'control-plane-prepare/certs',
      short: 'Generate the certificates for the new control plane components',
      run: makeLeaves,
    },
    {
      name: 'control-plane-prepare/kubeconfig',
      short: 'Generate the kubeconfig for the new control plane components',
      run: makeKubeconfigs,
    },
  ],
};

async function download(context: JoinContext): Promise<void> {
  const { role, options, paths, print, dryRun } = context;
  if (role === 'worker') return;
  print(
    '[download-certs] Downloading the certificates in Secret "kubeadm-certs" in the "kube-system" Namespace',
  );
  if (dryRun) return print(`[download-certs] Would save them to the folder "${paths.pki}"`);
  const joined = await context.discovered();
  await claim(context, joined);
  const { external } = joined.cluster.etcd;
  const all = sharedFiles(paths, external && externalEtcdFiles(paths, external));
  // A witness has etcd's data, and no credentials for the cluster.
  const files = role === 'witness' ? all.filter(({ name }) => name.startsWith('etcd-ca')) : all;
  const written = await downloadCertificates({
    api: bootstrapClient(context, joined),
    files,
    certificateKey: options.certificateKey ?? '',
  });
  print(
    written.length > 0
      ? `[download-certs] Saving the certificates to the folder: "${paths.pki}"`
      : `[download-certs] The certificates are in the folder "${paths.pki}" already`,
  );
}

async function makeLeaves(context: JoinContext): Promise<void> {
  const { role } = context;
  if (role === 'worker') return;
  await runPhaseWith(certs, context, {
    select: (name) => role !== 'witness' || CERTIFICATES_OF_WITNESS.includes(name.replace(/^certs\//, '')),
  });
}

async function makeKubeconfigs(context: JoinContext): Promise<void> {
  if (context.role !== 'control-plane') return;
  // The kubelet gets its own by its token; super-admin is the first machine's alone, as with kubeadm.
  await runPhaseWith(kubeconfig, context, { select: (name) => !/kubelet|super-admin/.test(name) });
}
