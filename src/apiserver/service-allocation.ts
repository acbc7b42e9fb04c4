/**
 * Cluster IPs and node ports of Services: allocated when a Service is written, kept in memory, rebuilt from the watch cache.
 * Reservations are made synchronously, so concurrent writes never get the same one; a write that fails gives its own back.
 * One IPv4 family, in one range or several (ServiceCIDRs). The lower part of each range is kept for those who ask for a fixed value, as upstream does.
 */
import { randomInt } from 'node:crypto';
import { fieldErrors, statusErrors, type FieldError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Endpoint } from './catalogue.ts';
import type { ResourceCache } from './cache/resource-cache.ts';

export interface Allocation { commit(): void; release(): void }

export interface ServiceAllocationOptions {
  /** '10.96.0.0/12' */
  readonly cidr: string;
  /** Default 30000-32767, both inclusive. */
  readonly nodePorts?: { readonly from: number; readonly to: number };
}

interface ServicePort { name?: string; port?: number; protocol?: string; nodePort?: number }
interface ServiceSpec {
  type?: string; clusterIP?: string; clusterIPs?: string[]; ipFamilies?: string[]; ipFamilyPolicy?: string; ports?: ServicePort[];
  healthCheckNodePort?: number; externalTrafficPolicy?: string; allocateLoadBalancerNodePorts?: boolean; selector?: Record<string, string>;
}
interface Service extends KubeObject { spec?: ServiceSpec }

const NONE = 'None';

/** Addresses are of IPv4 only. A headless service whose endpoints are made by hand may have others all the same: it takes no address. */
function chooseFamilies(service: Service, headless: boolean): void {
  const spec = service.spec!;
  spec.ipFamilies = spec.ipFamilies?.length ? spec.ipFamilies : ['IPv4'];
  if (headless && Object.keys(spec.selector ?? {}).length === 0) {
    if (spec.ipFamilies.length < 2 && spec.ipFamilyPolicy !== 'SingleStack') spec.ipFamilies = [...spec.ipFamilies, spec.ipFamilies[0] === 'IPv4' ? 'IPv6' : 'IPv4'];
    spec.ipFamilyPolicy ??= 'RequireDualStack';
    return;
  }
  const errors: FieldError[] = spec.ipFamilyPolicy === 'RequireDualStack' ? [fieldErrors.invalid('spec.ipFamilyPolicy', spec.ipFamilyPolicy, 'this cluster is not configured for dual-stack services')] : [];
  spec.ipFamilies.forEach((family, i) => { if (family !== 'IPv4') errors.push(fieldErrors.invalid(`spec.ipFamilies[${i}]`, family, 'not configured on this cluster')); });
  if (errors.length > 0) throw statusErrors.invalid({ group: '', kind: 'Service', name: service.metadata?.name ?? '' }, errors);
  spec.ipFamilyPolicy ??= 'SingleStack';
}

export class ServiceAllocation {
  readonly addresses: AddressRanges;
  readonly ports: PortRange;

  constructor({ cidr, nodePorts = { from: 30_000, to: 32_767 } }: ServiceAllocationOptions) {
    this.addresses = new AddressRanges(cidr);
    this.ports = new PortRange(nodePorts);
  }

