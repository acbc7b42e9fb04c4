/** Phase upload-certs: the authorities for joining control planes, encrypted under the certificate key; only with --upload-certs. */
import { externalEtcdFiles } from '../../machine/external-etcd.ts';
import { sharedFiles } from '../kubeadm-certs.ts';
import type { Phase } from '../phase.ts';
import { uploadCertificates } from '../upload-certs.ts';
import type { InitContext } from './context.ts';

export const uploadCerts: Phase<InitContext> = {
  name: 'upload-certs',
  short: 'Upload certificates to kubeadm-certs',
  async run({ options, paths, cluster, program, clock, print, dryRun }) {
    if (!options.uploadCerts) return print('[upload-certs] Skipping phase. Please see --upload-certs');
    if (dryRun) return print('[upload-certs] Would store the certificates in Secret "kubeadm-certs"');
    print('[upload-certs] Storing the certificates in Secret "kubeadm-certs" in the "kube-system" Namespace');
    const { external } = cluster.etcd;
    await uploadCertificates({
      api: program.api(),
      files: sharedFiles(paths, external && externalEtcdFiles(paths, external)),
      certificateKey: options.certificateKey,
      nowMs: clock.now(),
    });
    print('[upload-certs] Using certificate key:');
    print(options.printCertificateKey ? options.certificateKey : '<not shown: --skip-certificate-key-print>');
  },
};
