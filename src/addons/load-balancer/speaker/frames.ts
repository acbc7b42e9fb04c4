/** ARP (RFC 826) and neighbor discovery (RFC 4861) in Ethernet frames: what a speaker hears, and what it says. Pure. */
import { formatIP, parseIP } from '#machinery/ip.ts';

/** Somebody asks who has an address, or says that it has. */
export interface Heard {
  readonly kind: 'asked' | 'claimed';
  readonly address: string;
  /** Who asks or claims. */
  readonly mac: string;
  /** Of the one who asks; '::' where it has none yet. */
  readonly from: string;
}

interface Saying {
  readonly address: string;
  readonly mac: string;
  /** Who asked; absent: all are told. */
  readonly to?: { readonly mac: string; readonly address: string } | undefined;
}

export const ARP = 0x0806;
export const IPV6 = 0x86dd;
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const ETHERNET_BYTES = 14;
const ARP_BYTES = 28;
const REQUEST = 1;
const REPLY = 2;
const IPV6_BYTES = 40;
const ICMPV6 = 58;
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
const ADVERTISEMENT_BYTES = 32;
const SOURCE_LINK_LAYER = 1;
const TARGET_LINK_LAYER = 2;
const SOLICITED = 0x40;
const OVERRIDE = 0x20;
const ALL_NODES = 'ff02::1';
const ALL_NODES_MAC = '33:33:00:00:00:01';

/** Accepts solicitations and advertisements of neighbors alone (classic BPF): an interface has much other IPv6. */
export const NEIGHBOR_FILTER: Buffer = program([
  [0x30, 0, 0, ETHERNET_BYTES + 6],
  [0x15, 0, 4, ICMPV6],
  [0x30, 0, 0, ETHERNET_BYTES + IPV6_BYTES],
  [0x15, 1, 0, SOLICITATION],
  [0x15, 0, 1, ADVERTISEMENT],
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
]);

/** Code, jump if true, jump if false, operand. */
function program(instructions: readonly (readonly [number, number, number, number])[]): Buffer {
  return Buffer.concat(
    instructions.map(([code, jt, jf, k]) => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt16LE(code, 0);
      bytes.writeUInt8(jt, 2);
      bytes.writeUInt8(jf, 3);
      bytes.writeUInt32LE(k, 4);
      return bytes;
    }),
  );
}

/** Undefined: something else, or malformed. */
export function readFrame(frame: Buffer): Heard | undefined {
  if (frame.length < ETHERNET_BYTES) return undefined;
  const type = frame.readUInt16BE(12);
  const body = frame.subarray(ETHERNET_BYTES);
  if (type === ARP) return readArp(body);
  return type === IPV6 ? readNeighbor(body, macOf(frame, 6)) : undefined;
}

function readArp(body: Buffer): Heard | undefined {
  // Ethernet and IPv4 alone.
  if (body.length < ARP_BYTES || body.readUInt32BE(0) !== 0x0001_0800 || body.readUInt16BE(4) !== 0x0604)
    return undefined;
  const operation = body.readUInt16BE(6);
  const mac = macOf(body, 8);
  const from = ipv4(body, 14);
  const target = ipv4(body, 24);
  // A gratuitous request claims as a reply does.
  if (operation === REPLY || from === target) return { kind: 'claimed', address: from, mac, from };
  return operation === REQUEST ? { kind: 'asked', address: target, mac, from } : undefined;
}

function readNeighbor(packet: Buffer, sourceMac: string): Heard | undefined {
  if (packet.length < IPV6_BYTES + 24 || packet[6] !== ICMPV6) return undefined;
  const message = packet.subarray(IPV6_BYTES);
  const address = ipv6(message, 8);
  const from = ipv6(packet, 8);
  if (message[0] === SOLICITATION)
    return { kind: 'asked', address, from, mac: option(message, SOURCE_LINK_LAYER) ?? sourceMac };
  if (message[0] !== ADVERTISEMENT) return undefined;
  return { kind: 'claimed', address, from, mac: option(message, TARGET_LINK_LAYER) ?? sourceMac };
}

