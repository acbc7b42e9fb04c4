/**
 * Cluster IPs and node ports of Services: allocated when a Service is written, kept in memory, rebuilt from the watch cache.
 * Reservations are synchronous, so that concurrent writes never get the same one; a failed write releases its own.
 * On a shared store each reservation is confirmed there before the Service is written: shared-allocations.ts.
 * One address of each family of the Service, of one range or several (ServiceCIDRs), of ranges.ts.
 *
 * Allocation runs before preparation and validation, as upstream's does: validation sees allocated values, and a failed allocation is reported first.
 */
import type { Service, ServiceSpec } from '#api/types.ts';
import type { IPFamily } from '#machinery/ip.ts';
import { fieldErrors, isStatusError, statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { needsHealthCheck, needsNodePort } from '#resources/core/services.ts';
import { isOutcomeUnknown } from '../../errors.ts';
import type { StoreHooks, Transaction } from '../../hooks.ts';
import type { ResourceCache } from '../../../watchcache/resource-cache.ts';
import { chooseFamilies, invalid, nameOf, prefersTheSame } from './families.ts';
import { keepAllocated, keepInStep } from './fields.ts';
import { collectHoldings, collectNodePorts, type Holdings } from './holdings.ts';
import { AddressRanges, canonical, PortRange } from './ranges.ts';
import type { SharedAllocations } from './shared-allocations.ts';

interface ServiceAllocationOptions {
  /** '10.96.0.0/12', or with one of the other family behind a comma. */
  readonly cidr: string;
  /** Default 30000-32767, both inclusive. */
  readonly nodePorts?: { readonly from: number; readonly to: number } | undefined;
}

interface Change {
  readonly service: Service;
  readonly stored: ServiceSpec | undefined;
  readonly dryRun: boolean;
}

export const DEFAULT_NODE_PORTS = { from: 30_000, to: 32_767 };
const NONE = 'None';
/** Proposals to the store for one write. */
const MAX_CLAIMS = 16;
/** Other writes' results that a write waits for when the range is full. */
const MAX_WAITS = 1000;

export class ServiceAllocation implements StoreHooks {
  readonly addresses: AddressRanges;
  readonly ports: PortRange;
  #shared: SharedAllocations | undefined;
  /** Proposals without a response of the store. */
  readonly #claims = new Set<Promise<Holdings>>();

  constructor({ cidr, nodePorts = DEFAULT_NODE_PORTS }: ServiceAllocationOptions) {
    this.addresses = new AddressRanges(cidr);
    this.ports = new PortRange(nodePorts);
  }

  /** From now on other servers allocate too. */
  share(shared: SharedAllocations): void {
    this.#shared = shared;
  }

  /** Lines of /metrics, under upstream's names. */
  metrics(): string {
    const allocated = 'kube_apiserver_clusterip_allocator_allocated_ips',
      available = 'kube_apiserver_clusterip_allocator_available_ips';
    const usage = this.addresses.usage();
    return [
      `# HELP ${allocated} Addresses that services hold, by range.`,
      `# TYPE ${allocated} gauge`,
      ...usage.map(({ cidr, held }) => `${allocated}{cidr="${cidr}"} ${held}`),
      `# HELP ${available} Addresses that are free, by range.`,
      `# TYPE ${available} gauge`,
      ...usage.map(({ cidr, free }) => `${available}{cidr="${cidr}"} ${free}`),
      '# HELP kube_apiserver_nodeport_allocator_allocated_ports Node ports that services hold.',
      '# TYPE kube_apiserver_nodeport_allocator_allocated_ports gauge',
      `kube_apiserver_nodeport_allocator_allocated_ports ${this.ports.held}`,
      '# HELP kube_apiserver_nodeport_allocator_available_ports Node ports that are free.',
      '# TYPE kube_apiserver_nodeport_allocator_available_ports gauge',
      `kube_apiserver_nodeport_allocator_available_ports ${this.ports.free}`,
    ].join('\n');
  }

  /** Loads the allocations of stored Services. Called when the cache is filled. */
  rebuild(cache: ResourceCache): void {
    this.addresses.clear();
    this.ports.clear();
    for (const entry of cache.entries.list('')) {
      const { ips, ports } = collectHoldings((cache.parsed.of(entry) as Service).spec);
      for (const ip of ips) this.addresses.hold(ip);
      for (const port of ports) this.ports.hold(port);
    }
  }

  /** Also completes fields that depend on each other. Throws when the request cannot be satisfied. */
  beginCreate(
    object: KubeObject,
    { dryRun }: { readonly dryRun: boolean },
  ): Transaction | Promise<Transaction> {
    const service = object as Service;
    keepInStep((service.spec ??= {}), undefined);
    return this.#begin({ service, stored: undefined, dryRun });
  }

  /** Like beginCreate; keeps the stored Service's allocations that the new one omits. */
  beginUpdate({
    next,
    previous,
    dryRun,
  }: {
    readonly next: KubeObject;
    readonly previous: KubeObject;
    readonly dryRun: boolean;
  }): Transaction | Promise<Transaction> {
    const service = next as Service,
      spec = (service.spec ??= {}),
      stored = (previous as Service).spec ?? {};
    keepAllocated(spec, stored);
    keepInStep(spec, stored);
    return this.#begin({ service, stored, dryRun });
  }

  afterDelete(object: KubeObject): Promise<void> | undefined {
    const holdings = collectHoldings((object as Service).spec);
    this.#giveBack(holdings);
    return this.#shared?.free(object as Service, holdings);
  }

  #begin(change: Change): Transaction | Promise<Transaction> {
    const shared = change.dryRun ? undefined : this.#shared;
    return shared ? this.#beginShared(change, shared) : this.#beginHere(change);
  }

  #beginHere(change: Change): Transaction {
    const taken = this.#reserve(change);
    const release = (): void => this.#giveBack(taken);
    return { commit: () => (change.dryRun ? release() : this.#giveBack(leftOver(change))), release };
  }

  /**
   * Memory only proposes: the store, which other servers write too, decides. A refused value counts as taken in the next attempt, so that a
   * requested value fails and an automatic one is replaced by another proposal.
   */
  async #beginShared(change: Change, shared: SharedAllocations): Promise<Transaction> {
    const { service } = change;
    const asked = structuredClone(service.spec!);
    const refused: Holdings = { ips: [], ports: [] };
    for (let attempt = 1; ; attempt++) {
      const taken = await this.#propose(change, refused);
      const claim = shared.claim(service, taken);
      this.#claims.add(claim);
      let outcome: Holdings;
      try {
        outcome = await claim;
      } catch (error) {
        this.#giveBack(taken);
        throw error;
      } finally {
        this.#claims.delete(claim);
      }
      if (isNothing(outcome)) return this.#sharedTransaction(change, { shared, taken });
      this.#giveBack(taken);
      if (attempt >= MAX_CLAIMS)
        throw statusErrors.internal(
          `failed to allocate addresses and ports for Service ${JSON.stringify(nameOf(service))}: too many conflicts with other servers`,
        );
      refused.ips.push(...outcome.ips);
      refused.ports.push(...outcome.ports);
      service.spec = structuredClone(asked);
    }
  }

  /** A range full of proposals may have room after the store has answered them. */
  async #propose(change: Change, refused: Holdings): Promise<Holdings> {
    const asked = structuredClone(change.service.spec!);
    for (let waits = 0; ; waits++) {
      try {
        return this.#reserve(change, refused);
      } catch (error) {
        if (!isStatusError(error, 'InternalError') || this.#claims.size === 0 || waits >= MAX_WAITS)
          throw error;
        await Promise.race([...this.#claims].map((claim) => claim.catch(() => {})));
        change.service.spec = structuredClone(asked);
      }
    }
  }

  #sharedTransaction(
    change: Change,
    { shared, taken }: { readonly shared: SharedAllocations; readonly taken: Holdings },
  ): Transaction {
    const { service } = change;
    return {
      commit: () => {
        const left = leftOver(change);
        this.#giveBack(left);
        return shared.free(service, left);
      },
      release: (error) => {
        this.#giveBack(taken);
        // The Service may be stored all the same: what leaks is for the repair loops.
        return isOutcomeUnknown(error) ? undefined : shared.free(service, taken);
      },
    };
  }

  /** Reserves in memory what the write needs, all or nothing. */
  #reserve(change: Change, refused: Holdings = { ips: [], ports: [] }): Holdings {
    const taken: Holdings = { ips: [], ports: [] };
    const ips = refused.ips.filter((ip) => this.addresses.take(ip) !== undefined),
      ports = refused.ports.filter((port) => this.ports.take(port) === undefined);
    try {
      this.#take(change, taken);
      return taken;
    } catch (error) {
      this.#giveBack(taken);
      throw error;
    } finally {
      this.#giveBack({ ips, ports });
    }
  }

  /** An address with an IPAddress is somebody's: it is free when that goes. */
  #giveBack({ ips, ports }: Holdings): void {
    for (const ip of ips) if (!this.#shared?.isHeld(ip)) this.addresses.release(ip);
    for (const port of ports) this.ports.release(port);
  }

  #take({ service, stored }: Change, taken: Holdings): void {
    const spec = service.spec!;
    if (spec.type !== 'ExternalName' && !(stored && prefersTheSame(spec, stored))) {
      chooseFamilies(service, { stored, families: this.addresses.families });
      this.#takeAddresses(service, { from: firstMissing(spec, stored), taken });
    }
    if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') {
      if (stored) this.#takeMorePorts(service, stored, taken);
      else this.#takePorts(service, taken);
    }
    if (needsHealthCheck(spec) && !(stored && needsHealthCheck(stored)))
      this.#takeHealthCheckPort(spec, taken);
  }

  /** One for each family; addresses before the given place are the Service's already. */
  #takeAddresses(
    service: Service,
    { from, taken }: { readonly from: number; readonly taken: Holdings },
  ): void {
    const spec = service.spec!,
      { ipFamilies = [] } = spec;
    for (let i = from; i < ipFamilies.length; i++) {
      const ip = this.#takeAddress(service, ipFamilies[i] as IPFamily, spec.clusterIPs?.[i] ?? '');
      taken.ips.push(canonical(ip));
      spec.clusterIPs = [...(spec.clusterIPs ?? []).slice(0, i), ip, ...(spec.clusterIPs ?? []).slice(i + 1)];
      if (i === 0) spec.clusterIP = ip;
    }
  }

  #takeAddress(service: Service, family: IPFamily, wanted: string): string {
    const ip = wanted === '' ? this.addresses.next(family) : this.addresses.take(wanted);
    if (ip !== undefined) return ip;
    if (wanted === '')
      throw statusErrors.internal(
        `failed to allocate a serviceIP for Service ${JSON.stringify(nameOf(service))}: range is full`,
      );
    throw invalid(service, [
      fieldErrors.invalid(
        'spec.clusterIPs',
        service.spec?.clusterIPs,
        `failed to allocate IP ${wanted}: ${this.addresses.reasonAgainst(wanted)}`,
      ),
    ]);
  }

  /** Of a new Service: protocols that share a port share its node port. */
  #takePorts(service: Service, taken: Holdings): void {
    const spec = service.spec!,
      ports = spec.ports ?? [],
      numbers = new Map<number | undefined, number>();
    ports.forEach((port, i) => {
      if (!port.nodePort && !needsNodePort(spec)) return;
      const shared = numbers.get(port.port);
      if (shared === undefined) {
        const wanted = ports.find((other) => other.port === port.port && other.nodePort)?.nodePort;
        port.nodePort = wanted
          ? this.#takePort(service, { index: i, number: wanted }, taken)
          : this.#nextPort(taken);
        numbers.set(port.port, port.nodePort);
      } else if (!port.nodePort) port.nodePort = shared;
      else if (port.nodePort !== shared) this.#takePort(service, { index: i, number: port.nodePort }, taken);
    });
  }

  /** Of a Service that has some already. */
  #takeMorePorts(service: Service, stored: ServiceSpec, taken: Holdings): void {
    const spec = service.spec!,
      own = new Set(collectNodePorts(stored)),
      seen = new Set<string>();
    spec.ports?.forEach((port, i) => {
      if (!port.nodePort && !needsNodePort(spec)) return;
      if (!port.nodePort) port.nodePort = this.#nextPort(taken);
      else if (!own.has(port.nodePort))
        own.add(this.#takePort(service, { index: i, number: port.nodePort }, taken));
      const key = `{${port.protocol} ${port.nodePort}}`;
      if (seen.has(key)) throw statusErrors.badRequest(`duplicate nodePort: ${key}`);
      seen.add(key);
    });
  }

  #takePort(
    service: Service,
    { index, number }: { readonly index: number; readonly number: number },
    taken: Holdings,
  ): number {
    const why = this.ports.take(number);
    if (why !== undefined)
      throw invalid(service, [fieldErrors.invalid(`spec.ports[${index}].nodePort`, number, why)]);
    taken.ports.push(number);
    return number;
  }

  #takeHealthCheckPort(spec: ServiceSpec, taken: Holdings): void {
    const wanted = spec.healthCheckNodePort;
    if (!wanted) {
      spec.healthCheckNodePort = this.#nextPort(taken, 'a HealthCheck NodePort 0');
      return;
    }
    const why = this.ports.take(wanted);
    if (why !== undefined)
      throw statusErrors.badRequest(`failed to allocate requested HealthCheck NodePort ${wanted}: ${why}`);
    taken.ports.push(wanted);
  }

  #nextPort(taken: Holdings, what = 'a nodePort'): number {
    const number = this.ports.next();
    if (number === undefined) throw statusErrors.internal(`failed to allocate ${what}: range is full`);
    taken.ports.push(number);
    return number;
  }
}

/**
 * The place of the first address that the Service has to be given. One that has addresses is only given its second one; other changes are for
 * validation to refuse.
 */
function firstMissing(spec: ServiceSpec, stored: ServiceSpec | undefined): number {
  if (spec.clusterIPs?.[0] === NONE) return Infinity;
  if (!stored || stored.type === 'ExternalName') return 0;
  const upgraded = stored.ipFamilies?.length === 1 && spec.ipFamilies?.length === 2;
  return upgraded && stored.clusterIPs?.[0] !== NONE ? 1 : Infinity;
}

/** What an update no longer needs. */
function leftOver({ service, stored }: Change): Holdings {
  const before = collectHoldings(stored),
    after = collectHoldings(service.spec);
  return {
    ips: before.ips.filter((ip) => !after.ips.includes(ip)),
    ports: before.ports.filter((port) => !after.ports.includes(port)),
  };
}

function isNothing({ ips, ports }: Holdings): boolean {
  return ips.length === 0 && ports.length === 0;
}
