/**
 * Cluster IPs and node ports in a shared store: the creator of an IPAddress holds the address, the setter of a bit in the allocation map the port.
 * The repair loops (bootstrap/service-repair.ts) clean up after a crashed server, as upstream's.
 */
import type { IPAddress, Service } from '#api/types.ts';
import { ipFamily } from '#machinery/ip.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { InternalApi } from '../../loopback-client.ts';
import type { Holdings } from './holdings.ts';
import type { NodePortMap } from './node-port-map.ts';
import { IP_ADDRESSES } from './resources.ts';

const MANAGED_BY = 'ipaddress.kubernetes.io/managed-by';
const IP_FAMILY = 'ipaddress.kubernetes.io/ip-family';
const ALLOCATOR = 'ipallocator.k8s.io';

interface ServiceName {
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
}

interface SharedAllocationsOptions {
  readonly internal: InternalApi;
  readonly ports: NodePortMap;
}

export class SharedAllocations {
  readonly #internal: InternalApi;
  readonly #ports: NodePortMap;

  constructor({ internal, ports }: SharedAllocationsOptions) {
    this.#internal = internal;
    this.#ports = ports;
  }

  /** As far as this server has seen. */
  isHeld(ip: string): boolean {
    return this.#internal.get(IP_ADDRESSES, { name: ip }) !== undefined;
  }

  /** All or nothing. Returns the values held by others: empty on success. Rejects where the outcome is unknown. */
  async claim(service: Service, { ips, ports }: Holdings): Promise<Holdings> {
    const [taken, ...created] = await Promise.allSettled([
      this.#ports.claim(ports),
      ...ips.map((ip) => this.#createAddress(ip, service)),
    ]);
    const got = {
      ips: ips.filter((_, i) => created[i]?.status === 'fulfilled' && created[i].value),
      ports: taken.status === 'fulfilled' && taken.value.length === 0 ? [...ports] : [],
    };
    const failed = [taken, ...created].find((one) => one.status === 'rejected');
    const refused = {
      ips: ips.filter((_, i) => created[i]?.status === 'fulfilled' && !created[i].value),
      ports: taken.status === 'fulfilled' ? [...taken.value] : [],
    };
    if (failed || refused.ips.length + refused.ports.length > 0) await this.free(service, got);
    if (failed) throw failed.reason;
    return refused;
  }

  /** Never rejects: what cannot be freed now is freed by the repair loops. */
  async free(service: Service, { ips, ports }: Holdings): Promise<void> {
    await Promise.allSettled([
      this.#ports.free(ports),
      ...ips.map((ip) => this.#deleteAddress(ip, service.metadata ?? {})),
    ]);
  }

  /** False: another Service holds it. */
  async #createAddress(ip: string, { metadata = {} }: Service): Promise<boolean> {
    try {
      await this.#internal.create(IP_ADDRESSES, addressObject(ip, metadata));
      return true;
    } catch (error) {
      if (isStatusError(error, 'AlreadyExists')) return false;
      // An invalid Service name: validation reports it next.
      if (isStatusError(error, 'Invalid')) return true;
      throw error;
    }
  }

  async #deleteAddress(ip: string, owner: ServiceName): Promise<void> {
    const address = this.#internal.get(IP_ADDRESSES, { name: ip });
    if (!address || !isAllocated(address) || !isParent(address as IPAddress, owner)) return;
    await this.#internal.delete(IP_ADDRESSES, { name: ip }, { uid: address.metadata?.uid });
  }
}

export function addressObject(ip: string, { namespace, name }: ServiceName): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IPAddress',
    metadata: {
      name: ip,
      labels: { [IP_FAMILY]: ipFamily(ip), [MANAGED_BY]: ALLOCATOR },
    },
    spec: { parentRef: { resource: 'services', namespace, name } },
  };
}

/** Made by this allocator, not by hand. */
export function isAllocated({ metadata }: KubeObject): boolean {
  return metadata?.labels?.[MANAGED_BY] === ALLOCATOR;
}

export function isParent({ spec }: IPAddress, { namespace, name }: ServiceName): boolean {
  const parent = spec?.parentRef;
  return (
    (parent?.group ?? '') === '' &&
    parent?.resource === 'services' &&
    parent.namespace === namespace &&
    parent.name === name
  );
}
