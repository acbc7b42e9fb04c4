/**
 * Keeps IPAddresses in step with the Services of an embedded store: memory decides which address is free (registry/core/services); this file writes an
 * IPAddress for each address of a Service, and reports those that others reserved. On a shared store service-repair.ts replaces it.
 */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { IPAddress, Service } from '#api/types.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import type { ServiceAllocation } from '../registry/core/services/allocation.ts';
import { addressesOf } from '../registry/core/services/holdings.ts';
import { IP_ADDRESSES, SERVICES } from '../registry/core/services/resources.ts';
import { addressObject, isAllocated, isParent } from '../registry/core/services/shared-allocations.ts';

interface Owner {
  readonly namespace: string;
  readonly name: string;
}

interface ServiceAddressesOptions {
  readonly internal: InternalApi;
  readonly allocation: ServiceAllocation;
  /** Called when an IPAddress is deleted. */
  readonly onAddressGone: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class ServiceAddresses {
  readonly #options: ServiceAddressesOptions;
  /** By address. */
  readonly #owners = new Map<string, Owner>();
  readonly #addresses: KeyedWork;
  readonly #unwatch: (() => void)[] = [];

  constructor(options: ServiceAddressesOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#addresses = new KeyedWork({
      clock,
      log,
      complaint: 'the IPAddress of a Service could not be kept up',
      work: (ip) => this.#reconcileAddress(ip),
    });
  }

  /** After the cluster's first Services. Resolves when the Services there are have their IPAddresses; follows them afterwards. */
  async start(): Promise<void> {
    const { internal } = this.#options;
    if (this.#unwatch.length > 0) return;
    this.#unwatch.push(
      internal.watch(SERVICES, {
        added: (object) => this.#serviceChanged(object, undefined),
        updated: (object, previous) => this.#serviceChanged(object, previous),
        deleted: (object) => this.#serviceChanged(undefined, object),
      }),
      internal.watch(IP_ADDRESSES, {
        added: (object) => this.#addressChanged(object),
        updated: (object) => this.#addressChanged(object),
        deleted: (object) => this.#addressGone(object),
      }),
    );
    await Promise.all(Array.from(this.#owners.keys(), (ip) => this.#reconcileAddress(ip)));
  }

  async stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    await this.#addresses.stop();
  }

  #serviceChanged(service: KubeObject | undefined, previous: KubeObject | undefined): void {
    const now = new Set(service ? addressesOf((service as Service).spec ?? {}) : []);
    for (const ip of previous ? addressesOf((previous as Service).spec ?? {}) : []) {
      if (now.has(ip)) continue;
      // Another Service may have taken the address in the meantime.
      if (isOwner(this.#owners.get(ip), previous!)) this.#owners.delete(ip);
      this.#addresses.add(ip);
    }
    for (const ip of now) {
      if (isOwner(this.#owners.get(ip), service!)) continue;
      this.#owners.set(ip, {
        namespace: service!.metadata?.namespace ?? '',
        name: service!.metadata?.name ?? '',
      });
      this.#addresses.add(ip);
    }
  }

  #addressChanged(object: KubeObject): void {
    const ip = object.metadata?.name ?? '';
    if (isAllocated(object)) this.#addresses.add(ip);
    else this.#options.allocation.addresses.hold(ip);
  }

  #addressGone(object: KubeObject): void {
    const ip = object.metadata?.name ?? '';
    if (this.#owners.has(ip)) this.#addresses.add(ip);
    // One of ours goes after its Service, whose address was free from then on and may be another's by now.
    else if (!isAllocated(object)) this.#options.allocation.addresses.release(ip);
    this.#options.onAddressGone();
  }

  async #reconcileAddress(ip: string): Promise<void> {
    const { internal } = this.#options;
    const owner = this.#owners.get(ip);
    const current = internal.get(IP_ADDRESSES, { name: ip }) as IPAddress | undefined;
    try {
      if (current && !isAllocated(current)) {
        // Reserved, also when a Service that had it lets it go.
        this.#options.allocation.addresses.hold(ip);
        return;
      }
      if (current && owner && isParent(current, owner)) return;
      if (current) await internal.delete(IP_ADDRESSES, { name: ip });
      if (owner) await internal.create(IP_ADDRESSES, addressObject(ip, owner));
    } catch (error) {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'AlreadyExists')) throw error;
    }
  }
}

function isOwner(owner: Owner | undefined, { metadata }: KubeObject): boolean {
  return owner !== undefined && owner.name === metadata?.name && owner.namespace === metadata?.namespace;
}
