/** The addresses of an all-in-one cluster, by its settings and those of the machine. Pure. */
import { computeGateway } from '#node/containerd/bridge.ts';
import type { ClusterSettings } from '#deploy/data-dir.ts';
import { serviceAddress } from '#deploy/machine/service-address.ts';
import { defaultFamily, ipFamily, type IPFamily } from '#machinery/ip.ts';
import { advertiseAddress, isLoopback, isUnspecified } from '../apiserver/addresses.ts';

/** Lists have one of each family that the cluster has, the first one's first. */
export interface Addresses {
  /** First /24 (IPv6: /64) of each range of the pods: this machine's share. */
  readonly nodePodCIDRs: readonly string[];
  /** Of the bridge. */
  readonly gateways: readonly string[];
  /** Where pods reach the API server: of the family of the first range of Services. */
  readonly advertise: string;
  /** The node's InternalIPs: this machine's addresses by its default routes, else the gateways. */
  readonly node: readonly string[];
  /** Of the API server's Service, in each range of Services. */
  readonly service: readonly string[];
  readonly dns: string;
}

interface Machine {
  /** By the default route of each family. */
  readonly hostAddresses: readonly string[];
  /** All of it, in the system's order. */
  readonly machine: readonly string[];
}

export function addressesOf(settings: ClusterSettings, machine: Machine): Addresses {
  const nodePodCIDRs = settings.podCIDR.split(',').map(firstShare);
  const gateways = nodePodCIDRs.map(computeGateway);
  return {
    nodePodCIDRs,
    gateways,
    advertise: advertised(settings, { ...machine, gateways }),
    node: gateways.map((gateway) => nodeAddress(gateway, { settings, machine })),
    service: settings.serviceCIDR.split(',').map((range) => serviceAddress(range, 1)),
    dns: serviceAddress(settings.serviceCIDR, 10),
  };
}

function firstShare(range: string): string {
  const [base = ''] = range.split('/');
  return `${base}/${ipFamily(range) === 'IPv4' ? 24 : 64}`;
}

/** The API server listens on the gateways, too. */
export function listensOn(address: string, bindAddress: string): boolean {
  return (
    address === bindAddress ||
    bindAddress === '::' ||
    (bindAddress === '0.0.0.0' && ipFamily(address) === 'IPv4')
  );
}

function advertised(
  settings: ClusterSettings,
  { hostAddresses, machine, gateways }: Machine & { readonly gateways: readonly string[] },
): string {
  const family = defaultFamily(settings.serviceCIDR);
  const real = settings.runtime === 'cri';
  const found = advertiseAddress({
    bindAddress: settings.bindAddress,
    given: settings.advertiseAddress,
    hostAddress: ofFamily(hostAddresses, family),
    // The bridge of an earlier start, too, is reached by this machine's pods: no other address has to be guessed.
    machine: real ? [] : machine.filter((address) => ipFamily(address) === family),
  });
  const isReached =
    found !== undefined &&
    ipFamily(found) === family &&
    (settings.advertiseAddress !== undefined || listensOn(found, settings.bindAddress));
  if (isReached) return found;
  return (real ? ofFamily(gateways, family) : undefined) ?? '127.0.0.1';
}

function nodeAddress(
  gateway: string,
  { settings: { bindAddress }, machine }: { readonly settings: ClusterSettings; readonly machine: Machine },
): string {
  const family = ipFamily(gateway);
  const isOwn = !isLoopback(bindAddress) && !isUnspecified(bindAddress) && ipFamily(bindAddress) === family;
  return isOwn ? bindAddress : (ofFamily(machine.hostAddresses, family) ?? gateway);
}

function ofFamily(addresses: readonly string[], family: IPFamily): string | undefined {
  return addresses.find((address) => ipFamily(address) === family);
}