  /** Lines of /metrics, under upstream's names. */
  metrics(): string {
    const allocated = 'kube_apiserver_clusterip_allocator_allocated_ips', available = 'kube_apiserver_clusterip_allocator_available_ips';
    const usage = this.addresses.usage();
    return [
      `# HELP ${allocated} Addresses that services hold, by range.`, `# TYPE ${allocated} gauge`, ...usage.map(({ cidr, held }) => `${allocated}{cidr="${cidr}"} ${held}`),
      `# HELP ${available} Addresses that are free, by range.`, `# TYPE ${available} gauge`, ...usage.map(({ cidr, free }) => `${available}{cidr="${cidr}"} ${free}`),
      '# HELP kube_apiserver_nodeport_allocator_allocated_ports Node ports that services hold.', '# TYPE kube_apiserver_nodeport_allocator_allocated_ports gauge',
      `kube_apiserver_nodeport_allocator_allocated_ports ${this.ports.held}`,
      '# HELP kube_apiserver_nodeport_allocator_available_ports Node ports that are free.', '# TYPE kube_apiserver_nodeport_allocator_available_ports gauge',
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

  forCreate(endpoint: Endpoint, object: KubeObject, { dryRun }: { readonly dryRun: boolean }): Allocation | undefined {
    if (!isServices(endpoint)) return undefined;
    return this.#allocate(object as Service, { previous: undefined, dryRun });
  }

  forUpdate(endpoint: Endpoint, { next, previous, dryRun }: { readonly next: KubeObject; readonly previous: KubeObject; readonly dryRun: boolean }): Allocation | undefined {
    if (!isServices(endpoint)) return undefined;
    return this.#allocate(next as Service, { previous: previous as Service, dryRun });
  }

  released(endpoint: Endpoint, object: KubeObject, { dryRun }: { readonly dryRun: boolean }): void {
    if (!isServices(endpoint) || dryRun) return;
    const { spec = {} } = object as Service;
    for (const ip of addressesOf(spec)) this.addresses.release(ip);
    for (const port of portsOf(spec)) this.ports.release(port);
  }

  #allocate(service: Service, { previous, dryRun }: { readonly previous: Service | undefined; readonly dryRun: boolean }): Allocation | undefined {
    const spec = (service.spec ??= {});
    const before = previous?.spec ?? {};
    const heldIps = new Set(addressesOf(before)), heldPorts = new Set(portsOf(before));
    const taken: (() => void)[] = [];
    const release = (): void => {
      for (const undo of taken) undo();
      taken.length = 0;
    };
    try {
      if (spec.type !== 'ExternalName') this.#takeAddress(service, { held: heldIps, taken });
      if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') this.#takePorts(service, { held: heldPorts, before, taken });
    } catch (error) {
      release();
      throw error;
    }
    const commit = (): void => {
      if (dryRun) return release();
      const nowIps = new Set(addressesOf(spec)), nowPorts = new Set(portsOf(spec));
      for (const ip of heldIps) if (!nowIps.has(ip)) this.addresses.release(ip);
      for (const port of heldPorts) if (!nowPorts.has(port)) this.ports.release(port);
    };
    return { commit, release };
  }

  #takeAddress(service: Service, { held, taken }: { readonly held: ReadonlySet<string>; readonly taken: (() => void)[] }): void {
    const spec = service.spec!;
    // An update that leaves the address out keeps it.
    const wanted = spec.clusterIP || spec.clusterIPs?.[0] || [...held][0] || '';
    chooseFamilies(service, wanted === NONE);
    if (wanted === NONE) {
      spec.clusterIP = NONE;
      spec.clusterIPs = [NONE];
    } else if (wanted !== '' && held.has(wanted)) {
      spec.clusterIP = wanted;
      spec.clusterIPs = [wanted];
    } else {
      const ip = wanted === '' ? this.addresses.next() : this.addresses.take(wanted);
      if (ip === undefined) throw wanted === '' ? rangeFull() : invalidAddress(service, { wanted, why: this.addresses.reasonAgainst(wanted) });
      taken.push(() => this.addresses.release(ip));
      spec.clusterIP = ip;
      spec.clusterIPs = [ip];
    }
  }

  #takePorts(service: Service, { held, before, taken }: { readonly held: ReadonlySet<number>; readonly before: ServiceSpec; readonly taken: (() => void)[] }): void {
    const spec = service.spec!;
    // One number may serve TCP and UDP of the same Service.
    const own = new Map<string, number>();
    const numbers = new Set<number>();
    const wantsPorts = spec.type === 'NodePort' || (spec.allocateLoadBalancerNodePorts ?? true);
    const errors: FieldError[] = [];
    (spec.ports ?? []).forEach((port, index) => {
      if (!port.nodePort) return;
      own.set(`${port.protocol ?? 'TCP'} ${port.port}`, port.nodePort);
      if (held.has(port.nodePort) || numbers.has(port.nodePort)) {
        numbers.add(port.nodePort);
        return;
      }
      const why = this.ports.take(port.nodePort);
      if (why !== undefined) errors.push(fieldErrors.invalid(`spec.ports[${index}].nodePort`, port.nodePort, why));
      else {
        const { nodePort } = port;
        taken.push(() => this.ports.release(nodePort));
        numbers.add(nodePort);
      }
    });
    if (errors.length > 0) throw statusErrors.invalid({ group: '', kind: 'Service', name: service.metadata?.name ?? '' }, errors);
    if (wantsPorts) {
      for (const port of spec.ports ?? []) {
        if (port.nodePort) continue;
        const shared = (spec.ports ?? []).find((other) => other !== port && other.port === port.port && (other.protocol ?? 'TCP') !== (port.protocol ?? 'TCP') && other.nodePort);
        const old = before.ports?.find((other) => other.port === port.port && (other.protocol ?? 'TCP') === (port.protocol ?? 'TCP'))?.nodePort;
        const number = shared?.nodePort ?? (old && !numbers.has(old) ? old : this.#nextPort(taken));
        numbers.add(number);
        port.nodePort = number;
      }
    }
    if (spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local') this.#takeHealthCheckPort(service, { held, before, taken });
  }

  #takeHealthCheckPort(service: Service, { held, before, taken }: { readonly held: ReadonlySet<number>; readonly before: ServiceSpec; readonly taken: (() => void)[] }): void {
    const spec = service.spec!;
    if (!spec.healthCheckNodePort && before.healthCheckNodePort) spec.healthCheckNodePort = before.healthCheckNodePort;
    if (!spec.healthCheckNodePort) spec.healthCheckNodePort = this.#nextPort(taken);
    else if (!held.has(spec.healthCheckNodePort)) {
      const port = spec.healthCheckNodePort;
      const why = this.ports.take(port);
      if (why !== undefined) throw statusErrors.internal(`failed to allocate requested HealthCheck NodePort ${port}: ${why}`);
      taken.push(() => this.ports.release(port));
    }
  }

