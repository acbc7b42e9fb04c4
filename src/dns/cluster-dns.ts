/**
 * Cluster DNS as a component: answers for services and pods from informer caches, asks other resolvers for the rest, and (when told to) makes
 * itself known as Service kube-system/kube-dns.
 */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import * as dnsPacket from 'dns-packet';
import type { EndpointSlice, Namespace, Service } from '#api/types.ts';
import { endpointSlices, namespaces, services } from '#client/refs.ts';
import type { Client, Informer } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { errorMessage } from '#stdx/log.ts';
import { Forwarder, type Resolver } from './forward.ts';
import { answer, soa, type Answer, type ClusterView, type DnsRecord } from './records.ts';
import { startDnsServer, type DnsServer, type ListenAddress } from './server.ts';

export interface ClusterDnsOptions extends ComponentContext {
  /** Default 'cluster.local'. */
  readonly clusterDomain?: string;
  readonly listen: readonly ListenAddress[];
  /** Resolvers for other names. Default: those of /etc/resolv.conf. */
  readonly upstream?: readonly Resolver[];
  /** Keep Service kube-system/kube-dns at this cluster address, with our listening addresses behind it. */
  readonly publish?: { readonly serviceIP: string };
}

export interface ClusterDns extends Component {
  readonly addresses: readonly ListenAddress[];
}

const UDP_LIMIT_BYTES = 512;
const UDP_MAX_BYTES = 1232;
const RETRY_MS = 1_000;
const OPCODE_MASK = 0x7800;
const AA = 0x0400;
const RD = 0x0100;
const RA = 0x0080;
const TC = 0x0200;
const NXDOMAIN = 3;
const SERVFAIL = 2;
const FORMERR = 1;
const NOTIMP = 4;

export function createClusterDns(options: ClusterDnsOptions): ClusterDns {
  return new Dns(options);
}

class Dns implements ClusterDns {
  readonly name = 'cluster-dns';
  readonly #options: ClusterDnsOptions;
  readonly #domain: string;
  readonly #stop = new AbortController();
  #servers: readonly DnsServer[] = [];
  #forwarder: Forwarder | undefined;
  #view: ClusterView | undefined;

  constructor(options: ClusterDnsOptions) {
    this.#options = options;
    this.#domain = (options.clusterDomain ?? 'cluster.local').toLowerCase();
  }

