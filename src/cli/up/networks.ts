/** --pod-network-cidr and --service-cidr of `capstan up`: their validation, and the ranges of a new cluster. Rules and texts are those of `init`. */
import { listMismatches, listRangeProblems } from '#deploy/config/networking.ts';
import { UserError, type ClusterSettings, type DataDir } from '#deploy/data-dir.ts';
import {
  claimNetworks,
  completeNetworks,
  simulatedPodCIDR,
  widePodCIDR,
  type ClusterNetworks,
} from '#deploy/networks.ts';
import { defaultFamily, formatCIDR, ipFamily, parseCIDR } from '#machinery/ip.ts';

const FLAGS = { podSubnet: '--pod-network-cidr', serviceSubnet: '--service-cidr' } as const;

export interface NetworkOptions {
  readonly podNetworkCidr?: string;
  readonly serviceCidr?: string;
  readonly advertiseAddress?: string;
}

/** Checks that need no access to the machine. Throws a UserError. */
export function requireNetworks(
  options: NetworkOptions,
  { dir, stored }: { readonly dir: DataDir; readonly stored: ClusterSettings | undefined },
): void {
  const wanted = wantedNetworks(options);
  if (stored) requireSameNetworks(wanted, { dir, stored });
  const { serviceCIDR } = stored ?? completed(wanted);
  const { advertiseAddress = stored?.advertiseAddress } = options;
  if (advertiseAddress !== undefined && ipFamily(advertiseAddress) !== defaultFamily(serviceCIDR))
    throw new UserError(
      `--advertise-address is ${advertiseAddress}; it should be an ${defaultFamily(serviceCIDR)} address, as the first range of Services is ${serviceCIDR.split(',', 1)[0]}.`,
    );
}

function requireSameNetworks(
  wanted: Partial<ClusterNetworks>,
  { dir, stored }: { readonly dir: DataDir; readonly stored: ClusterSettings },
): void {
  const { podCIDR, serviceCIDR } = wanted;
  const [flag, has] =
    podCIDR !== undefined &&
    podCIDR !== stored.podCIDR &&
    // It may have grown with the number of nodes.
    widePodCIDR(podCIDR) !== stored.podCIDR
      ? [FLAGS.podSubnet, stored.podCIDR]
      : serviceCIDR !== undefined && serviceCIDR !== stored.serviceCIDR
        ? [FLAGS.serviceSubnet, stored.serviceCIDR]
        : [];
  if (flag !== undefined)
    throw new UserError(
      `The cluster in ${dir.path} has ${flag} ${has}; that cannot be changed. Use another --data-dir, or 'capstan delete' first.`,
    );
}

interface NewNetworks extends NetworkOptions {
  /** Of the cluster. */
  readonly id: string;
  readonly dir: DataDir;
  readonly runtime: ClusterSettings['runtime'];
  readonly nodes: number;
}

/** Of a cluster with real pods they are claimed. Throws a UserError. */
export async function newNetworks({
  id,
  dir,
  runtime,
  nodes,
  ...options
}: NewNetworks): Promise<ClusterNetworks> {
  const wanted = wantedNetworks(options);
  if (runtime === 'cri') return claimNetworks({ id, dataDir: dir.path, wanted });
  const { podCIDR, serviceCIDR } = completed(wanted);
  return { podCIDR: simulatedPodCIDR({ nodes, podCIDR }), serviceCIDR };
}

/** In canonical text. */
function wantedNetworks({ podNetworkCidr, serviceCidr }: NetworkOptions): Partial<ClusterNetworks> {
  const networking = {
    ...(podNetworkCidr === undefined ? {} : { podSubnet: podNetworkCidr }),
    ...(serviceCidr === undefined ? {} : { serviceSubnet: serviceCidr }),
  };
  for (const field of ['podSubnet', 'serviceSubnet'] as const) {
    if (networking[field] === '')
      throw new UserError(`${FLAGS[field]} is empty; it should be a range of addresses.`);
    const [problem] = listRangeProblems({ networking }, field);
    if (problem !== undefined) throw new UserError(`${FLAGS[field]} ${problem}.`);
  }
  const wanted = {
    ...(podNetworkCidr === undefined ? {} : { podCIDR: canonical(podNetworkCidr) }),
    ...(serviceCidr === undefined ? {} : { serviceCIDR: canonical(serviceCidr) }),
  };
  const { podCIDR, serviceCIDR } = wanted;
  const [mismatch] =
    podCIDR !== undefined && serviceCIDR !== undefined
      ? listMismatches({ podSubnet: podCIDR, serviceSubnet: serviceCIDR })
      : [];
  if (mismatch) throw new UserError(`${FLAGS[mismatch.field]} ${mismatch.problem}.`);
  return wanted;
}

/** As with simulated nodes, which use nothing of the machine. */
function completed(wanted: Partial<ClusterNetworks>): ClusterNetworks {
  const networks = completeNetworks(wanted);
  if (networks) return networks;
  const [given, other] =
    wanted.podCIDR === undefined
      ? [FLAGS.serviceSubnet, FLAGS.podSubnet]
      : [FLAGS.podSubnet, FLAGS.serviceSubnet];
  throw new UserError(
    `${given} contains all default ranges: give ${other} too, a range that has no address in common with it.`,
  );
}

function canonical(ranges: string): string {
  return ranges
    .split(',')
    .map((range) => formatCIDR(parseCIDR(range)!))
    .join();
}
