/** `capstan certs generate-csr`: keys and signing requests for an external authority, beside the certificates' paths. */
import type { Command } from 'commander';
import { requestCertificates } from '#cmd/machine/certificate-requests.ts';
import { action, print } from '../context.ts';
import { kubeadmDirs, type LayoutOptions } from './layout.ts';

interface Options extends LayoutOptions {
  readonly config?: string;
}

export function register(certs: Command): void {
  certs
    .command('generate-csr')
    .description('write keys and signing requests for an external authority')
    .option('--cert-dir <dir>', 'where the certificates go (default: /etc/kubernetes/pki)')
    .option('--kubeconfig-dir <dir>', 'where the kubeconfigs go (default: the folder around --cert-dir)')
    .option('--rootfs <dir>', 'a folder before every path')
    .option('--config <file>', 'InitConfiguration and ClusterConfiguration, for names and addresses')
    .action(action(generate));
}

async function generate({ config, ...layout }: Options): Promise<void> {
  const paths = await requestCertificates({
    config,
    dirs: (certificatesDir) => kubeadmDirs({ ...layout, certDir: layout.certDir ?? certificatesDir }),
    warn: (line) => print(`warning: ${line}`),
  });
  for (const path of paths) print(path);
  print('Have them signed, and put each certificate beside its request: NAME.crt; of a kubeconfig');
  print('NAME.conf.crt, and run `capstan certs renew NAME.conf`.');
}
