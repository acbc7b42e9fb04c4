/**
 * Cluster DNS as a component: answers for services and pods from informer caches, forwards other queries, and (when enabled) publishes
 * itself as Service kube-system/kube-dns.
 */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import * as dnsPacket from 'dns-packet';
import type { EndpointSlice, Namespace, Service } from '#api/types.ts';
import { endpointSlices, namespaces, services } from '#client/refs.ts';
import type { Informer } from '#client/client.ts';
import { indexByService } from '#component-helpers/endpoint-slices.ts';
import { formatIP, parseIP } from '#machinery/ip.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { errorMessage } from '#stdx/log.ts';
import { limitRepeats } from '#stdx/repeat-limit.ts';
import { realRandom, shuffled, type Random } from '#stdx/random.ts';
import { Forwarder, type Resolver } from './forward.ts';
import { keepPublished, unpublish } from './publish.ts';
import { answer, soa, type Answer, type ClusterView, type DnsRecord } from './records.ts';
import { DnsMetrics } from './metrics.ts';
import { startDnsServer, type Arrival, type DnsServer, type ListenAddress } from './server.ts';
import {
  AA,
  BADVERS_HIGH,
  FORMERR,
  HEADER_BYTES,
  NOTIMP,
  NXDOMAIN,
  OPCODE_MASK,
  QR,
  RA,
  RD,
  SERVFAIL,
  TC,
  bareReply,
} from './wire.ts';

export interface ClusterDnsOptions extends ComponentContext {
  /** Default 'cluster.local'. */
  readonly clusterDomain?: string;
  readonly listen: readonly ListenAddress[];
  /** Upstream resolvers; our own addresses among them are left out. Default: those of /etc/resolv.conf. */
  readonly upstream?: readonly Resolver[];
  /** Timeout of one upstream resolver. Default 2 s. */
  readonly upstreamTimeoutMs?: number;
  /** Keep Service kube-system/kube-dns at this cluster address, with our listening addresses behind it. */
  readonly publish?: {
    readonly serviceIP: string;
    /** This server may stop without the API server: its endpoints then expire with its Lease. Default false. */
    readonly leased?: boolean;
  };
  readonly random?: Random;
}

export interface ClusterDns extends Component {
  readonly addresses: readonly ListenAddress[];
}

const UDP_LIMIT_BYTES = 512;
const UDP_MAX_BYTES = 1232;

export function createClusterDns(options: ClusterDnsOptions): ClusterDns {
  return new Dns(options);
}

class Dns implements ClusterDns {
  readonly name = 'cluster-dns';
  readonly #options: ClusterDnsOptions;
  readonly #domain: string;
  readonly #random: Random;
  readonly #metrics: DnsMetrics;
  readonly #stop = new AbortController();
  #servers: readonly DnsServer[] = [];
  #forwarder: Forwarder | undefined;
  #view: ClusterView | undefined;

  constructor(options: ClusterDnsOptions) {
    this.#options = options;
    this.#domain = (options.clusterDomain ?? 'cluster.local').toLowerCase();
    this.#random = options.random ?? realRandom;
    this.#metrics = new DnsMetrics(this.#domain, options.metrics);
  }

  get addresses(): readonly ListenAddress[] {
    return this.#servers.map((server) => server.address);
  }

