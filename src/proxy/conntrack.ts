/**
 * Deletes connection tracking entries that would keep UDP datagrams from a Service's endpoints: UDP connections have no end, so an entry created before the
 * Service (not translated) or for a removed endpoint persists while the client sends from the same port. Uses netlink, as upstream's proxy does
 * (pkg/proxy/conntrack), without another program. TCP entries are kept: TCP connections end.
 *
 *   rules applied ─► request() ─► dump of all UDP entries ─► those whose reply does not come from a serving endpoint ─► delete each
 */
import { networkInterfaces } from 'node:os';
import { formatIP } from '#machinery/ip.ts';
import { openNetlink, type DatagramSocket } from '#stdx/datagram-socket.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  readAttributes,
  readMessages,
  renderMessage,
} from '#stdx/netlink.ts';
import type { ServicePortModel } from './model.ts';

const NETLINK_NETFILTER = 12;
const CTNETLINK = 1 << 8;
const GET = CTNETLINK | 1;
const DELETE = CTNETLINK | 2;
/** All address families; each entry begins with its own. */
const AF_UNSPEC = 0;
const FAMILY_HEADER_BYTES = 4;
const UDP = 17;
/** Attributes of an entry, and of what is nested in them (linux/netfilter/nfnetlink_conntrack.h). */
const TUPLE_ORIGINAL = 1;
const TUPLE_REPLY = 2;
const ID = 12;
const ZONE = 18;
const TUPLE_IP = 1;
const TUPLE_PROTOCOL = 2;
const IP_SOURCE = { 4: 1, 16: 3 } as const;
const IP_DESTINATION = { 4: 2, 16: 4 } as const;
const PROTOCOL_NUMBER = 1;
const PORT_SOURCE = 2;
const PORT_DESTINATION = 3;
/** The event loop gets its turn after so many parts of a dump (up to 32 KiB each). */
const PARTS_PER_TURN = 16;
/** A dump that takes longer is abandoned and repeated at the next change. */
const DUMP_TIMEOUT_MS = 10_000;
const POLL_MS = 5;
/** Maximum number of bytes read from a dump: more than the kernel's largest default table. */
const MAX_ENTRIES = 2_000_000;

interface UdpEntry {
  /** Original destination, 'IP:port'. */
  readonly to: string;
  /** Source of the reply, 'IP:port': the same as `to` without translation. */
  readonly answeredBy: string;
}

interface UdpServices {
  /** 'IP:port' of cluster and external addresses → the endpoints, 'IP:port'. */
  readonly addresses: ReadonlyMap<string, ReadonlySet<string>>;
  readonly nodePorts: ReadonlyMap<number, ReadonlySet<string>>;
}

export function udpServices(ports: Iterable<ServicePortModel>): UdpServices {
  const addresses = new Map<string, ReadonlySet<string>>();
  const nodePorts = new Map<number, Set<string>>();
  for (const port of ports) {
    if (port.protocol !== 'udp') continue;
    const endpoints = new Set(port.servingEndpoints.map((target) => `${target.ip}:${target.port}`));
    for (const ip of [...port.clusterIPs, ...port.externalIPs])
      addresses.set(`${ip}:${port.port}`, endpoints);
    if (port.nodePort === undefined) continue;
    // Of both families.
    const known = nodePorts.get(port.nodePort);
    if (known) for (const endpoint of endpoints) known.add(endpoint);
    else nodePorts.set(port.nodePort, new Set(endpoints));
  }
  return { addresses, nodePorts };
}

/** isLocal: whether this is an address of this machine, where node ports are. */
export function isStale(entry: UdpEntry, services: UdpServices, isLocal: (ip: string) => boolean): boolean {
  const at = entry.to.lastIndexOf(':');
  const endpoints =
    services.addresses.get(entry.to) ??
    (isLocal(entry.to.slice(0, at)) ? services.nodePorts.get(Number(entry.to.slice(at + 1))) : undefined);
  return endpoints !== undefined && !endpoints.has(entry.answeredBy);
}

/** Deletes the stale entries. Returns how many. Throws SocketError. */
async function deleteStaleEntries(services: UdpServices): Promise<number> {
  if (services.addresses.size === 0 && services.nodePorts.size === 0) return 0;
  const local = new Set(
    Object.values(networkInterfaces()).flatMap((addresses) =>
      (addresses ?? []).map(({ address }) => address),
    ),
  );
  // Not ::1, where node ports are not served.
  const isLocal = (ip: string): boolean => (local.has(ip) && ip !== '::1') || ip.startsWith('127.');
  const socket = await openNetlink({ protocol: NETLINK_NETFILTER });
  try {
    const stale = await dump(socket, (entry) => isStale(entry, services, isLocal));
    for (const body of stale) {
      socket.send(renderMessage({ type: DELETE, flags: NLM_F_REQUEST | NLM_F_ACK, body }));
      // The response is available when the call returns. An entry that expired meanwhile is not an error.
      while (socket.receive() !== undefined);
    }
    return stale.length;
  } finally {
    socket.close();
  }
}

