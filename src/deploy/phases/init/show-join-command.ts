/** Phase show-join-command: the next steps, and the join commands of further machines; in kubeadm's form. */
import { X509Certificate } from 'node:crypto';
import { publicKeyHash } from '#pki/keys.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';
import { clusterAuthority } from './kubeconfig.ts';

export const showJoinCommand: Phase<InitContext> = {
  name: 'show-join-command',
  short: 'Show the join command for control-plane and worker node',
  async run({ init, paths, endpoint, options, print, dryRun }) {
    if (dryRun) return print('[show-join-command] Would print the commands that further machines join with');
    const { certificatePem } = await clusterAuthority(paths.pki);
    const token = options.printToken ? (init.bootstrapTokens[0]?.token ?? '') : '<value withheld>';
    const key = options.printCertificateKey ? options.certificateKey : '<value withheld>';
    const join = joinCommand({
      endpoint,
      token,
      caCertHashes: [publicKeyHash(new X509Certificate(certificatePem))],
    });
    const lines = [
      '',
      'Your Kubernetes control-plane has initialized successfully!',
      '',
      'To start using your cluster, you need to run the following as a regular user:',
      '',
      '  mkdir -p $HOME/.kube',
      `  sudo cp -i ${paths.kubeconfig('admin')} $HOME/.kube/config`,
      '  sudo chown $(id -u):$(id -g) $HOME/.kube/config',
      '',
      'Alternatively, if you are the root user, you can run:',
      '',
      `  export KUBECONFIG=${paths.kubeconfig('admin')}`,
      '',
      ...(options.uploadCerts
        ? [
            'You can now join any number of control-plane nodes running the following command on each as root:',
            '',
            `  ${controlPlaneJoin(join, key).join('\n')}`,
            '',
            'Please note that the certificate-key gives access to cluster sensitive data, keep it secret!',
            'As a safeguard, uploaded-certs will be deleted in two hours; If necessary, you can use',
            '"capstan init phase upload-certs --upload-certs" to reload certs afterward.',
            '',
          ]
        : []),
      'Then you can join any number of worker nodes by running the following on each as root:',
      '',
      ...join,
      '',
    ];
    for (const line of lines) print(line);
  },
};

interface JoinCommand {
  /** HOST:PORT */
  readonly endpoint: string;
  readonly token: string;
  readonly caCertHashes: readonly string[];
}

/** Two lines, the first of which ends with a backslash. */
export function joinCommand({ endpoint, token, caCertHashes }: JoinCommand): string[] {
  const pins = caCertHashes.map((hash) => `--discovery-token-ca-cert-hash ${hash}`);
  return [`capstan join ${endpoint} --token ${token} \\`, `\t${pins.join(' ')} `];
}

export function controlPlaneJoin(join: readonly string[], certificateKey: string): string[] {
  const [first = '', second = ''] = join;
  return [first, `${second}\\`, `\t--control-plane --certificate-key ${certificateKey}`];
}
