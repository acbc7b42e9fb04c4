/** The certificates of a data directory: their names, publication and renewal while the server runs. */
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { renewCertificates, type KnownPki, type PublishOptions } from '#deploy/cluster-certificates.ts';
import type { DataDir } from '#deploy/data-dir.ts';
import { CertificateRenewal, type CertificateState } from '#deploy/pki/renewal.ts';
import { serviceAddress } from '#deploy/machine/service-address.ts';
import { ensurePki, type Pki } from '#deploy/pki/pki.ts';
import { realClock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { machineAddresses, servedAddresses } from './addresses.ts';
import { type Plan, serverUrl } from './plan.ts';

export function pkiOptions(
  dir: DataDir,
  { serviceCIDR, bindAddress, advertiseAddress: advertised, extraSANs }: Plan,
): Parameters<typeof ensurePki>[0] {
  const [serviceIP = '', ...others] = serviceCIDR.split(',').map((range) => serviceAddress(range, 1));
  return {
    dir: dir.pki,
    nowMs: Date.now(),
    apiServer: {
      hostName: hostname(),
      serviceIP,
      bindAddresses: servedAddresses(bindAddress, {
        advertised: [advertised],
        machine: machineAddresses(),
      }),
      extraSANs: [...extraSANs, ...others],
    },
  };
}

export function startRenewal(
  dir: DataDir,
  {
    plan,
    pki,
    initial,
    log,
  }: {
    readonly plan: Plan;
    readonly pki: Pki;
    readonly initial: CertificateState;
    readonly log: Logger;
  },
): CertificateRenewal {
  const known: KnownPki = { pki };
  const renewal = new CertificateRenewal({
    initial,
    clock: realClock,
    log,
    ensure: (nowMs) =>
      renewCertificates(dir, {
        ...publishOptions(serverUrl(plan)),
        pki: pkiOptions(dir, plan),
        nowMs,
        known,
      }),
  });
  renewal.start();
  return renewal;
}

/** Kubeconfigs to write. */
export function publishOptions(url: string): PublishOptions {
  return {
    server: url,
    simulatedNodes: true,
    node: {
      name: hostname().toLowerCase(),
      addresses: machineAddresses().filter((address) => isIP(address) === 4),
    },
  };
}
