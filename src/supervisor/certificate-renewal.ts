/**
 * Renews the certificates that a machine's own authorities can sign: before its services start, since it may have been off past their expiry, and every
 * hour. Services reload their files. A worker has none: its node agent uses the cluster's signer, as that of a control plane does while its certificate is valid. See deploy/phases/certificates-renewal.ts.
 */
import type { MachinePaths } from '#deploy/machine/paths.ts';
import type { MachineFile } from '#deploy/machine/record.ts';
import { renewMachineCertificates } from '#deploy/phases/certificates-renewal.ts';
import { CertificateRenewal, type CertificateState } from '#deploy/pki/renewal.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';

interface RenewalOptions {
  readonly paths: Pick<MachinePaths, 'pki' | 'kubernetes' | 'kubeletPki'>;
  readonly machine: Pick<MachineFile, 'read'>;
  readonly clock: Clock;
  readonly log: Logger;
}

const NOTHING: CertificateState = { changes: [], warnings: [], ends: [] };

/** Resolves after the first check; a failed renewal is logged and prevents no start. Returns the function that stops it. */
export async function keepCertificates({ paths, machine, clock, log }: RenewalOptions): Promise<() => void> {
  const renewal = new CertificateRenewal({
    initial: NOTHING,
    async ensure(nowMs) {
      const { role, etcd } = machine.read();
      if (role === undefined || role === 'worker') return NOTHING;
      return renewMachineCertificates(paths, { nowMs, externalEtcd: etcd === undefined });
    },
    clock,
    log,
  });
  await renewal.look();
  renewal.start();
  return () => void renewal.stop();
}
