/**
 * Cluster IPs and node ports of Services: allocated when a Service is written, kept in memory, rebuilt from the watch cache.
 * Reservations are made synchronously, so concurrent writes never get the same one; a write that fails gives its own back.
 * One IPv4 family, in one range or several (ServiceCIDRs), of service-ranges.ts.
 *
 * A write begins here, before it is prepared and validated, as upstream's does: what is allocated is part of what is checked, and what cannot be
 * had is refused before any other check.
 */
import { isIPv6 } from 'node:net';
import type { Service, ServiceSpec } from '#api/types.ts';
import { fieldErrors, statusErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { Errors } from '#resources/field-path.ts';
import { checkClusterIPs, isHeadless, needsHealthCheck, needsNodePort } from '#resources/core/services.ts';
import type { StoreHooks, Transaction } from '../../hooks.ts';
import type { ResourceCache } from '../../../watchcache/resource-cache.ts';
import { keepAllocated, keepInStep } from './fields.ts';
import { AddressRanges, PortRange } from './ranges.ts';

interface ServiceAllocationOptions {
  /** '10.96.0.0/12' */
  readonly cidr: string;
  /** Default 30000-32767, both inclusive. */
  readonly nodePorts?: { readonly from: number; readonly to: number };
}

interface Change {
  readonly service: Service;
  readonly stored: ServiceSpec | undefined;
  readonly dryRun: boolean;
}
/** Undoes each reservation of a write. */
type Taken = (() => void)[];

const NONE = 'None';

export class ServiceAllocation implements StoreHooks {
  readonly addresses: AddressRanges;
  readonly ports: PortRange;

  constructor({ cidr, nodePorts = { from: 30_000, to: 32_767 } }: ServiceAllocationOptions) {
    this.addresses = new AddressRanges(cidr);
    this.ports = new PortRange(nodePorts);
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

  /** Takes what stored Services hold. Called when the cache is filled. */
  rebuild(cache: ResourceCache): void {
    this.addresses.clear();
    this.ports.clear();
    for (const entry of cache.entries.list('')) {
      const { spec = {} } = cache.parsed.of(entry) as Service;
      for (const ip of addressesOf(spec)) this.addresses.hold(ip);
      for (const port of portsOf(spec)) this.ports.hold(port);
    }
  }

  /** Also fills in fields that belong together. Throws when what is asked for cannot be had. */
  beginCreate(object: KubeObject, { dryRun }: { readonly dryRun: boolean }): Transaction {
    const service = object as Service;
    keepInStep((service.spec ??= {}), undefined);
    return this.#begin({ service, stored: undefined, dryRun });
  }

  /** As beginCreate; keeps what the stored Service was given and the new one leaves out. */
  beginUpdate({
    next,
    previous,
    dryRun,
  }: {
    readonly next: KubeObject;
    readonly previous: KubeObject;
    readonly dryRun: boolean;
  }): Transaction {
    const service = next as Service,
      spec = (service.spec ??= {}),
      stored = (previous as Service).spec ?? {};
    keepAllocated(spec, stored);
    keepInStep(spec, stored);
    return this.#begin({ service, stored, dryRun });
  }

  afterDelete(object: KubeObject): void {
    const { spec = {} } = object as Service;
    for (const ip of addressesOf(spec)) this.addresses.release(ip);
    for (const port of portsOf(spec)) this.ports.release(port);
  }

  #begin(change: Change): Transaction {
    const { service, stored = {}, dryRun } = change;
    const taken: Taken = [];
    const release = (): void => {
      for (const undo of taken.splice(0)) undo();
    };
    try {
      this.#take(change, taken);
    } catch (error) {
      release();
      throw error;
    }
    const commit = (): void => {
      if (dryRun) return release();
      const ips = new Set(addressesOf(service.spec ?? {})),
        ports = new Set(portsOf(service.spec ?? {}));
      for (const ip of addressesOf(stored)) if (!ips.has(ip)) this.addresses.release(ip);
      for (const port of portsOf(stored)) if (!ports.has(port)) this.ports.release(port);
    };
    return { commit, release };
  }

  #take({ service, stored }: Change, taken: Taken): void {
    const spec = service.spec!;
    if (spec.type !== 'ExternalName' && !(stored && prefersTheSame(spec, stored)))
      chooseFamilies(service, stored);
    if (isGivenAddress(spec, stored)) this.#takeAddress(service, taken);
    if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') {
      if (stored) this.#takeMorePorts(service, stored, taken);
      else this.#takePorts(service, taken);
    }
    if (needsHealthCheck(spec) && !(stored && needsHealthCheck(stored)))
      this.#takeHealthCheckPort(spec, taken);
  }

  #takeAddress(service: Service, taken: Taken): void {
    const spec = service.spec!,
      wanted = spec.clusterIPs?.[0] ?? '';
    const ip = wanted === '' ? this.addresses.next() : this.addresses.take(wanted);
    if (ip === undefined) {
      if (wanted === '')
        throw statusErrors.internal(
          `failed to allocate a serviceIP for Service ${JSON.stringify(nameOf(service))}: range is full`,
        );
      throw invalid(service, [
        fieldErrors.invalid(
          'spec.clusterIPs',
          spec.clusterIPs,
          `failed to allocate IP ${wanted}: ${this.addresses.reasonAgainst(wanted)}`,
        ),
      ]);
    }
    taken.push(() => this.addresses.release(ip));
    spec.clusterIP = ip;
    spec.clusterIPs = [ip];
  }

  /** Of a new Service: protocols that share a port share its node port. */
  #takePorts(service: Service, taken: Taken): void {
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
  #takeMorePorts(service: Service, stored: ServiceSpec, taken: Taken): void {
    const spec = service.spec!,
      own = new Set(nodePortsOf(stored)),
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
    taken: Taken,
  ): number {
    const why = this.ports.take(number);
    if (why !== undefined)
      throw invalid(service, [fieldErrors.invalid(`spec.ports[${index}].nodePort`, number, why)]);
    taken.push(() => this.ports.release(number));
    return number;
  }

  #takeHealthCheckPort(spec: ServiceSpec, taken: Taken): void {
    const wanted = spec.healthCheckNodePort;
    if (!wanted) {
      spec.healthCheckNodePort = this.#nextPort(taken, 'a HealthCheck NodePort 0');
      return;
    }
    const why = this.ports.take(wanted);
    if (why !== undefined)
      throw statusErrors.badRequest(`failed to allocate requested HealthCheck NodePort ${wanted}: ${why}`);
    taken.push(() => this.ports.release(wanted));
  }

  #nextPort(taken: Taken, what = 'a nodePort'): number {
    const number = this.ports.next();
    if (number === undefined) throw statusErrors.internal(`failed to allocate ${what}: range is full`);
    taken.push(() => this.ports.release(number));
    return number;
  }
}