  #nextPort(taken: (() => void)[]): number {
    const number = this.ports.next();
    if (number === undefined) throw statusErrors.internal('failed to allocate a nodePort: range is full');
    taken.push(() => this.ports.release(number));
    return number;
  }
}

function isServices({ resource }: Endpoint): boolean {
  return resource.plural === 'services' && resource.group === '';
}

function addressesOf({ type, clusterIP, clusterIPs }: ServiceSpec): string[] {
  if (type === 'ExternalName') return [];
  const all = clusterIPs ?? (clusterIP ? [clusterIP] : []);
  return all.filter((ip) => ip !== '' && ip !== NONE);
}

function portsOf({ type, ports, healthCheckNodePort }: ServiceSpec): number[] {
  if (type !== 'NodePort' && type !== 'LoadBalancer') return [];
  return [...(ports ?? []).flatMap(({ nodePort }) => (nodePort ? [nodePort] : [])), ...(healthCheckNodePort ? [healthCheckNodePort] : [])];
}

function rangeFull(): Error {
  return statusErrors.internal('failed to allocate a serviceIP: range is full');
}

function invalidAddress(service: Service, { wanted, why }: { readonly wanted: string; readonly why: string }): Error {
  return statusErrors.invalid({ group: '', kind: 'Service', name: service.metadata?.name ?? '' }, [
    fieldErrors.invalid('spec.clusterIPs', [wanted], `failed to allocate IP ${wanted}: ${why}`),
  ]);
}

// --------------------------------------------------------------------------------------------------------------- ranges

/** Upstream's split of a range: the first part, at least 16 and at most `most`, is used by itself only when the rest is full. */
function reservedFor(size: number, { divisor, most, least }: { readonly divisor: number; readonly most: number; readonly least: number }): number {
  if (size <= least) return 0;
  return Math.min(most, Math.max(least, Math.floor(size / divisor)));
}

function freeNumber({ size, reserved, isTaken }: { readonly size: number; readonly reserved: number; isTaken(offset: number): boolean }): number | undefined {
  const scan = (from: number, to: number): number | undefined => {
    const count = to - from;
    if (count <= 0) return undefined;
    const start = randomInt(count);
    for (let i = 0; i < count; i++) {
      const offset = from + ((start + i) % count);
      if (!isTaken(offset)) return offset;
    }
    return undefined;
  };
  return scan(reserved, size) ?? scan(0, reserved);
}

export class AddressRange {
  readonly cidr: string;
  readonly #base: number;
  /** Without network and broadcast address. */
  readonly #size: number;
  readonly #reserved: number;
  readonly #held = new Set<number>();

  constructor(cidr: string) {
    const [address = '', bits = ''] = cidr.split('/');
    const length = Number(bits);
    const value = parseIpv4(address);
    if (value === undefined || !Number.isInteger(length) || length < 8 || length > 30) throw new Error(`service CIDR must be IPv4 with a prefix of 8 to 30 bits, not ${cidr}`);
    const total = 2 ** (32 - length);
    this.cidr = cidr;
    this.#base = value - (value % total) + 1;
    this.#size = total - 2;
    this.#reserved = reservedFor(this.#size, { divisor: 16, most: 256, least: 16 });
  }

