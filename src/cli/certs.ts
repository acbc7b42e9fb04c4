/** `capstan certs …`: the certificates of this machine, in kubeadm's layout or in a data directory. */
import type { Command } from 'commander';
import { register as registerCertificateKey } from './certs/certificate-key.ts';
import { register as registerGenerate } from './certs/generate-csr.ts';
import { register as registerList } from './certs/list.ts';
import { register as registerRenew } from './certs/renew.ts';
import { register as registerRotate } from './certs/rotate-ca.ts';

export function register(program: Command): void {
  const certs = program
    .command('certs')
    .description('certificates and keys of this machine: look at them, renew them, rotate authorities');
  for (const registerOne of [
    registerList,
    registerRenew,
    registerRotate,
    registerGenerate,
    registerCertificateKey,
  ])
    registerOne(certs);
}