function nameOf({ metadata }: Service): string {
  return metadata?.name ?? '';
}

function invalid(service: Service, errors: readonly FieldError[]): Error {
  return statusErrors.invalid({ group: '', kind: 'Service', name: nameOf(service) }, errors);
}

function addressesOf({ type, clusterIP, clusterIPs }: ServiceSpec): string[] {
  if (type === 'ExternalName') return [];
  const all = clusterIPs ?? (clusterIP ? [clusterIP] : []);
  return all.filter((ip) => ip !== '' && ip !== NONE);
}

function nodePortsOf({ ports = [] }: ServiceSpec): number[] {
  return ports.flatMap(({ nodePort }) => (nodePort ? [nodePort] : []));
}

function portsOf(spec: ServiceSpec): number[] {
  if (spec.type !== 'NodePort' && spec.type !== 'LoadBalancer') return [];
  return [...nodePortsOf(spec), ...(spec.healthCheckNodePort ? [spec.healthCheckNodePort] : [])];
}

/** A Service is given its address once; another one is for validation to refuse. */
function isGivenAddress(spec: ServiceSpec, stored: ServiceSpec | undefined): boolean {
  return (
    spec.type !== 'ExternalName' &&
    spec.clusterIPs?.[0] !== NONE &&
    (!stored || stored.type === 'ExternalName')
  );
}

// -------------------------------------------------------------------------------------------------------------- families

const SINGLE = 'SingleStack',
  PREFER = 'PreferDualStack',
  REQUIRE = 'RequireDualStack';

function sameList(left: readonly string[] = [], right: readonly string[] = []): boolean {
  return left.length === right.length && left.every((value, i) => value === right[i]);
}

/** Nothing about families changes in a Service that takes two where there are two. */
function prefersTheSame(spec: ServiceSpec, stored: ServiceSpec): boolean {
  return (
    spec.ipFamilyPolicy === PREFER &&
    (stored.ipFamilyPolicy ?? PREFER) === PREFER &&
    spec.type === stored.type &&
    sameList(spec.clusterIPs, stored.clusterIPs) &&
    sameList(spec.ipFamilies, stored.ipFamilies)
  );
}

/**
 * Fills in the policy and the families, and refuses those that the cluster has not. A headless Service whose endpoints are made by hand may have
 * families that the cluster has not: it takes no address.
 */