  /** The kubernetes Service's. */
  get first(): string { return formatIpv4(this.#base); }

  get free(): number { return this.#size - this.#held.size; }

  get held(): number { return this.#held.size; }

  clear(): void {
    this.#held.clear();
  }

  hold(ip: string): void {
    const offset = this.#offset(ip);
    if (offset !== undefined) this.#held.add(offset);
  }

  release(ip: string): void {
    const offset = this.#offset(ip);
    if (offset !== undefined) this.#held.delete(offset);
  }

  next(): string | undefined {
    const offset = freeNumber({ size: this.#size, reserved: this.#reserved, isTaken: (candidate) => this.#held.has(candidate) });
    if (offset === undefined) return undefined;
    this.#held.add(offset);
    return formatIpv4(this.#base + offset);
  }

  has(ip: string): boolean {
    return this.#offset(ip) !== undefined;
  }

  #offset(ip: string): number | undefined {
    const value = parseIpv4(ip);
    if (value === undefined) return undefined;
    const offset = value - this.#base;
    return offset >= 0 && offset < this.#size ? offset : undefined;
  }
}

/** Every range that service addresses are taken from. The first is the cluster's own and stays. */
export class AddressRanges {
  readonly #own: AddressRange;
  readonly #ranges = new Map<string, AddressRange>();
  /** Of whatever range, also of none any more. */
  readonly #held = new Set<string>();

  constructor(cidr: string) {
    this.#own = new AddressRange(cidr);
    this.#ranges.set(cidr, this.#own);
  }

  /** The kubernetes Service's. */
  get first(): string { return this.#own.first; }

  usage(): readonly { readonly cidr: string; readonly held: number; readonly free: number }[] {
    return Array.from(this.#ranges.values(), ({ cidr, held, free }) => ({ cidr, held, free }));
  }

  /** These and no others are allocated from. What they hold stays held. */
  use(cidrs: readonly string[]): void {
    for (const cidr of this.#ranges.keys()) if (!cidrs.includes(cidr)) this.#ranges.delete(cidr);
    for (const cidr of cidrs) {
      if (this.#ranges.has(cidr)) continue;
      const range = new AddressRange(cidr);
      for (const ip of this.#held) range.hold(ip);
      this.#ranges.set(cidr, range);
    }
  }

  clear(): void {
    this.#held.clear();
    for (const range of this.#ranges.values()) range.clear();
  }

  hold(ip: string): void {
    this.#held.add(ip);
    for (const range of this.#ranges.values()) range.hold(ip);
  }

  release(ip: string): void {
    this.#held.delete(ip);
    for (const range of this.#ranges.values()) range.release(ip);
  }

  next(): string | undefined {
    for (const range of this.#ranges.values()) {
      const ip = range.next();
      if (ip === undefined) continue;
      this.hold(ip);
      return ip;
    }
    return undefined;
  }

  take(ip: string): string | undefined {
    if (this.#held.has(ip) || !Array.from(this.#ranges.values()).some((range) => range.has(ip))) return undefined;
    this.hold(ip);
    return ip;
  }

  reasonAgainst(ip: string): string {
    if (this.#held.has(ip)) return 'provided IP is already allocated';
    return `the provided IP (${ip}) is not in the valid range. The range of valid IPs is ${[...this.#ranges.keys()].join(',')}`;
  }
}

export class PortRange {
  readonly #from: number;
  readonly #to: number;
  readonly #reserved: number;
  readonly #held = new Set<number>();

  constructor({ from, to }: { readonly from: number; readonly to: number }) {
    this.#from = from;
    this.#to = to;
    this.#reserved = reservedFor(to - from + 1, { divisor: 32, most: 128, least: 16 });
  }

  get held(): number { return this.#held.size; }

  get free(): number { return this.#to - this.#from + 1 - this.#held.size; }

  clear(): void {
    this.#held.clear();
  }

  hold(port: number): void {
    this.#held.add(port);
  }

  release(port: number): void {
    this.#held.delete(port);
  }

  next(): number | undefined {
    const offset = freeNumber({ size: this.#to - this.#from + 1, reserved: this.#reserved, isTaken: (candidate) => this.#held.has(this.#from + candidate) });
    if (offset === undefined) return undefined;
    this.#held.add(this.#from + offset);
    return this.#from + offset;
  }

  /** Undefined when it is the caller's now, else why not. */
  take(port: number): string | undefined {
    if (port < this.#from || port > this.#to) return `provided port is not in the valid range. The range of valid ports is ${this.#from}-${this.#to}`;
    if (this.#held.has(port)) return 'provided port is already allocated';
    this.#held.add(port);
    return undefined;
  }
}

function parseIpv4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  const bytes = match.slice(1).map(Number);
  return bytes.some((byte) => byte > 255) ? undefined : bytes.reduce((value, byte) => value * 256 + byte, 0);
}

function formatIpv4(value: number): string {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.');
}
