/** `capstan certs certificate-key`: a new key for `init --certificate-key` and `join --certificate-key`. */
import type { Command } from 'commander';
import { createCertificateKey } from '#deploy/phases/kubeadm-certs.ts';
import { action, print } from '../context.ts';

export function register(certs: Command): void {
  certs
    .command('certificate-key')
    .description('print a new key that certificates are shared under')
    .action(action(() => print(createCertificateKey())));
}
