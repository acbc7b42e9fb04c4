/** The addresses of an all-in-one cluster, by its settings and those of the machine. Pure. */
import { computeGateway } from '#node/containerd/bridge.ts';
import type { ClusterSettings } from '#deploy/data-dir.ts';
import { serviceAddress } from '#deploy/machine/service-address.ts';
import { advertiseAddress, isLoopback, isUnspecified } from '../apiserver/addresses.ts';

export interface Addresses {
  /** First /24 of the pods' range: this machine's share. */
  readonly nodePodCIDR: string;
  readonly gateway: string;
  /** Where pods reach the API server. */
  readonly advertise: string;
  /** The node's InternalIP: this machine's address by its default route, else the gateway. */
  readonly node: string;
  readonly service: string;
  readonly dns: string;
}

/** hostAddress: by the default route. */
export function addressesOf(
  settings: ClusterSettings,
  { hostAddress, machine }: { readonly hostAddress: string | undefined; readonly machine: readonly string[] },
): Addresses {
  const { bindAddress, runtime } = settings;
  const [podBase = ''] = settings.podCIDR.split('/');
  const nodePodCIDR = `${podBase}/24`;
  const gateway = computeGateway(nodePodCIDR);
  const real = runtime === 'cri';
  const advertised = advertiseAddress({
    bindAddress,
    given: settings.advertiseAddress,
    hostAddress,
    // The bridge of an earlier start, too, is reached by this machine's pods: no other address has to be guessed.
    machine: real ? [] : machine,
  });
  return {
    nodePodCIDR,
    gateway,
    advertise: advertised ?? (real ? gateway : '127.0.0.1'),
    node: isLoopback(bindAddress) || isUnspecified(bindAddress) ? (hostAddress ?? gateway) : bindAddress,
    service: serviceAddress(settings.serviceCIDR, 1),
    dns: serviceAddress(settings.serviceCIDR, 10),
  };
}
