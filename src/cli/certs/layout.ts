/** Which certificates a command of `certs` is about: --data-dir, or kubeadm's folders. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import {
  dataDirCertificates,
  kubeadmCertificates,
  type CertificateSet,
} from '#deploy/phases/certificate-files.ts';
import { machinePaths } from '#deploy/machine/paths.ts';

export interface LayoutOptions {
  readonly certDir?: string;
  readonly kubeconfigDir?: string;
  readonly rootfs?: string;
  readonly dataDir?: string;
}

export function addLayoutOptions(command: Command): Command {
  return command
    .option('--cert-dir <dir>', 'where the certificates are (default: /etc/kubernetes/pki)')
    .option('--kubeconfig-dir <dir>', 'where the kubeconfigs are (default: the folder around --cert-dir)')
    .option('--rootfs <dir>', 'a folder before every path')
    .option('--data-dir <dir>', 'the certificates of a cluster of `capstan up` or `apiserver --data-dir`');
}

export async function certificateSet(options: LayoutOptions): Promise<CertificateSet> {
  const { certDir, kubeconfigDir } = kubeadmDirs(options);
  const set =
    options.dataDir === undefined
      ? kubeadmCertificates({
          certDir,
          kubeconfigDir,
          externalEtcd: !existsSync(join(certDir, 'etcd')),
        })
      : await dataDirCertificates(options.dataDir);
  if (!existsSync(join(set.dir, 'ca.crt')))
    throw new UserError(
      `There are no certificates in ${set.dir}: ca.crt is not there. Name their folder with --cert-dir, or --data-dir for a cluster of \`capstan up\`.`,
    );
  return set;
}

export function kubeadmDirs({ certDir, kubeconfigDir, rootfs }: LayoutOptions): {
  readonly certDir: string;
  readonly kubeconfigDir: string;
} {
  const { pki } = machinePaths({ rootfs, certificatesDir: certDir });
  return { certDir: pki, kubeconfigDir: kubeconfigDir ?? dirname(pki) };
}
