/**
 * For tests only: the first two packets of an SCTP association (RFC 9260), for raw sockets: kernels without SCTP sockets still filter and track its packets.
 * Not a state machine: who gets an INIT answers with INIT ACK.
 */

interface SctpPacket {
  readonly kind: 'init' | 'init-ack';
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** 0 in an INIT; in the answer the tag that the INIT named. */
  readonly verificationTag: number;
  readonly initiateTag: number;
}

const KINDS = { init: 1, 'init-ack': 2 } as const;
const HEADER_BYTES = 12;
const CHUNK_BYTES = 20;

export function renderSctp({
  kind,
  sourcePort,
  destinationPort,
  verificationTag,
  initiateTag,
}: SctpPacket): Buffer {
  const packet = Buffer.alloc(HEADER_BYTES + CHUNK_BYTES);
  packet.writeUInt16BE(sourcePort, 0);
  packet.writeUInt16BE(destinationPort, 2);
  packet.writeUInt32BE(verificationTag, 4);
  packet.writeUInt8(KINDS[kind], 12);
  packet.writeUInt16BE(CHUNK_BYTES, 14);
  packet.writeUInt32BE(initiateTag, 16);
  // Receiver window, streams out and in, first sequence number.
  packet.writeUInt32BE(65_536, 20);
  packet.writeUInt16BE(1, 24);
  packet.writeUInt16BE(1, 26);
  packet.writeUInt32BE(1, 28);
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}

/** undefined: something else. bytes begin with the SCTP header. */
export function parseSctp(bytes: Buffer): SctpPacket | undefined {
  if (bytes.length < HEADER_BYTES + CHUNK_BYTES) return undefined;
  const kind = (['init', 'init-ack'] as const).find((one) => KINDS[one] === bytes.readUInt8(12));
  return (
    kind && {
      kind,
      sourcePort: bytes.readUInt16BE(0),
      destinationPort: bytes.readUInt16BE(2),
      verificationTag: bytes.readUInt32BE(4),
      initiateTag: bytes.readUInt32BE(16),
    }
  );
}

/** Castagnoli's, which conntrack checks. */
function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