/** The first six bytes of a link-layer option. */
function option(message: Buffer, type: number): string | undefined {
  for (let at = 24; at + 8 <= message.length;) {
    const length = message[at + 1]! * 8;
    if (length === 0) return undefined;
    if (message[at] === type) return macOf(message, at + 2);
    at += length;
  }
  return undefined;
}

/** An answer, or the unsolicited announcement of a new owner. */
export function renderFrame(saying: Saying): Buffer {
  return saying.address.includes(':') ? renderAdvertisement(saying) : renderArp(saying);
}

function renderArp({ address, mac, to }: Saying): Buffer {
  const body = Buffer.alloc(ARP_BYTES);
  body.writeUInt32BE(0x0001_0800, 0);
  body.writeUInt16BE(0x0604, 4);
  // Announcements are requests, as RFC 5227 has them: every stack takes them into its table.
  body.writeUInt16BE(to ? REPLY : REQUEST, 6);
  macBytes(mac).copy(body, 8);
  addressBytes(address).copy(body, 14);
  if (to) macBytes(to.mac).copy(body, 18);
  addressBytes(to?.address ?? address).copy(body, 24);
  return Buffer.concat([ethernet({ to: to?.mac ?? BROADCAST, from: mac, type: ARP }), body]);
}

function renderAdvertisement({ address, mac, to }: Saying): Buffer {
  // Who has no address yet (duplicate address detection) hears the answer with all others.
  const asked = to && to.address !== '::' ? to : undefined;
  const message = Buffer.alloc(ADVERTISEMENT_BYTES);
  message[0] = ADVERTISEMENT;
  message[4] = OVERRIDE | (asked ? SOLICITED : 0);
  addressBytes(address).copy(message, 8);
  message[24] = TARGET_LINK_LAYER;
  message[25] = 1;
  macBytes(mac).copy(message, 26);
  const header = Buffer.alloc(IPV6_BYTES);
  header[0] = 0x60;
  header.writeUInt16BE(message.length, 4);
  header[6] = ICMPV6;
  header[7] = 255;
  addressBytes(address).copy(header, 8);
  addressBytes(asked?.address ?? ALL_NODES).copy(header, 24);
  message.writeUInt16BE(checksum(header, message), 2);
  return Buffer.concat([
    ethernet({ to: asked?.mac ?? ALL_NODES_MAC, from: mac, type: IPV6 }),
    header,
    message,
  ]);
}

/** RFC 8200, 8.1. */
function checksum(header: Buffer, message: Buffer): number {
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(message.length, 0);
  pseudo[7] = ICMPV6;
  const bytes = Buffer.concat([header.subarray(8, 40), pseudo, message]);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** The group that solicitations of an address go to. */
export function solicitedNodeGroup(address: string): string {
  const end = (parseIP(address)?.bits ?? 0n) & 0xff_ffffn;
  return formatIP({ family: 6, bits: (0xff02n << 112n) | (0x1_ff00_0000n | end) });
}

function ethernet({
  to,
  from,
  type,
}: {
  readonly to: string;
  readonly from: string;
  readonly type: number;
}): Buffer {
  const header = Buffer.concat([macBytes(to), macBytes(from), Buffer.alloc(2)]);
  header.writeUInt16BE(type, 12);
  return header;
}

function macOf(bytes: Buffer, at: number): string {
  return Array.from(bytes.subarray(at, at + 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

function ipv4(bytes: Buffer, at: number): string {
  return formatIP({ family: 4, bits: BigInt(bytes.readUInt32BE(at)) });
}

function ipv6(bytes: Buffer, at: number): string {
  return formatIP({ family: 6, bits: BigInt(`0x${bytes.toString('hex', at, at + 16)}`) });
}

function addressBytes(address: string): Buffer {
  const { family = 4, bits = 0n } = parseIP(address) ?? {};
  return Buffer.from(bits.toString(16).padStart(family === 4 ? 8 : 32, '0'), 'hex');
}