function chooseFamilies(service: Service, stored: ServiceSpec | undefined): void {
  const spec = service.spec!,
    byHand = spec.clusterIP === NONE && Object.keys(spec.selector ?? {}).length === 0;
  spec.ipFamilyPolicy ??= stored?.ipFamilyPolicy ?? (byHand ? REQUIRE : SINGLE);
  const related = new Errors();
  checkClusterIPs(spec, { headless: isHeadless(spec), stored }, related);
  if (related.any) throw invalid(service, related.list);
  const errors = [
    ...(stored ? fitToStored(spec, stored) : []),
    ...tooMany(spec),
    ...familiesOfAddresses(spec),
  ];
  if (errors.length > 0) throw invalid(service, errors);
  if (byHand) {
    spec.ipFamilies = spec.ipFamilies?.length ? spec.ipFamilies : ['IPv4'];
    if (spec.ipFamilies.length < 2 && spec.ipFamilyPolicy !== SINGLE)
      spec.ipFamilies = [...spec.ipFamilies, spec.ipFamilies[0] === 'IPv4' ? 'IPv6' : 'IPv4'];
    return;
  }
  const absent = absentFamilies(spec);
  if (absent.length > 0) throw invalid(service, absent);
  if (!spec.ipFamilies?.length) spec.ipFamilies = ['IPv4'];
}

/** A Service that becomes of one family loses the second one, unless the client said which stay. */
function fitToStored(spec: ServiceSpec, stored: ServiceSpec): FieldError[] {
  if (spec.ipFamilyPolicy === SINGLE) {
    if (sameList(spec.clusterIPs, stored.clusterIPs)) keepFirst(spec, 'clusterIPs');
    if (sameList(spec.ipFamilies, stored.ipFamilies)) keepFirst(spec, 'ipFamilies');
    return [];
  }
  const reduced = (field: 'clusterIPs' | 'ipFamilies'): boolean =>
    (spec[field]?.length ?? 0) > 0 && spec[field]!.length < (stored[field]?.length ?? 0);
  const refuse = (what: string): FieldError =>
    fieldErrors.invalid(
      'spec.ipFamilyPolicy',
      spec.ipFamilyPolicy,
      `must be 'SingleStack' to release the secondary ${what}`,
    );
  return [
    ...(reduced('clusterIPs') ? [refuse('cluster IP')] : []),
    ...(reduced('ipFamilies') ? [refuse('IP family')] : []),
  ];
}

function keepFirst(spec: ServiceSpec, field: 'clusterIPs' | 'ipFamilies'): void {
  if ((spec[field]?.length ?? 0) > 1) spec[field] = spec[field]!.slice(0, 1);
}

function tooMany({ ipFamilyPolicy, clusterIPs, ipFamilies }: ServiceSpec): FieldError[] {
  if (ipFamilyPolicy !== SINGLE) return [];
  const refuse = (what: string): FieldError =>
    fieldErrors.invalid(
      'spec.ipFamilyPolicy',
      ipFamilyPolicy,
      `must be 'RequireDualStack' or 'PreferDualStack' when multiple ${what} are specified`,
    );
  return [
    ...(clusterIPs?.length === 2 ? [refuse('cluster IPs')] : []),
    ...(ipFamilies?.length === 2 ? [refuse('IP families')] : []),
  ];
}

/** Addresses that are given say which families are meant. */
function familiesOfAddresses(spec: ServiceSpec): FieldError[] {
  const errors: FieldError[] = [],
    families = [...(spec.ipFamilies ?? [])];
  if (spec.clusterIPs?.[0] === NONE) return errors;
  spec.clusterIPs?.forEach((ip, i) => {
    if (i < families.length) return;
    if (isIPv6(ip))
      errors.push(
        fieldErrors.invalid(
          `spec.clusterIPs[${i}]`,
          spec.clusterIPs,
          'IPv6 is not configured on this cluster',
        ),
      );
    else spec.ipFamilies = [...(spec.ipFamilies ?? []), 'IPv4'];
  });
  return errors;
}

function absentFamilies({ ipFamilyPolicy, ipFamilies = [] }: ServiceSpec): FieldError[] {
  return [
    ...(ipFamilyPolicy === REQUIRE
      ? [
          fieldErrors.invalid(
            'spec.ipFamilyPolicy',
            ipFamilyPolicy,
            'this cluster is not configured for dual-stack services',
          ),
        ]
      : []),
    ...ipFamilies.flatMap((family, i) =>
      family === 'IPv4'
        ? []
        : [fieldErrors.invalid(`spec.ipFamilies[${i}]`, family, 'not configured on this cluster')],
    ),
  ];
}
