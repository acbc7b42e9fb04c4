/** Operations on DNS messages as bytes (RFC 1035, RFC 6891), where decoding and encoding would lose information. */

export const HEADER_BYTES = 12;
export const AA = 0x0400;
export const TC = 0x0200;
export const RD = 0x0100;
export const RA = 0x0080;
export const QR = 0x8000;
export const OPCODE_MASK = 0x7800;
const CODE_MASK = 0x000f;

export const FORMERR = 1;
export const SERVFAIL = 2;
export const NXDOMAIN = 3;
export const NOTIMP = 4;
/** Its low four bits are in the header, the rest (1) in the OPT record. */
export const BADVERS_HIGH = 1;

const MAX_LABEL_BYTES = 63;
const QUESTION_TAIL_BYTES = 4;

/** Offset of the end of the first question; undefined when there is none or it is malformed. */
function questionEnd(message: Buffer): number | undefined {
  if (message.length < HEADER_BYTES || message.readUInt16BE(4) === 0) return undefined;
  let at = HEADER_BYTES;
  for (let length = message[at]; length !== 0; length = message[at]) {
    if (length === undefined || length > MAX_LABEL_BYTES) return undefined;
    at += length + 1;
  }
  at += 1 + QUESTION_TAIL_BYTES;
  return at <= message.length ? at : undefined;
}

/** A response with only a code and the bytes of the question: works for questions that cannot be decoded. */
export function bareReply(query: Buffer, code: number, flags = 0): Buffer {
  const end = questionEnd(query) ?? HEADER_BYTES;
  const reply = Buffer.from(query.subarray(0, end));
  reply.writeUInt16BE(QR | RA | (query.readUInt16BE(2) & (OPCODE_MASK | RD)) | flags | code, 2);
  reply.writeUInt16BE(end > HEADER_BYTES ? 1 : 0, 4);
  reply.fill(0, 6, HEADER_BYTES);
  return reply;
}

/** Rewrites the response to an equal question (except for case) as the response to this query: with its id and spelling. */
export function readdressed(response: Buffer, query: Buffer): Buffer {
  const copy = Buffer.from(response);
  query.copy(copy, 0, 0, 2);
  const [end, same] = [questionEnd(query), questionEnd(response)];
  if (end !== undefined && end === same) query.copy(copy, HEADER_BYTES, HEADER_BYTES, end);
  return copy;
}

export function codeOf(message: Buffer): number {
  return (message[3] ?? 0) & CODE_MASK;
}

export function isTruncated(message: Buffer): boolean {
  return message.length >= HEADER_BYTES && (message.readUInt16BE(2) & TC) !== 0;
}

/** One message in TCP framing. */
export function withLength(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length);
  message.copy(framed, 2);
  return framed;
}
