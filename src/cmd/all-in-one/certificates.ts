/** The certificates of an all-in-one cluster: their names, and their renewal while it runs. */
import { hostname } from 'node:os';
import {
  publishCertificates,
  renewCertificates,
  type KnownPki,
  type PublishOptions,
} from '#deploy/cluster-certificates.ts';
import type { ClusterSettings, DataDir } from '#deploy/data-dir.ts';
import type { Pki, PkiOptions } from '#deploy/pki/pki.ts';
import { CertificateRenewal } from '#deploy/pki/renewal.ts';
import { realClock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { machineAddresses, servedAddresses } from '../apiserver/addresses.ts';
import { kubeletAddresses } from '../node/serving-certificate.ts';
import type { Addresses } from './addresses.ts';

interface Place {
  readonly settings: ClusterSettings;
  readonly network: Addresses;
}

export function pkiOptions(
  dir: DataDir,
  { settings, network: { service, advertise, gateways } }: Place,
): PkiOptions {
  const [serviceIP = '', ...others] = service;
  return {
    dir: dir.pki,
    nowMs: Date.now(),
    apiServer: {
      hostName: hostname(),
      serviceIP,
      bindAddresses: servedAddresses(settings.bindAddress, {
        advertised: [advertise, ...gateways],
        machine: machineAddresses(),
      }),
      extraSANs: [...(settings.certExtraSANs ?? []), ...others],
    },
  };
}

interface RenewalOptions extends Place {
  /** URL of the API server, for kubeconfigs. */
  readonly server: string;
  readonly pki: Pki;
  readonly log: Logger;
}

/** Kubeconfigs are written, and certificates renewed from now on. */
export async function startRenewal(
  dir: DataDir,
  { server, pki, log, ...place }: RenewalOptions,
): Promise<CertificateRenewal> {
  const real = place.settings.runtime === 'cri';
  const publish: PublishOptions = { server, simulatedNodes: !real };
  const ownNode = {
    name: hostname().toLowerCase(),
    addresses: kubeletAddresses({ addresses: place.network.node, gateways: place.network.gateways }),
  };
  const known: KnownPki = { pki };
  const renewal = new CertificateRenewal({
    initial: await publishCertificates(dir, { ...publish, pki, nowMs: Date.now() }),
    clock: realClock,
    log: log.with({ component: 'certificates' }),
    ensure: (nowMs) =>
      renewCertificates(dir, {
        ...publish,
        ...(real ? { ownNode } : {}),
        pki: pkiOptions(dir, place),
        nowMs,
        known,
      }),
  });
  renewal.start();
  return renewal;
}
