/** Phase certs: the keys and certificates of a control plane in kubeadm's layout, by certificate-list.ts; existing ones are adopted. */
import { mkdir } from 'node:fs/promises';
import { goDurationMs } from '#machinery/go-duration.ts';
import type { KeyAlgorithm } from '#pki/keys.ts';
import { parseHostPort } from '../../config/endpoint.ts';
import { serviceAddress } from '../../machine/service-address.ts';
import { CERTIFICATES, partName, type CertificateEntry, type MachineNames } from '../certificate-list.ts';
import { createMissing } from '../certificates.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';

export const certs: Phase<InitContext> = {
  name: 'certs',
  short: 'Certificate generation',
  async run({ print, paths, dryRun }) {
    print(`[certs] Using certificateDir folder "${paths.pki}"`);
    if (!dryRun) await mkdir(paths.pki, { recursive: true, mode: 0o755 });
  },
  phases: CERTIFICATES.map((entry) => ({
    name: `certs/${partName(entry)}`,
    short: entry.short,
    run: (context) => ensure(context, entry),
  })),
};

async function ensure(context: InitContext, entry: CertificateEntry): Promise<void> {
  const { cluster, paths, clock, print, dryRun, warn } = context;
  const { name } = entry;
  if (cluster.etcd.external && entry.ofEtcd)
    return print(`[certs] External etcd mode: Skipping ${name} certificate generation`);
  if (dryRun) return print(`[certs] Would generate "${name}" where it is not there`);
  const names = machineNames(context);
  const { made, warnings } = await createMissing([entry], {
    dir: paths.pki,
    names,
    nowMs: clock.now(),
    algorithm: cluster.encryptionAlgorithm as KeyAlgorithm,
    authorityLifetimeMs: goDurationMs(cluster.caCertificateValidityPeriod),
    leafLifetimeMs: goDurationMs(cluster.certificateValidityPeriod),
  });
  for (const { message } of warnings) warn(message);
  const what = entry.kind === 'signing-key' ? 'key and public key' : 'certificate and key';
  if (made.length === 0) return print(`[certs] Using existing "${name}" ${what}`);
  print(`[certs] Generating "${name}" ${what}`);
  const altNames = entry.kind === 'leaf' ? entry.altNames?.(names) : undefined;
  if (altNames)
    print(
      `[certs] ${name} serving cert is signed for names and IPs [${[...new Set(altNames)].filter(Boolean).join(' ')}]`,
    );
}

/** Of the configuration of init, with its defaults. */
export function machineNames({
  init,
  cluster,
  endpoint,
}: Pick<InitContext, 'init' | 'cluster' | 'endpoint'>): MachineNames {
  return {
    nodeName: init.nodeRegistration.name,
    advertiseAddress: init.localAPIEndpoint.advertiseAddress,
    serviceAddresses: cluster.networking.serviceSubnet.split(',').map((range) => serviceAddress(range, 1)),
    dnsDomain: cluster.networking.dnsDomain,
    controlPlaneHost: parseHostPort(endpoint)?.host,
    certSANs: cluster.apiServer?.certSANs,
    etcdServerSANs: cluster.etcd.local?.serverCertSANs,
    etcdPeerSANs: cluster.etcd.local?.peerCertSANs,
  };
}
