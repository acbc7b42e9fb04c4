/**
 * ServiceCIDRs and IPAddresses in step with the addresses of Services (after upstream's multi-range allocator, its repair loop and the service CIDR
 * controller). Which address is free is decided in memory by service-allocation.ts; this tells it the ranges and the addresses others have reserved,
 * and writes down as an IPAddress each one a Service has.
 *
 *   ServiceCIDR  created --finalizer, Ready--> allocated from --delete--> Ready=False (Terminating) --no address left in it--> finalizer off, gone
 */
import { formatTime } from '#machinery/time.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { IPAddress, ServiceCIDR } from '#api/types.ts';
import type { Catalogue } from '../registry/endpoints.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import type { ServiceAllocation } from '../registry/core/services/allocation.ts';
import { AddressRange } from '../registry/core/services/ranges.ts';

const SERVICES = { group: '', resource: 'services' };
const ADDRESSES = { group: 'networking.k8s.io', resource: 'ipaddresses' };
const CIDRS = { group: 'networking.k8s.io', resource: 'servicecidrs' };
const DEFAULT_SERVICE_CIDR_NAME = 'kubernetes';
const FINALIZER = 'networking.k8s.io/service-cidr-finalizer';
const MANAGED_BY = 'ipaddress.kubernetes.io/managed-by';
const FAMILY = 'ipaddress.kubernetes.io/ip-family';
const ALLOCATOR = 'ipallocator.k8s.io';

interface ServiceObject extends KubeObject {
  readonly spec?: {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
  };
}
interface Owner {
  readonly namespace: string;
  readonly name: string;
}

