/**
 * Answers questions about the cluster's names, after the Kubernetes DNS-based service discovery specification 1.1.0 and CoreDNS's
 * kubernetes plugin. Pure: reads objects through ClusterView, which is backed by informer indexes.
 *
 *   <svc>.<ns>.svc.<domain>                 A: cluster address, or ready endpoints when headless; CNAME for ExternalName
 *   _<port>._<proto>.<svc>.<ns>.svc.<domain> SRV
 *   <endpoint>.<svc>.<ns>.svc.<domain>      A: one endpoint, by its hostname or its dashed address (also of services that are not headless, as CoreDNS)
 *   <a-b-c-d>.<ns>.pod.<domain>             A: the address itself, for namespaces that exist
 *   dns-version.<domain>                    TXT
 *   d.c.b.a.in-addr.arpa, ….ip6.arpa         PTR of services and endpoints
 */
import { isIPv4, isIPv6 } from 'node:net';
import type { EndpointSlice, Service } from '#api/types.ts';
import { formatIP, parseIP } from '#machinery/ip.ts';

export interface ClusterView {
  service(namespace: string, name: string): Service | undefined;
  slices(namespace: string, name: string): readonly EndpointSlice[];
  namespaceExists(name: string): boolean;
  servicesByIP(ip: string): readonly Service[];
  slicesByIP(ip: string): readonly EndpointSlice[];
}

export type DnsRecord =
  | {
      readonly type: 'A' | 'AAAA' | 'CNAME' | 'NS' | 'PTR';
      readonly name: string;
      readonly ttl: number;
      readonly data: string;
    }
  | { readonly type: 'TXT'; readonly name: string; readonly ttl: number; readonly data: string }
  | {
      readonly type: 'SRV';
      readonly name: string;
      readonly ttl: number;
      readonly data: {
        readonly priority: number;
        readonly weight: number;
        readonly port: number;
        readonly target: string;
      };
    }
  | { readonly type: 'SOA'; readonly name: string; readonly ttl: number; readonly data: SoaData };