  get addresses(): readonly ListenAddress[] { return this.#servers.map((server) => server.address); }

  async start(): Promise<void> {
    const { api, clock, log, listen } = this.#options;
    const informers = { services: api.informer(services), slices: api.informer(endpointSlices), namespaces: api.informer(namespaces) };
    this.#view = viewOf(informers);
    await Promise.all(Object.values(informers).map((informer) => informer.synced(this.#stop.signal)));
    this.#forwarder = new Forwarder({ resolvers: this.#options.upstream ?? systemResolvers(listen), clock });
    this.#servers = await Promise.all(listen.map((address) => startDnsServer({ listen: address, handle: (query, transport) => this.#handle(query, transport), log })));
    if (this.#options.publish) await this.#publish(this.#options.publish.serviceIP);
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('DNS stopped'));
    await Promise.all(this.#servers.map((server) => server.close()));
  }

  async #handle(query: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    let packet: dnsPacket.DecodedPacket;
    try {
      packet = dnsPacket.decode(query);
    } catch {
      return query.length >= 12 ? errorReply(query, FORMERR) : undefined;
    }
    if (packet.type !== 'query') return undefined;
    const [question] = packet.questions ?? [];
    if (!question || (packet.questions ?? []).length !== 1) return errorReply(query, FORMERR);
    if ((query.readUInt16BE(2) & OPCODE_MASK) !== 0) return errorReply(query, NOTIMP);
    const name = question.name.toLowerCase().replace(/\.$/, '');
    const found = answer({ name, type: question.type }, { view: this.#view as ClusterView, domain: this.#domain });
    if (found.kind === 'elsewhere') return this.#elsewhere(query, { key: `${question.type}/${question.class ?? 'IN'}/${name}`, transport, limit: udpLimit(packet) });
    return this.#encode(packet, { found: await this.#followed(found, question.type), transport });
  }

  /** The address behind a CNAME, so that stub resolvers need not ask twice. */
  async #followed(found: Answer, type: string): Promise<Answer> {
    if (found.kind !== 'answer' || type === 'CNAME') return found;
    const alias = found.records.find((record) => record.type === 'CNAME');
    if (!alias || typeof alias.data !== 'string') return found;
    const target = alias.data.toLowerCase();
    const inside = answer({ name: target, type }, { view: this.#view as ClusterView, domain: this.#domain });
    if (inside.kind === 'answer') return { ...found, records: [...found.records, ...inside.records] };
    if (inside.kind !== 'elsewhere') return found;
    const query = dnsPacket.encode({ type: 'query', id: 1 + Math.floor(Math.random() * 65_534), flags: RD, questions: [{ name: target, type: type as 'A', class: 'IN' }] });
    const response = await this.#forwarder?.ask(query, `${type}/IN/${target}`);
    const more = response ? dnsPacket.decode(response).answers ?? [] : [];
    return { ...found, records: [...found.records, ...(more as unknown as DnsRecord[])] };
  }

  async #elsewhere(query: Buffer, { key, transport, limit }: { readonly key: string; readonly transport: 'udp' | 'tcp'; readonly limit: number }): Promise<Buffer> {
    const response = await this.#forwarder?.ask(query, key);
    if (!response) return errorReply(query, SERVFAIL);
    return transport === 'udp' && response.length > limit ? truncated(query) : response;
  }

  #encode(packet: dnsPacket.DecodedPacket, { found, transport }: { readonly found: Answer; readonly transport: 'udp' | 'tcp' }): Buffer {
    const list = found.kind === 'answer' ? found.records : [];
    const reply = (answers: readonly DnsRecord[], flags: number): Buffer => dnsPacket.encode({
      type: 'response', id: packet.id ?? 0, flags: AA | RA | ((packet.flags ?? 0) & RD) | flags, questions: packet.questions ?? [],
      answers: shuffled(answers) as dnsPacket.Answer[],
      authorities: answers.length === 0 ? [soa(this.#domain) as dnsPacket.Answer] : [],
      additionals: [...(found.kind === 'answer' && flags === 0 ? found.additionals as dnsPacket.Answer[] : []), ...ednsReply(packet)],
    });
    const response = reply(list, found.kind === 'no-such-name' ? NXDOMAIN : 0);
    return transport === 'tcp' || response.length <= udpLimit(packet) ? response : reply([], TC);
  }

  async #publish(serviceIP: string): Promise<void> {
    const { api, clock, log } = this.#options;
    for (;;) {
      try {
        await ensureService(api, serviceIP);
        for (const address of this.addresses) await ensureSlice(api, address);
        return;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        log.warn('DNS service not published yet', { error: errorMessage(error) });
        await clock.sleep(RETRY_MS, this.#stop.signal).catch(() => {});
      }
    }
  }
}

interface Informers { readonly services: Informer<Service>; readonly slices: Informer<EndpointSlice>; readonly namespaces: Informer<Namespace> }

function viewOf(informers: Informers): ClusterView {
  informers.services.addIndex('dns-ip', (service) => [...service.spec?.clusterIPs ?? [], ...service.spec?.externalIPs ?? []]);
  informers.slices.addIndex('dns-service', (slice) => [`${slice.metadata?.namespace}/${slice.metadata?.labels?.['kubernetes.io/service-name'] ?? ''}`]);
  informers.slices.addIndex('dns-ip', (slice) => (slice.endpoints ?? []).flatMap((endpoint) => endpoint.addresses));
  return {
    service: (namespace, name) => informers.services.get(`${namespace}/${name}`),
    slices: (namespace, name) => informers.slices.byIndex('dns-service', `${namespace}/${name}`),
    namespaceExists: (name) => informers.namespaces.get(name) !== undefined,
    servicesByIP: (ip) => informers.services.byIndex('dns-ip', ip),
    slicesByIP: (ip) => informers.slices.byIndex('dns-ip', ip),
  };
}

/** The machine's resolvers, without addresses that are our own (a loop). */
function systemResolvers(listen: readonly ListenAddress[]): Resolver[] {
  let text: string;
  try {
    text = readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    return [];
  }
  const own = new Set(Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((one) => one.address)));
  return [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => ({ address: match[1] ?? '', port: 53 }))
    .filter(({ address, port }) => !listen.some((ours) => ours.port === port && (ours.address === address || (ours.address === '0.0.0.0' && own.has(address)))));
}

function udpLimit(packet: dnsPacket.DecodedPacket): number {
  const size = optOf(packet)?.udpPayloadSize ?? UDP_LIMIT_BYTES;
  return Math.min(UDP_MAX_BYTES, Math.max(UDP_LIMIT_BYTES, size));
}

function optOf(packet: dnsPacket.DecodedPacket): { readonly udpPayloadSize?: number } | undefined {
  return (packet.additionals ?? []).find((record) => record.type === 'OPT') as { readonly udpPayloadSize?: number } | undefined;
}

function ednsReply(packet: dnsPacket.DecodedPacket): dnsPacket.Answer[] {
  return optOf(packet) ? [{ type: 'OPT', name: '.', udpPayloadSize: UDP_MAX_BYTES, flags: 0, options: [] } as unknown as dnsPacket.Answer] : [];
}

/** The question's own bytes with an error code: works for questions we cannot take apart. */
function errorReply(query: Buffer, code: number): Buffer {
  const reply = Buffer.from(query.subarray(0, Math.max(12, questionEnd(query))));
  reply.writeUInt16BE(0x8000 | RA | (query.readUInt16BE(2) & (0x7800 | RD)) | code, 2);
  reply.writeUInt16BE(reply.length > 12 ? 1 : 0, 4);
  reply.fill(0, 6, 12);
  return reply;
}

function truncated(query: Buffer): Buffer {
  const reply = errorReply(query, 0);
  reply.writeUInt16BE(reply.readUInt16BE(2) | TC, 2);
  return reply;
}

/** Where the first question ends; 12 when it cannot be told. */
function questionEnd(query: Buffer): number {
  let at = 12;
  while (at < query.length && query[at] !== 0) at += (query[at] ?? 0) + 1;
  return at + 5 <= query.length && query.readUInt16BE(4) === 1 ? at + 5 : 12;
}

function shuffled(list: readonly DnsRecord[]): readonly DnsRecord[] {
  // Aliases must stay in front of what they point to.
  return list.length < 2 || list.some((record) => record.type === 'CNAME') ? list : list.toSorted(() => Math.random() - 0.5);
}

const AT = { name: 'kube-dns', namespace: 'kube-system' };

async function ensureService(api: Client, serviceIP: string): Promise<void> {
  const ports = [{ name: 'dns', port: 53, protocol: 'UDP' }, { name: 'dns-tcp', port: 53, protocol: 'TCP' }];
  const wanted: Service = {
    apiVersion: 'v1', kind: 'Service',
    metadata: { ...AT, labels: { 'k8s-app': 'kube-dns', 'kubernetes.io/cluster-service': 'true', 'kubernetes.io/name': 'CoreDNS' } },
    spec: { clusterIP: serviceIP, ports },
  };
  await api.create(services, wanted).catch((error: unknown) => {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  });
}

/** One slice per server, so that several need not share one object. */
async function ensureSlice(api: Client, { address, port }: ListenAddress): Promise<void> {
  const name = `kube-dns-${address.replaceAll(/[.:]/g, '-')}-${port}`;
  const wanted = {
    apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice',
    metadata: { name, namespace: AT.namespace, labels: { 'kubernetes.io/service-name': AT.name, 'endpointslice.kubernetes.io/managed-by': 'cluster-dns.capstan.dev' } },
    addressType: 'IPv4',
    ports: [{ name: 'dns', port, protocol: 'UDP' }, { name: 'dns-tcp', port, protocol: 'TCP' }],
    endpoints: [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false } }],
  };
  try {
    await api.create(endpointSlices, wanted);
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
    const current = await api.get(endpointSlices, { name, namespace: AT.namespace });
    const same = JSON.stringify(current.endpoints?.map((endpoint) => endpoint.addresses)) === JSON.stringify([[address]]) && current.ports?.every((one) => one.port === port);
    if (!same) await api.update(endpointSlices, { ...current, ports: wanted.ports, endpoints: wanted.endpoints });
  }
}
