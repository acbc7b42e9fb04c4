/** Frames of HTTP/2 (RFC 9113, sections 4, 6 and 7): their numbers, how the short ones are written, and what both sides check in one. */

export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const Flag = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;
export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;
export const ErrorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
export const FRAME_HEADER_BYTES = 9;
/** The default maximum frame size of the protocol, which we do not raise. */
export const DEFAULT_FRAME_BYTES = 16_384;
export const DEFAULT_WINDOW_BYTES = 65_535;
export const MAX_WINDOW_BYTES = 2 ** 31 - 1;

/** The other side broke the protocol: the connection ends with GOAWAY. */
export class ConnectionError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

interface FrameHeader {
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
}

export function writeFrameHeader(
  target: Buffer,
  at: number,
  { length, type, flags, streamId }: FrameHeader,
): void {
  target[at] = length >>> 16;
  target[at + 1] = length >>> 8;
  target[at + 2] = length;
  target[at + 3] = type;
  target[at + 4] = flags;
  target[at + 5] = streamId >>> 24;
  target[at + 6] = streamId >>> 16;
  target[at + 7] = streamId >>> 8;
  target[at + 8] = streamId;
}

function frame(header: Omit<FrameHeader, 'length'>, payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
  writeFrameHeader(bytes, 0, { ...header, length: payload.length });
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32BE(value, index * 4));
  return bytes;
}

export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.allocUnsafe(settings.length * 6);
  settings.forEach(([id, value], index) => {
    payload.writeUInt16BE(id, index * 6);
    payload.writeUInt32BE(value, index * 6 + 2);
  });
  return frame({ type: FrameType.settings, flags: 0, streamId: 0 }, payload);
}

export const SETTINGS_ACK = frame(
  { type: FrameType.settings, flags: Flag.ack, streamId: 0 },
  Buffer.alloc(0),
);

export function pingAck(opaque: Buffer): Buffer {
  return frame({ type: FrameType.ping, flags: Flag.ack, streamId: 0 }, opaque);
}

export function pingFrame(): Buffer {
  return frame({ type: FrameType.ping, flags: 0, streamId: 0 }, Buffer.alloc(8));
}

export function windowUpdateFrame(streamId: number, increment: number): Buffer {
  return frame({ type: FrameType.windowUpdate, flags: 0, streamId }, words(increment));
}

export function resetFrame(streamId: number, code: number): Buffer {
  return frame({ type: FrameType.rstStream, flags: 0, streamId }, words(code));
}

/** debug: read by people with a packet capture, never by programs. */
export function goawayFrame(lastStreamId: number, code: number, debug = ''): Buffer {
  return frame(
    { type: FrameType.goaway, flags: 0, streamId: 0 },
    Buffer.concat([words(lastStreamId, code), Buffer.from(debug, 'latin1')]),
  );
}

/** As it was read, without its header's length and type. */
export interface Frame {
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** Throws a ConnectionError. */
export function requireLength({ payload }: Pick<Frame, 'payload'>, bytes: number): void {
  if (payload.length !== bytes)
    throw new ConnectionError(
      ErrorCode.frameSizeError,
      `a frame of ${payload.length} bytes that has ${bytes}`,
    );
}

/** The payload without its padding. Throws a ConnectionError. */
export function unpadded({ flags, payload }: Frame): Buffer {
  if (!(flags & Flag.padded)) return payload;
  const padding = payload[0];
  if (padding === undefined || padding >= payload.length)
    throw new ConnectionError(ErrorCode.protocolError, 'more padding than frame');
  return payload.subarray(1, payload.length - padding);
}
