/**
 * Repairs addresses and node ports of Services in a shared store, after upstream's repair loops. Reports allocations of other servers, and corrects
 * what a crashed server left between two writes. Each server runs it: every action is idempotent.
 *
 *   Service without its IPAddress ─▶ ClusterIPNotAllocated, created            IPAddress without its Service for ORPHAN_MS ─▶ deleted
 *   port of a Service not in the map ─▶ PortNotAllocated, set                  port in the map of no Service in LEAK_ROUNDS rounds ─▶ cleared
 */
import type { IPAddress, Service, ServiceCIDR } from '#api/types.ts';
import { ipFamily } from '#machinery/ip.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { recordEvent } from '../registry/core/events/record-event.ts';
import type { ServiceAllocation } from '../registry/core/services/allocation.ts';
import { addressesOf, collectHoldings } from '../registry/core/services/holdings.ts';
import type { NodePortMap } from '../registry/core/services/node-port-map.ts';
import { IP_ADDRESSES, SERVICE_CIDRS, SERVICES } from '../registry/core/services/resources.ts';
import { findConflicts } from './service-conflicts.ts';
import { addressObject, isAllocated, isParent } from '../registry/core/services/shared-allocations.ts';

const SWEEP_MS = 60_000;
/** A request that is writing the Service may take so long. By this server's clock since it saw the address. */
const ORPHAN_MS = 60_000;
const PORTS_MS = 180_000;
const LEAK_ROUNDS = 3;
const IP_COMPONENT = 'ipallocator-repair-controller',
  PORT_COMPONENT = 'portallocator-repair-controller';