/** Bodies of delete requests for the entries that `wanted` selects. */
async function dump(socket: DatagramSocket, wanted: (entry: UdpEntry) => boolean): Promise<Buffer[]> {
  const all = Buffer.from([AF_UNSPEC, 0, 0, 0]);
  socket.send(renderMessage({ type: GET, flags: NLM_F_REQUEST | NLM_F_DUMP, body: all }));
  const chosen: Buffer[] = [];
  const deadline = performance.now() + DUMP_TIMEOUT_MS;
  for (let parts = 0, entries = 0; performance.now() < deadline && entries < MAX_ENTRIES; parts += 1) {
    const datagram = socket.receive();
    if (datagram === undefined) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    else if (parts % PARTS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
    for (const { type, body } of datagram === undefined ? [] : readMessages(datagram)) {
      if (type === NLMSG_DONE || type === NLMSG_ERROR) return chosen;
      entries += 1;
      const entry = readEntry(body);
      if (entry && wanted(entry))
        chosen.push(Buffer.concat([body.subarray(0, FAMILY_HEADER_BYTES), ...entry.identity]));
    }
  }
  return chosen;
}

/** undefined: not UDP. */
export function readEntry(body: Buffer): (UdpEntry & { readonly identity: readonly Buffer[] }) | undefined {
  let original: Tuple | undefined;
  let reply: Tuple | undefined;
  const identity: Buffer[] = [];
  for (const { type, value, whole } of readAttributes(body.subarray(FAMILY_HEADER_BYTES))) {
    if (type === TUPLE_ORIGINAL) original = readTuple(value);
    else if (type === TUPLE_REPLY) reply = readTuple(value);
    if (type === TUPLE_ORIGINAL || type === ID || type === ZONE) identity.push(whole);
  }
  if (original?.protocol !== UDP || !original.destination || !reply?.source) return undefined;
  return { to: original.destination, answeredBy: reply.source, identity };
}

interface Tuple {
  readonly protocol: number;
  /** 'IP:port' */
  readonly source: string;
  readonly destination: string;
}

function readTuple(bytes: Buffer): Tuple | undefined {
  const found: Record<string, Buffer> = {};
  for (const outer of readAttributes(bytes))
    if (outer.type === TUPLE_IP || outer.type === TUPLE_PROTOCOL)
      for (const inner of readAttributes(outer.value)) found[`${outer.type}.${inner.type}`] = inner.value;
  const end = (ip: typeof IP_SOURCE | typeof IP_DESTINATION, port: number): string | undefined => {
    const address = ([4, 16] as const)
      .map((length) => ({ length, bytes: found[`${TUPLE_IP}.${ip[length]}`] }))
      .find(({ length, bytes: value }) => value?.length === length)?.bytes;
    const number = found[`${TUPLE_PROTOCOL}.${port}`];
    return address && number?.length === 2 ? `${textOf(address)}:${number.readUInt16BE(0)}` : undefined;
  };
  const source = end(IP_SOURCE, PORT_SOURCE);
  const destination = end(IP_DESTINATION, PORT_DESTINATION);
  const protocol = found[`${TUPLE_PROTOCOL}.${PROTOCOL_NUMBER}`]?.[0];
  return source && destination && protocol !== undefined ? { protocol, source, destination } : undefined;
}

function textOf(address: Buffer): string {
  return formatIP({
    family: address.length === 4 ? 4 : 6,
    bits: BigInt(`0x${address.toString('hex')}`),
  });
}

/** One run at a time; a request during a run starts one more after it. */
export class ConntrackCleaner {
  readonly #log: Logger;
  #next: UdpServices | undefined;
  #running: Promise<void> | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  request(services: UdpServices): void {
    this.#next = services;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let services = this.#next; services !== undefined; services = this.#next) {
      this.#next = undefined;
      try {
        const deleted = await deleteStaleEntries(services);
        if (deleted > 0) this.#log.info('deleted stale UDP conntrack entries', { deleted });
      } catch (error) {
        this.#log.warn(
          'error deleting stale UDP conntrack entries: clients may not reach Services until the entries expire',
          {
            error: errorMessage(error),
          },
        );
      }
    }
  }
}
