/**
 * Renews the certificates of a machine that its own authorities can sign: before its services start, since it may have been off past their end, and every hour
 * after that. Services follow their files. A worker has none of these: its node agent asks the cluster. See deploy/phases/certificates-renew.ts.
 */
import type { MachinePaths } from '#deploy/machine/paths.ts';
import type { MachineFile } from '#deploy/machine/record.ts';
import { kubeadmCertificates } from '#deploy/phases/certificate-files.ts';
import { renewDue } from '#deploy/phases/certificates-renew.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

interface RenewalOptions {
  readonly paths: Pick<MachinePaths, 'pki' | 'kubernetes'>;
  readonly machine: Pick<MachineFile, 'read'>;
  readonly clock: Clock;
  readonly log: Logger;
}

const LOOK_EVERY_MS = 3_600_000;

/** Resolves after the first look; what cannot be renewed is logged and keeps nothing from starting. Returns how to end it. */
export async function keepCertificates(options: RenewalOptions): Promise<() => void> {
  let timer: Timer | undefined;
  let ended = false;
  const look = async (): Promise<void> => {
    await renewOnce(options);
    if (!ended) timer = options.clock.after(LOOK_EVERY_MS, () => void look());
  };
  await look();
  return () => {
    ended = true;
    timer?.cancel();
  };
}

async function renewOnce({ paths, machine, clock, log }: RenewalOptions): Promise<void> {
  try {
    const { role, etcd } = machine.read();
    if (role === undefined || role === 'worker') return;
    const set = kubeadmCertificates({
      certDir: paths.pki,
      kubeconfigDir: paths.kubernetes,
      externalEtcd: etcd === undefined,
    });
    const { renewed } = await renewDue(set, { nowMs: clock.now() });
    if (renewed.length > 0) log.info('certificates renewed', { names: renewed.join(', ') });
  } catch (error) {
    log.error('certificates not renewed', { error: errorMessage(error) });
  }
}