interface ServiceRepairOptions {
  readonly internal: InternalApi;
  readonly allocation: ServiceAllocation;
  readonly ports: NodePortMap;
  /** Of the watch cache. */
  caughtUp(): Promise<void> | undefined;
  readonly onAddressGone: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class ServiceRepair {
  readonly #options: ServiceRepairOptions;
  readonly #services: KeyedWork;
  readonly #unwatch: (() => void)[] = [];
  readonly #timers = new Map<string, Timer>();
  /** By uid of the IPAddress: since when it has had no Service. */
  readonly #orphans = new Map<string, number>();
  /** Rounds that a port of no Service has left. */
  readonly #leaks = new Map<number, number>();
  #stopped = false;

  constructor(options: ServiceRepairOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#services = new KeyedWork({
      clock,
      log,
      complaint: 'the addresses of a Service could not be repaired',
      work: (key) => this.#repairService(key),
    });
  }

  /** Follows what others write from now on. */
  follow(): void {
    if (this.#unwatch.length > 0) return;
    const { internal } = this.#options;
    this.#unwatch.push(
      internal.watch(IP_ADDRESSES, {
        added: ({ metadata }) => this.#options.allocation.addresses.hold(metadata.name),
        updated: () => {},
        deleted: (object) => this.#addressGone(object as IPAddress),
      }),
      internal.watch(SERVICES, {
        added: (object) => this.#serviceChanged(object as Service, undefined),
        updated: (object, previous) => this.#serviceChanged(object as Service, previous as Service),
        deleted: (object) => this.#serviceChanged(undefined, object as Service),
      }),
    );
    this.#every(SWEEP_MS, 'orphaned IPAddresses could not be removed', () => this.removeOrphans());
    this.#every(PORTS_MS, 'the allocation map of node ports could not be repaired', () => this.repairPorts());
    this.#every(PORTS_MS, 'conflicts of Services could not be recorded', () => this.warnOfConflicts());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const unwatch of this.#unwatch) unwatch();
    for (const timer of this.#timers.values()) timer.cancel();
    await this.#services.stop();
  }

  #every(ms: number, complaint: string, work: () => Promise<void>): void {
    if (this.#stopped) return;
    const next = (): void => this.#every(ms, complaint, work);
    this.#timers.set(
      complaint,
      this.#options.clock.after(ms, () => {
        work()
          .catch((error: unknown) => {
            if (!this.#stopped) this.#options.log.warn(complaint, { error: errorMessage(error) });
          })
          .finally(next);
      }),
    );
  }

  // -------------------------------------------------------------------------------------------------------------- following

  #serviceChanged(service: Service | undefined, previous: Service | undefined): void {
    const { allocation, internal } = this.#options;
    const after = collectHoldings(service?.spec),
      before = collectHoldings(previous?.spec);
    for (const ip of before.ips)
      if (!after.ips.includes(ip) && !internal.get(IP_ADDRESSES, { name: ip }))
        allocation.addresses.release(ip);
    for (const port of before.ports) if (!after.ports.includes(port)) allocation.ports.release(port);
    for (const ip of after.ips) allocation.addresses.hold(ip);
    for (const port of after.ports) allocation.ports.hold(port);
    if (service && after.ips.some((ip) => !this.#hasAddress(service, ip))) this.#add(service);
  }

  #addressGone(address: IPAddress): void {
    const ip = address.metadata?.name ?? '';
    const { allocation, onAddressGone } = this.#options;
    this.#orphans.delete(address.metadata?.uid ?? '');
    const owner = this.#parentOf(address);
    if (owner && addressesOf(owner.spec ?? {}).includes(ip)) this.#add(owner);
    else allocation.addresses.release(ip);
    onAddressGone();
  }

  #add({ metadata }: Service): void {
    this.#services.add(`${metadata?.namespace}/${metadata?.name}`);
  }

  #hasAddress({ metadata = {} }: Service, ip: string): boolean {
    const address = this.#options.internal.get(IP_ADDRESSES, { name: ip });
    return address !== undefined && isAllocated(address) && isParent(address as IPAddress, metadata);
  }

  #parentOf({ spec }: IPAddress): Service | undefined {
    const { resource, group = '', namespace, name = '' } = spec?.parentRef ?? {};
    if (resource !== SERVICES.resource || group !== SERVICES.group) return undefined;
    return this.#options.internal.get(SERVICES, { namespace, name }) as Service | undefined;
  }

  // -------------------------------------------------------------------------------------------------------------- addresses

  async #repairService(key: string): Promise<void> {
    const [namespace = '', name = ''] = key.split('/');
    const service = this.#options.internal.get(SERVICES, { namespace, name }) as Service | undefined;
    if (service) for (const ip of addressesOf(service.spec ?? {})) await this.#repairAddress(service, ip);
  }

  async #repairAddress(service: Service, ip: string): Promise<void> {
    const { internal } = this.#options;
    const { metadata = {} } = service;
    if (this.#hasAddress(service, ip)) return;
    const current = internal.get(IP_ADDRESSES, { name: ip }) as IPAddress | undefined;
    const parent = current && this.#parentOf(current);
    const family = ipFamily(ip);
    if (parent && !isParent(current, metadata) && addressesOf(parent.spec ?? {}).includes(ip))
      return this.#warn(service, {
        reason: 'ClusterIPAlreadyAllocated',
        message: `Cluster IP [${family}]:${ip} was assigned to multiple services; please recreate service`,
        component: IP_COMPONENT,
      });
    await this.#warn(service, {
      reason: 'ClusterIPNotAllocated',
      message: current
        ? `the ClusterIP [${family}]: ${ip} for Service ${metadata.namespace}/${metadata.name} has a wrong reference; repairing`
        : `Cluster IP [${family}]: ${ip} is not allocated; repairing`,
      component: IP_COMPONENT,
    });
    try {
      if (current) await internal.delete(IP_ADDRESSES, { name: ip }, { uid: current.metadata?.uid });
      await internal.create(IP_ADDRESSES, addressObject(ip, metadata));
    } catch (error) {
      // Another server was faster.
      const reasons = ['AlreadyExists', 'NotFound', 'Conflict'] as const;
      if (!reasons.some((reason) => isStatusError(error, reason))) throw error;
    }
  }

  /** Addresses whose Service was never written, or whose server died before it could delete them. */
  async removeOrphans(): Promise<void> {
    const { internal, clock, caughtUp } = this.#options;
    await caughtUp();
    for (const address of internal.list(IP_ADDRESSES) as IPAddress[]) {
      const { name: ip = '', uid = '' } = address.metadata ?? {};
      const parent = this.#parentOf(address);
      if (!isAllocated(address) || (parent && addressesOf(parent.spec ?? {}).includes(ip))) {
        this.#orphans.delete(uid);
        continue;
      }
      const sinceMs = this.#orphans.get(uid) ?? clock.monotonic();
      this.#orphans.set(uid, sinceMs);
      if (clock.monotonic() - sinceMs < ORPHAN_MS) continue;
      const { namespace, name } = address.spec?.parentRef ?? {};
      await this.#warn(address, {
        reason: 'IPAddressNotAllocated',
        message: `IPAddress: ${ip} for Service ${namespace}/${name} appears to have leaked: cleaning up`,
        component: IP_COMPONENT,
      });
      await internal.delete(IP_ADDRESSES, { name: ip }, { uid }).catch((error: unknown) => {
        if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
      });
    }
  }

  // ------------------------------------------------------------------------------------------------------------- node ports

  /** Upstream's: a bit of no Service stays for some rounds, since a request may be writing that Service. */
  async repairPorts(): Promise<void> {
    const { ports: map, internal, caughtUp } = this.#options;
    const unset: { readonly service: Service; readonly port: number }[] = [];
    const leaks = new Map<number, number>();
    await map.repair(async (taken) => {
      unset.length = 0;
      leaks.clear();
      // After the map was read.
      await caughtUp();
      const wanted = new Set<number>(),
        stored = new Set(taken);
      for (const service of internal.list(SERVICES) as Service[])
        for (const port of collectHoldings(service.spec).ports) {
          wanted.add(port);
          if (!stored.has(port)) unset.push({ service, port });
        }
      for (const port of taken) {
        if (wanted.has(port)) continue;
        const left = (this.#leaks.get(port) ?? LEAK_ROUNDS) - 1;
        if (left < 0) continue;
        leaks.set(port, left);
        wanted.add(port);
      }
      return wanted;
    });
    this.#leaks.clear();
    for (const [port, left] of leaks) this.#leaks.set(port, left);
    for (const { service, port } of unset)
      await this.#warn(service, {
        reason: 'PortNotAllocated',
        message: `Port ${port} is not allocated; repairing`,
        component: PORT_COMPONENT,
      });
  }

  /** What only the owner of a Service can mend. */
  async warnOfConflicts(): Promise<void> {
    const { internal, ports, caughtUp } = this.#options;
    await caughtUp();
    const services = internal.list(SERVICES) as Service[];
    const cidrs = (internal.list(SERVICE_CIDRS) as ServiceCIDR[]).flatMap(({ spec }) => spec?.cidrs ?? []);
    for (const { service, reason, message } of findConflicts(services, { cidrs, ports: ports.range }))
      await this.#warn(service, {
        reason,
        message,
        component: reason === 'ClusterIPOutOfRange' ? IP_COMPONENT : PORT_COMPONENT,
      });
  }

  async #warn(
    regarding: KubeObject,
    event: { readonly reason: string; readonly message: string; readonly component: string },
  ): Promise<void> {
    const { internal, clock, log } = this.#options;
    log.warn(event.message, { reason: event.reason });
    await recordEvent(internal, { regarding, ...event, nowMs: clock.now() }).catch((error: unknown) =>
      log.warn('error recording an event', { error: errorMessage(error) }),
    );
  }
}
