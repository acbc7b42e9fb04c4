/** Encodes and decodes netlink messages and attributes (linux/netlink.h). Independent of the protocols on top of them. */

interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly body: Buffer;
}

interface NetlinkAttribute {
  readonly type: number;
  readonly value: Buffer;
  /** Including the header: to be sent back unchanged. */
  readonly whole: Buffer;
}

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_DUMP = 0x300;

const MESSAGE_HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;
const ATTRIBUTE_TYPE_MASK = 0x3fff;

/** Ignores a malformed rest: the data come from the kernel, and each entry is used separately. */
export function* readMessages(datagram: Buffer): Generator<NetlinkMessage> {
  for (let at = 0; at + MESSAGE_HEADER_BYTES <= datagram.length;) {
    const length = datagram.readUInt32LE(at);
    if (length < MESSAGE_HEADER_BYTES || at + length > datagram.length) return;
    yield {
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      body: datagram.subarray(at + MESSAGE_HEADER_BYTES, at + length),
    };
    at += aligned(length);
  }
}

export function* readAttributes(bytes: Buffer): Generator<NetlinkAttribute> {
  for (let at = 0; at + ATTRIBUTE_HEADER_BYTES <= bytes.length;) {
    const length = bytes.readUInt16LE(at);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > bytes.length) return;
    yield {
      type: bytes.readUInt16LE(at + 2) & ATTRIBUTE_TYPE_MASK,
      value: bytes.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length),
      whole: bytes.subarray(at, Math.min(at + aligned(length), bytes.length)),
    };
    at += aligned(length);
  }
}

export function renderMessage({ type, flags, body }: NetlinkMessage): Buffer {
  const header = Buffer.alloc(MESSAGE_HEADER_BYTES);
  header.writeUInt32LE(MESSAGE_HEADER_BYTES + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  return Buffer.concat([header, body]);
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}