  async start(): Promise<void> {
    const { api, clock, log, listen, publish, upstreamTimeoutMs } = this.#options;
    const informers = {
      services: api.informer(services),
      slices: api.informer(endpointSlices),
      namespaces: api.informer(namespaces),
    };
    this.#view = viewOf(informers);
    await Promise.all(Object.values(informers).map((informer) => informer.synced(this.#stop.signal)));
    await this.#listen(listen);
    const resolvers = withoutOurselves(this.#options.upstream ?? systemResolvers(), {
      listen: this.addresses,
      serviceIP: publish?.serviceIP,
    });
    this.#forwarder = new Forwarder({
      resolvers,
      clock,
      timeoutMs: upstreamTimeoutMs,
    });
    if (publish)
      await keepPublished({
        api,
        clock,
        log,
        serviceIP: publish.serviceIP,
        addresses: this.addresses,
        signal: this.#stop.signal,
        leased: publish.leased ?? false,
        identity: this.#options.identity,
      });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('DNS stopped'));
    const { api, log, publish } = this.#options;
    if (publish) await unpublish({ api, log, addresses: this.addresses });
    await this.#close();
  }

  /** Listens on all addresses or none. */
  async #listen(listen: readonly ListenAddress[]): Promise<void> {
    // Log lines are rate-limited, because queries of pods cause them.
    const log = limitRepeats(this.#options.log, { clock: this.#options.clock });
    const outcomes = await Promise.allSettled(
      listen.map((address) =>
        startDnsServer({
          listen: address,
          handle: (query, arrival) => this.#handle(query, arrival),
          log,
        }),
      ),
    );
    this.#servers = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (!failed) return;
    await this.#close();
    throw failed.reason;
  }

  async #close(): Promise<void> {
    const servers = this.#servers;
    this.#servers = [];
    await Promise.all(servers.map((server) => server.close()));
  }

  async #handle(query: Buffer, { transport, family }: Arrival): Promise<Buffer | undefined> {
    if (query.length < HEADER_BYTES || (query.readUInt16BE(2) & QR) !== 0) return undefined;
    const startedMs = performance.now();
    const packet = decoded(query);
    const response = await this.#responded(query, { packet, transport });
    const [question] = packet?.questions ?? [];
    const name = `.${question?.name.toLowerCase().replace(/\.$/, '') ?? ''}`;
    this.#metrics.answered(
      {
        type: question?.type,
        inCluster: name.endsWith(`.${this.#domain}`),
        transport,
        family,
        bytes: query.length,
      },
      { response, seconds: (performance.now() - startedMs) / 1000 },
    );
    return response;
  }

  async #responded(query: Buffer, parsed: Parsed): Promise<Buffer> {
    if ((query.readUInt16BE(2) & OPCODE_MASK) !== 0) return bareReply(query, NOTIMP);
    try {
      return await this.#answered(query, parsed);
    } catch (error) {
      this.#metrics.panicked();
      this.#options.log.debug('error answering a query', { error: errorMessage(error) });
      return bareReply(query, SERVFAIL);
    }
  }

  async #answered(query: Buffer, { packet, transport }: Parsed): Promise<Buffer> {
    const [question, ...more] = packet?.questions ?? [];
    // Queries with more than one question are not in use, and their meaning is not defined.
    if (!packet || !question || more.length > 0) return bareReply(query, FORMERR);
    const edns = ednsOf(packet);
    if (edns && edns.version !== 0) return encode({ packet, flags: 0, extendedCode: BADVERS_HIGH });
    const name = question.name.toLowerCase().replace(/\.$/, '');
    const asked = { name, type: question.type };
    const found =
      isPlain(name) && (question.class ?? 'IN') === 'IN'
        ? answer(asked, { view: this.#clusterView, domain: this.#domain })
        : strange(name, this.#domain);
    const limit =
      transport === 'tcp' ? Infinity : Math.min(UDP_MAX_BYTES, Math.max(UDP_LIMIT_BYTES, edns?.size ?? 0));
    if (found.kind === 'elsewhere') return this.#elsewhere(query, { key: cacheKey(packet, asked), limit });
    // The name is returned in the bytes of the query, because decoding and encoding it could change it.
    if (!isPlain(name)) return bareReply(query, NXDOMAIN, AA);
    return this.#reply(packet, { found: await this.#followed(found, question.type), limit });
  }

  get #clusterView(): ClusterView {
    return this.#view as ClusterView;
  }

  /** Adds the address behind a CNAME, so that stub resolvers need no second query. */
  async #followed(found: Answer, type: string): Promise<Answer> {
    if (found.kind !== 'answer' || type === 'CNAME') return found;
    const alias = found.records.find((record) => record.type === 'CNAME');
    if (!alias || typeof alias.data !== 'string') return found;
    const target = alias.data.toLowerCase();
    const inside = answer({ name: target, type }, { view: this.#clusterView, domain: this.#domain });
    if (inside.kind === 'answer') return { ...found, records: [...found.records, ...inside.records] };
    if (inside.kind !== 'elsewhere') return found;
    const query = dnsPacket.encode({
      type: 'query',
      id: Math.floor(this.#random() * 65_536),
      flags: RD,
      questions: [{ name: target, type: type as 'A', class: 'IN' }],
    });
    const response = await this.#forwarder?.ask(query, `${type}/IN/${target}/`);
    const more = (response && decoded(response)?.answers) ?? [];
    return { ...found, records: [...found.records, ...(more as unknown as DnsRecord[])] };
  }

  async #elsewhere(
    query: Buffer,
    { key, limit }: { readonly key: string; readonly limit: number },
  ): Promise<Buffer> {
    const response = await this.#forwarder?.ask(query, key);
    if (!response) return bareReply(query, SERVFAIL);
    return response.length > limit ? bareReply(query, 0, TC) : response;
  }

  #reply(
    packet: dnsPacket.DecodedPacket,
    { found, limit }: { readonly found: Answer; readonly limit: number },
  ): Buffer {
    if (found.kind !== 'answer' || found.records.length === 0) {
      const flags = AA | (found.kind === 'answer' ? 0 : NXDOMAIN);
      return encode({ packet, flags, authorities: [soa(this.#domain)] });
    }
    const answers = this.#mixed(found.records);
    const whole = encode({ packet, flags: AA, answers, additionals: found.additionals });
    if (whole.length <= limit) return whole;
    const bare = encode({ packet, flags: AA, answers });
    return bare.length <= limit ? bare : encode({ packet, flags: AA | TC });
  }

  /** Rotates the records, because clients use the first. CNAMEs stay in front of their targets. */
  #mixed(list: readonly DnsRecord[]): readonly DnsRecord[] {
    return list.length < 2 || list.some((record) => record.type === 'CNAME')
      ? list
      : shuffled(list, this.#random);
  }
}

interface Parsed {
  readonly packet: dnsPacket.DecodedPacket | undefined;
  readonly transport: Arrival['transport'];
}

interface Reply {
  readonly packet: dnsPacket.DecodedPacket;
  readonly flags: number;
  readonly extendedCode?: number;
  readonly answers?: readonly DnsRecord[];
  readonly authorities?: readonly DnsRecord[];
  readonly additionals?: readonly DnsRecord[];
}

function encode({
  packet,
  flags,
  extendedCode = 0,
  answers = [],
  authorities = [],
  additionals = [],
}: Reply): Buffer {
  const opt = {
    type: 'OPT',
    name: '.',
    udpPayloadSize: UDP_MAX_BYTES,
    extendedRcode: extendedCode,
    ednsVersion: 0,
    flags: 0,
    options: [],
  };
  return dnsPacket.encode({
    type: 'response',
    id: packet.id ?? 0,
    flags: RA | ((packet.flags ?? 0) & RD) | flags,
    questions: packet.questions ?? [],
    answers: answers as dnsPacket.Answer[],
    authorities: authorities as dnsPacket.Answer[],
    additionals: [
      ...(additionals as dnsPacket.Answer[]),
      ...(ednsOf(packet) ? [opt as unknown as dnsPacket.Answer] : []),
    ],
  });
}

function decoded(message: Buffer): dnsPacket.DecodedPacket | undefined {
  try {
    return dnsPacket.decode(message);
  } catch {
    return undefined;
  }
}

interface Edns {
  readonly size: number;
  readonly version: number;
  readonly dnssec: boolean;
}

function ednsOf(packet: dnsPacket.DecodedPacket): Edns | undefined {
  const opt = (packet.additionals ?? []).find((record) => record.type === 'OPT') as
    | { readonly udpPayloadSize?: number; readonly ednsVersion?: number; readonly flag_do?: boolean }
    | undefined;
  return (
    opt && { size: opt.udpPayloadSize ?? 0, version: opt.ednsVersion ?? 0, dnssec: opt.flag_do ?? false }
  );
}

/** The cache key: everything that changes an upstream response (question, EDNS, recursion desired, DNSSEC, checking disabled). */
function cacheKey(
  packet: dnsPacket.DecodedPacket,
  { name, type }: { readonly name: string; readonly type: string },
): string {
  const edns = ednsOf(packet);
  return `${type}/${packet.questions?.[0]?.class ?? 'IN'}/${name}/${edns ? `e${edns.dnssec ? 'd' : ''}` : ''}${(packet.flags ?? 0) & 0x0110}`;
}

function isPlain(name: string): boolean {
  return /^[\x21-\x7e]*$/.test(name);
}

/** Names with unusual bytes, and classes other than IN: the cluster has none of these. */
function strange(name: string, domain: string): Answer {
  return name === domain || name.endsWith(`.${domain}`) ? { kind: 'no-such-name' } : { kind: 'elsewhere' };
}

interface Informers {
  readonly services: Informer<Service>;
  readonly slices: Informer<EndpointSlice>;
  readonly namespaces: Informer<Namespace>;
}

function viewOf(informers: Informers): ClusterView {
  informers.services.addIndex('dns-ip', addressesOfService);
  informers.slices.addIndex('dns-service', indexByService);
  informers.slices.addIndex('dns-ip', addressesOfSlice);
  return {
    service: (namespace, name) => informers.services.get(`${namespace}/${name}`),
    slices: (namespace, name) => informers.slices.byIndex('dns-service', `${namespace}/${name}`),
    namespaceExists: (name) => informers.namespaces.get(name) !== undefined,
    servicesByIP: (ip) => informers.services.byIndex('dns-ip', ip),
    slicesByIP: (ip) => informers.slices.byIndex('dns-ip', ip),
  };
}

function addressesOfService({ spec }: Service): readonly string[] {
  return [...(spec?.clusterIPs ?? []), ...(spec?.externalIPs ?? [])].map(canonical);
}

function addressesOfSlice({ endpoints }: EndpointSlice): readonly string[] {
  return (endpoints ?? []).flatMap((endpoint) => endpoint.addresses.map(canonical));
}

/** A reverse question has no abbreviations. */
function canonical(address: string): string {
  const parsed = parseIP(address);
  return parsed ? formatIP(parsed) : address;
}

/** The machine's resolvers; none when it has no /etc/resolv.conf. */
function systemResolvers(): Resolver[] {
  try {
    return [...readFileSync('/etc/resolv.conf', 'utf8').matchAll(/^\s*nameserver\s+([^\s%]+)/gm)].map(
      (match) => ({ address: match[1] ?? '', port: 53 }),
    );
  } catch {
    return [];
  }
}

/** Our own listening addresses and the Service's are left out: forwarding to them would loop. */
function withoutOurselves(
  resolvers: readonly Resolver[],
  {
    listen,
    serviceIP,
  }: { readonly listen: readonly ListenAddress[]; readonly serviceIP: string | undefined },
): Resolver[] {
  const own = new Set(
    Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((one) => one.address)),
  );
  const isUs = ({ address, port }: Resolver): boolean =>
    (address === serviceIP && port === 53) ||
    listen.some(
      (ours) =>
        ours.port === port &&
        (ours.address === address || (['0.0.0.0', '::'].includes(ours.address) && own.has(address))),
    );
  return resolvers.filter((resolver) => !isUs(resolver));
}