interface ServiceAddressesOptions {
  readonly internal: InternalApi;
  readonly catalogue: Catalogue;
  readonly allocation: ServiceAllocation;
  /** Of the cluster: the range of the ServiceCIDR named kubernetes. */
  readonly cidr: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export class ServiceAddresses {
  readonly #options: ServiceAddressesOptions;
  /** By address. */
  readonly #owners = new Map<string, Owner>();
  readonly #addresses: KeyedWork;
  readonly #cidrs: KeyedWork;
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
    this.#cidrs = new KeyedWork({
      clock,
      log,
      complaint: 'a ServiceCIDR could not be kept up',
      work: (name) => this.#reconcileCidr(name),
    });
  }

  /** Resolves when the cluster's own range has its ServiceCIDR. */
  async prepare(): Promise<void> {
    const { internal, cidr, clock } = this.#options;
    if (this.#isServed() && !internal.get(CIDRS, { name: DEFAULT_SERVICE_CIDR_NAME }))
      await this.#createDefault(cidr, clock.now());
  }

  /** After prepare() and the cluster's first Services. Resolves when the Services there are have their IPAddresses; follows them afterwards. */
  async start(): Promise<void> {
    const { internal } = this.#options;
    if (this.#unwatch.length > 0 || !this.#isServed()) return;
    this.#unwatch.push(
      internal.watch(CIDRS, {
        added: (object) => this.#cidrChanged(object),
        updated: (object) => this.#cidrChanged(object),
        deleted: () => this.#useRanges(),
      }),
      internal.watch(SERVICES, {
        added: (object) => this.#serviceChanged(object, undefined),
        updated: (object, previous) => this.#serviceChanged(object, previous),
        deleted: (object) => this.#serviceChanged(undefined, object),
      }),
      internal.watch(ADDRESSES, {
        added: (object) => this.#addressChanged(object),
        updated: (object) => this.#addressChanged(object),
        deleted: (object) => this.#addressGone(object),
      }),
    );
    await Promise.all(Array.from(this.#owners.keys(), (ip) => this.#reconcileAddress(ip)));
  }

  #isServed(): boolean {
    return [SERVICES, ADDRESSES, CIDRS].every(({ group, resource }) =>
      this.#options.catalogue.byGroup(group, resource),
    );
  }

  async stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    await Promise.all([this.#addresses.stop(), this.#cidrs.stop()]);
  }

  // -------------------------------------------------------------------------------------------------------------- addresses

  #serviceChanged(service: KubeObject | undefined, previous: KubeObject | undefined): void {
    const now = new Set(service ? addressesOf(service) : []);
    for (const ip of previous ? addressesOf(previous) : []) {
      if (now.has(ip)) continue;
      // Another Service may have taken it meanwhile.
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
    if (isOurs(object)) this.#addresses.add(ip);
    else this.#options.allocation.addresses.hold(ip);
  }

  #addressGone(object: KubeObject): void {
    const ip = object.metadata?.name ?? '';
    if (this.#owners.has(ip)) this.#addresses.add(ip);
    // One of ours goes after its Service, whose address was free from then on and may be another's by now.
    else if (!isOurs(object)) this.#options.allocation.addresses.release(ip);
    for (const { metadata } of this.#all()) if (metadata?.deletionTimestamp) this.#cidrs.add(metadata.name!);
  }

  async #reconcileAddress(ip: string): Promise<void> {
    const { internal } = this.#options;
    const owner = this.#owners.get(ip);
    const current = internal.get(ADDRESSES, { name: ip }) as IPAddress | undefined;
    try {
      if (current && !isOurs(current)) {
        // Reserved, also when a Service that had it lets it go.
        this.#options.allocation.addresses.hold(ip);
        return;
      }
      const wanted = owner && { resource: 'services', namespace: owner.namespace, name: owner.name };
      if (current && wanted && sameParent(current, owner)) return;
      if (current) await internal.delete(ADDRESSES, { name: ip });
      if (wanted) {
        await internal.create(ADDRESSES, {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'IPAddress',
          metadata: {
            name: ip,
            labels: { [FAMILY]: ip.includes(':') ? 'IPv6' : 'IPv4', [MANAGED_BY]: ALLOCATOR },
          },
          spec: { parentRef: wanted },
        } as KubeObject);
      }
    } catch (error) {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'AlreadyExists')) throw error;
    }
  }

  // ----------------------------------------------------------------------------------------------------------------- ranges

  async #createDefault(cidr: string, nowMs: number): Promise<void> {
    const { internal } = this.#options;
    try {
      await internal.create(CIDRS, {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'ServiceCIDR',
        metadata: { name: DEFAULT_SERVICE_CIDR_NAME, finalizers: [FINALIZER] },
        spec: { cidrs: [cidr] },
      } as KubeObject);
    } catch (error) {
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    }
    await this.#setReady(
      DEFAULT_SERVICE_CIDR_NAME,
      { status: 'True', reason: '', message: 'Kubernetes default Service CIDR is ready' },
      nowMs,
    );
  }

  #all(): ServiceCIDR[] {
    return this.#options.internal.list(CIDRS) as ServiceCIDR[];
  }

  #cidrChanged(object: KubeObject): void {
    this.#useRanges();
    this.#cidrs.add(object.metadata?.name ?? '');
  }

  /** Ranges under deletion are not allocated from; the cluster's own one always is while it lasts. */
  #useRanges(): void {
    const { allocation, cidr, log } = this.#options;
    const usable = this.#all()
      .filter(({ metadata }) => !metadata?.deletionTimestamp)
      .flatMap(({ spec }) => spec?.cidrs ?? [])
      .filter(isAllocatable);
    if (usable.length === 0) log.warn('no ServiceCIDR is ready: Services get no addresses', { cidr });
    // The configured range comes first where it is among them.
    allocation.addresses.use(
      [...new Set(usable)].toSorted((left, right) => Number(right === cidr) - Number(left === cidr)),
    );
  }

  async #reconcileCidr(name: string): Promise<void> {
    const { internal, clock } = this.#options;
    const object = internal.get(CIDRS, { name }) as ServiceCIDR | undefined;
    if (!object) return;
    const { deletionTimestamp, finalizers = [] } = object.metadata ?? {};
    if (deletionTimestamp) {
      if (!finalizers.includes(FINALIZER)) return;
      if (this.#isInUse(object)) {
        return this.#setReady(
          name,
          {
            status: 'False',
            reason: 'Terminating',
            message:
              'There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR',
          },
          clock.now(),
        );
      }
      return this.#modify(
        name,
        ({ metadata }) =>
          void (metadata!.finalizers = (metadata!.finalizers ?? []).filter(
            (finalizer) => finalizer !== FINALIZER,
          )),
      );
    }
    if (!finalizers.includes(FINALIZER))
      await this.#modify(
        name,
        ({ metadata }) => void (metadata!.finalizers = [...(metadata!.finalizers ?? []), FINALIZER]),
      );
    const unusable = (object.spec?.cidrs ?? []).filter((cidr) => !isAllocatable(cidr));
    if (unusable.length > 0)
      await this.#setReady(
        name,
        {
          status: 'False',
          reason: 'NotSupported',
          message: `service addresses are IPv4 in ranges of 8 to 30 bits: nothing is allocated from ${unusable.join(', ')}`,
        },
        clock.now(),
      );
    else if (!object.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'))
      await this.#setReady(
        name,
        {
          status: 'True',
          reason: '',
          message:
            name === DEFAULT_SERVICE_CIDR_NAME
              ? 'Kubernetes default Service CIDR is ready'
              : 'Kubernetes Service CIDR is ready',
        },
        clock.now(),
      );
  }

  /** Some address of its own would be left in no range. */
  #isInUse({ metadata, spec }: ServiceCIDR): boolean {
    const own = rangesOf(spec?.cidrs),
      others = this.#all()
        .filter((other) => other.metadata?.name !== metadata?.name && !other.metadata?.deletionTimestamp)
        .flatMap((other) => rangesOf(other.spec?.cidrs));
    return this.#options.internal.list(ADDRESSES).some((address) => {
      const ip = address.metadata?.name ?? '';
      return own.some((range) => range.has(ip)) && !others.some((range) => range.has(ip));
    });
  }

  async #setReady(
    name: string,
    condition: { readonly status: 'True' | 'False'; readonly reason: string; readonly message: string },
    nowMs: number,
  ): Promise<void> {
    await this.#modify(
      name,
      (object) => {
        const conditions = object.status?.conditions ?? [];
        const old = conditions.find(({ type }) => type === 'Ready');
        const next = {
          type: 'Ready',
          ...condition,
          lastTransitionTime: old?.status === condition.status ? old.lastTransitionTime : formatTime(nowMs),
        };
        if (deepEqual(old, next)) return false;
        object.status = {
          ...object.status,
          conditions: [...conditions.filter(({ type }) => type !== 'Ready'), next],
        };
        return undefined;
      },
      { subresource: 'status' },
    );
  }

  async #modify(
    name: string,
    change: (object: ServiceCIDR) => false | void,
    options?: { readonly subresource: 'status' },
  ): Promise<void> {
    try {
      await this.#options.internal.modify(
        CIDRS,
        { name },
        (object) => change(object as ServiceCIDR),
        options,
      );
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
    }
  }
}

function addressesOf({ spec = {} }: ServiceObject): string[] {
  if (spec.type === 'ExternalName') return [];
  return (spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : [])).filter(
    (ip) => ip !== '' && ip !== 'None',
  );
}

function isOwner(owner: Owner | undefined, { metadata }: KubeObject): boolean {
  return owner !== undefined && owner.name === metadata?.name && owner.namespace === metadata?.namespace;
}

function isOurs({ metadata }: KubeObject): boolean {
  return metadata?.labels?.[MANAGED_BY] === ALLOCATOR;
}

function sameParent({ spec }: IPAddress, { namespace, name }: Owner): boolean {
  const parent = spec?.parentRef;
  return (
    (parent?.group ?? '') === '' &&
    parent?.resource === 'services' &&
    parent.namespace === namespace &&
    parent.name === name
  );
}

function isAllocatable(cidr: string): boolean {
  return rangesOf([cidr]).length === 1;
}

function rangesOf(cidrs: readonly string[] = []): AddressRange[] {
  return cidrs.flatMap((cidr) => {
    const bits = Number(cidr.split('/')[1]);
    return cidr.includes(':') || !(bits >= 8 && bits <= 30) ? [] : [new AddressRange(cidr)];
  });
}