interface SoaData {
  readonly mname: string;
  readonly rname: string;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

export type Answer =
  /** A name in the cluster's domain: the records (none: the name exists without this type), or NXDOMAIN. */
  | {
      readonly kind: 'answer';
      readonly records: readonly DnsRecord[];
      readonly additionals: readonly DnsRecord[];
    }
  | { readonly kind: 'no-such-name' }
  /** Not in the cluster's domain: forward the query. */
  | { readonly kind: 'elsewhere' };

interface Question {
  readonly name: string;
  readonly type: string;
}

const TTL_SECONDS = 5;
const SPECIFICATION = '1.1.0';

interface Found {
  readonly ip: string;
  readonly label: string;
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

export function soa(domain: string): DnsRecord {
  return {
    type: 'SOA',
    name: domain,
    ttl: TTL_SECONDS,
    data: {
      mname: `ns.dns.${domain}`,
      rname: `hostmaster.${domain}`,
      serial: 1,
      refresh: 7200,
      retry: 1800,
      expire: 86400,
      minimum: TTL_SECONDS,
    },
  };
}

/** name: lower case, without a final dot. */
export function answer(
  question: Question,
  options: { readonly view: ClusterView; readonly domain: string },
): Answer {
  const { name } = question;
  if (name.endsWith('.in-addr.arpa') || name.endsWith('.ip6.arpa')) return reverse(question, options);
  if (name !== options.domain && !name.endsWith(`.${options.domain}`)) return { kind: 'elsewhere' };
  const labels = name === options.domain ? [] : name.slice(0, -(options.domain.length + 1)).split('.');
  if (labels.length === 0) return apex(question, options.domain);
  if (labels.join('.') === 'ns.dns') return nameServer(question, options.view);
  if (labels.length === 1 && labels[0] === 'dns-version')
    return records(
      question.type === 'TXT' ? [{ type: 'TXT', name, ttl: TTL_SECONDS, data: SPECIFICATION }] : [],
    );
  const kind = labels.at(-1);
  if (kind === 'svc') return serviceAnswer(question, { ...options, labels: labels.slice(0, -1) });
  if (kind === 'pod') return podAnswer(question, { ...options, labels: labels.slice(0, -1) });
  return { kind: 'no-such-name' };
}

function records(list: readonly DnsRecord[], additionals: readonly DnsRecord[] = []): Answer {
  return { kind: 'answer', records: list, additionals };
}

function apex(question: Question, domain: string): Answer {
  if (question.type === 'NS')
    return records([{ type: 'NS', name: domain, ttl: TTL_SECONDS, data: `ns.dns.${domain}` }]);
  return records(question.type === 'SOA' ? [soa(domain)] : []);
}

/** This server's own address, once its Service exists. */
function nameServer(question: Question, view: ClusterView): Answer {
  const service = view.service('kube-system', 'kube-dns');
  return records(service ? ofType(question, addressesOf(service, view)) : []);
}

interface Located {
  readonly view: ClusterView;
  readonly domain: string;
  readonly labels: readonly string[];
}

function podAnswer(question: Question, { view, labels }: Located): Answer {
  const namespace = labels.at(-1) ?? '';
  if (labels.length === 0) return records([]);
  if (!view.namespaceExists(namespace)) return { kind: 'no-such-name' };
  if (labels.length === 1) return records([]);
  const ip = dashedAddress(labels[0] ?? '');
  if (labels.length !== 2 || ip === undefined) return { kind: 'no-such-name' };
  return records([address(question.name, ip)].filter((record) => record.type === question.type));
}

function dashedAddress(label: string): string | undefined {
  const [four, six] = [label.replaceAll('-', '.'), label.replaceAll('-', ':')];
  return isIPv4(four) ? four : isIPv6(six) ? six : undefined;
}

function address(name: string, ip: string): DnsRecord {
  return { type: ip.includes(':') ? 'AAAA' : 'A', name, ttl: TTL_SECONDS, data: ip };
}

function serviceAnswer(question: Question, { view, domain, labels }: Located): Answer {
  const namespace = labels.at(-1) ?? '';
  if (labels.length === 0) return records([]);
  if (labels.length === 1) return view.namespaceExists(namespace) ? records([]) : { kind: 'no-such-name' };
  const service = view.service(namespace, labels.at(-2) ?? '');
  if (!service) return { kind: 'no-such-name' };
  const rest = labels.slice(0, -2);
  if (service.spec?.type === 'ExternalName')
    return rest.length > 0 ? { kind: 'no-such-name' } : externalName(question, service);
  const found = addressesOf(service, view);
  const serviceName = `${service.metadata?.name}.${namespace}.svc.${domain}`;
  if (rest.length === 0) return plainAnswer(question, { service, found, serviceName });
  if (rest.length === 2 && rest.every((label) => label.startsWith('_')))
    return portAnswer(question, {
      found,
      serviceName,
      port: (rest[0] ?? '').slice(1),
      protocol: (rest[1] ?? '').slice(1),
    });
  const one =
    rest.length === 1 ? endpointsOf(service, view).filter((endpoint) => endpoint.label === rest[0]) : [];
  if (one.length === 0) return { kind: 'no-such-name' };
  if (question.type === 'SRV')
    return records(
      srvRecords(question.name, { found: one, serviceName }),
      one.map((endpoint) => address(targetName(endpoint, serviceName), endpoint.ip)),
    );
  return records(ofType(question, one));
}

function externalName(question: Question, service: Service): Answer {
  const target = service.spec?.externalName ?? '';
  if (target === '') return { kind: 'no-such-name' };
  return records(
    ['A', 'AAAA', 'CNAME'].includes(question.type)
      ? [{ type: 'CNAME', name: question.name, ttl: TTL_SECONDS, data: target.replace(/\.$/, '') }]
      : [],
  );
}

function isHeadless(service: Service): boolean {
  return service.spec?.clusterIP === 'None';
}

interface ServiceFound {
  readonly service: Service;
  readonly found: readonly Found[];
  readonly serviceName: string;
}

/** A headless Service without endpoints is NXDOMAIN, as in CoreDNS. */
function plainAnswer(question: Question, { service, found, serviceName }: ServiceFound): Answer {
  if (found.length === 0) return isHeadless(service) ? { kind: 'no-such-name' } : records([]);
  if (question.type === 'SRV') {
    const list = srvRecords(question.name, { found, serviceName });
    return records(
      list,
      found.map((one) => address(targetName(one, serviceName), one.ip)),
    );
  }
  return records(ofType(question, found));
}

function ofType(question: Question, found: readonly Found[]): DnsRecord[] {
  return found.map((one) => address(question.name, one.ip)).filter((record) => record.type === question.type);
}

interface PortQuestion {
  readonly found: readonly Found[];
  readonly serviceName: string;
  readonly port: string;
  readonly protocol: string;
}

function portAnswer(question: Question, { found, serviceName, port, protocol }: PortQuestion): Answer {
  const matching = found
    .map((one) => ({
      ...one,
      ports: one.ports.filter((each) => each.name === port && each.protocol.toLowerCase() === protocol),
    }))
    .filter((one) => one.ports.length > 0);
  if (matching.length === 0) return { kind: 'no-such-name' };
  if (question.type !== 'SRV') return records(ofType(question, matching));
  return records(
    srvRecords(question.name, { found: matching, serviceName }),
    matching.map((one) => address(targetName(one, serviceName), one.ip)),
  );
}

function targetName(one: Found, serviceName: string): string {
  return one.label === '' ? serviceName : `${one.label}.${serviceName}`;
}

function srvRecords(
  name: string,
  { found, serviceName }: { readonly found: readonly Found[]; readonly serviceName: string },
): DnsRecord[] {
  const targets = found.flatMap((one) =>
    one.ports.map((port) => ({ port: port.port, target: targetName(one, serviceName) })),
  );
  const weight = Math.max(1, Math.floor(100 / Math.max(1, targets.length)));
  return targets.map(({ port, target }) => ({
    type: 'SRV',
    name,
    ttl: TTL_SECONDS,
    data: { priority: 0, weight, port, target },
  }));
}

function addressesOf(service: Service, view: ClusterView): Found[] {
  if (!isHeadless(service)) {
    const ports = (service.spec?.ports ?? []).map((port) => ({
      name: port.name ?? '',
      protocol: port.protocol ?? 'TCP',
      port: port.port,
    }));
    return (service.spec?.clusterIPs ?? (service.spec?.clusterIP ? [service.spec.clusterIP] : [])).map(
      (ip) => ({ ip, label: '', ports }),
    );
  }
  return endpointsOf(service, view);
}

/** Ready endpoints; all endpoints with publishNotReadyAddresses. */
function endpointsOf(service: Service, view: ClusterView): Found[] {
  const unready = service.spec?.publishNotReadyAddresses ?? false;
  const found = new Map<string, Found>();
  for (const slice of view.slices(service.metadata?.namespace ?? '', service.metadata?.name ?? '')) {
    const ports = (slice.ports ?? []).flatMap((port) =>
      port.port === undefined
        ? []
        : [{ name: port.name ?? '', protocol: port.protocol ?? 'TCP', port: port.port }],
    );
    for (const endpoint of slice.endpoints ?? []) {
      if (!unready && endpoint.conditions?.ready === false) continue;
      for (const ip of endpoint.addresses) {
        const before = found.get(ip);
        found.set(ip, {
          ip,
          label: endpointLabel(endpoint.hostname, ip),
          ports: before ? [...before.ports, ...ports] : ports,
        });
      }
    }
  }
  return [...found.values()];
}

function endpointLabel(hostname: string | undefined, ip: string): string {
  return hostname || ip.replaceAll(/[.:]/g, '-');
}

/** '4.3.2.1.in-addr.arpa' is 1.2.3.4; of IPv6 there are 32 hexadecimal digits. Undefined: no whole address. */
function reversedAddress(name: string): string | undefined {
  const isIPv4Name = name.endsWith('.in-addr.arpa');
  const labels = name
    .slice(0, isIPv4Name ? -'.in-addr.arpa'.length : -'.ip6.arpa'.length)
    .split('.')
    .toReversed();
  if (isIPv4Name) return labels.length === 4 ? labels.join('.') : undefined;
  if (labels.length !== 32 || !labels.every((digit) => /^[0-9a-f]$/.test(digit))) return undefined;
  return formatIP({ family: 6, bits: BigInt(`0x${labels.join('')}`) });
}

/** ip is canonical. */
function isSame(address: string, ip: string): boolean {
  const parsed = address === ip ? undefined : parseIP(address);
  return address === ip || (parsed !== undefined && formatIP(parsed) === ip);
}

function reverse(
  question: Question,
  { view, domain }: { readonly view: ClusterView; readonly domain: string },
): Answer {
  const ip = reversedAddress(question.name);
  if (ip === undefined) return { kind: 'elsewhere' };
  const names = view
    .servicesByIP(ip)
    .map((service) => `${service.metadata?.name}.${service.metadata?.namespace}.svc.${domain}`);
  for (const slice of names.length > 0 ? [] : view.slicesByIP(ip)) {
    const service = slice.metadata?.labels?.['kubernetes.io/service-name'];
    if (!service || !isHeadless(view.service(slice.metadata?.namespace ?? '', service) ?? {})) continue;
    for (const endpoint of slice.endpoints ?? [])
      if (endpoint.addresses.some((address) => isSame(address, ip)))
        names.push(
          `${endpointLabel(endpoint.hostname, ip)}.${service}.${slice.metadata?.namespace}.svc.${domain}`,
        );
  }
  if (names.length === 0) return { kind: 'elsewhere' };
  return records(
    question.type === 'PTR'
      ? [...new Set(names)].map((data) => ({ type: 'PTR', name: question.name, ttl: TTL_SECONDS, data }))
      : [],
  );
}
