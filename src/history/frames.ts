/**
 * The byte layout of the change log's files: a sequence of frames, each for itself. Numbers are big-endian.
 *
 *   frame    u32 magic · u32 crc of what follows · u32 body bytes · u8 kind · u8 0 · u16 count · u48 first and last revision · u48 first and last time · body
 *   body     of kind 1: zstd of records; of the others: JSON
 *   record   u32 head bytes · u32 value bytes · head as JSON · value
 *
 * Kinds: 1 changes · 2 gap · 3 session (a server begins at this revision) · 4 end (a server has ended cleanly at this revision).
 */
import { promisify } from 'node:util';
import { constants, crc32, zstdCompress, zstdDecompressSync } from 'node:zlib';
import type { Change, Gap } from './change.ts';

const MAGIC = 0x43484731;
export const FRAME_HEADER_BYTES = 40;
/** Changes of one frame. */
export const MAX_FRAME_CHANGES = 0xffff;
/** Far above any frame that is written: more is damage, and is not allocated. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;
/** The fastest level: the log is made for writing, and repeats itself much. */
const LEVEL = 1;

type FrameKind = 'changes' | 'gap' | 'session' | 'end';
const KINDS: readonly FrameKind[] = ['changes', 'gap', 'session', 'end'];

export interface FrameHeader {
  readonly kind: FrameKind;
  readonly bodyBytes: number;
  readonly count: number;
  readonly firstRevision: number;
  readonly lastRevision: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

type Range = Omit<FrameHeader, 'kind' | 'bodyBytes'>;

const compress = promisify(zstdCompress);

export async function encodeChanges(changes: readonly Change[]): Promise<Buffer> {
  const body = await compress(Buffer.concat(changes.flatMap(recordParts)), {
    params: { [constants.ZSTD_c_compressionLevel]: LEVEL },
  });
  return frame('changes', { body, ...rangeOf(changes) });
}

export function encodeGap(gap: Gap): Buffer {
  const { fromRevision: firstRevision, toRevision: lastRevision, timeMs } = gap;
  const body = Buffer.from(JSON.stringify(gap));
  return frame('gap', { body, count: 0, firstRevision, lastRevision, firstMs: timeMs, lastMs: timeMs });
}

/** A server begins or ends at this revision. */
export function encodeMark(kind: 'session' | 'end', at: { revision: number; timeMs: number }): Buffer {
  const { revision, timeMs } = at;
  const range = { firstRevision: revision, lastRevision: revision, firstMs: timeMs, lastMs: timeMs };
  return frame(kind, { body: Buffer.from(JSON.stringify(at)), count: 0, ...range });
}

function recordParts({ value, ...head }: Change): Buffer[] {
  const json = Buffer.from(JSON.stringify(head));
  const sizes = Buffer.allocUnsafe(8);
  sizes.writeUInt32BE(json.length, 0);
  sizes.writeUInt32BE(value?.length ?? 0, 4);
  return value ? [sizes, json, value] : [sizes, json];
}

function rangeOf(changes: readonly Change[]): Range {
  let [firstRevision, lastRevision, firstMs, lastMs] = [Infinity, 0, Infinity, 0];
  for (const { revision, timeMs = 0 } of changes) {
    firstRevision = Math.min(firstRevision, revision);
    lastRevision = Math.max(lastRevision, revision);
    firstMs = Math.min(firstMs, timeMs);
    lastMs = Math.max(lastMs, timeMs);
  }
  return { count: changes.length, firstRevision, lastRevision, firstMs, lastMs };
}

function frame(kind: FrameKind, { body, ...range }: Range & { readonly body: Buffer }): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUInt32BE(MAGIC, 0);
  header.writeUInt32BE(body.length, 8);
  header[12] = KINDS.indexOf(kind) + 1;
  header.writeUInt16BE(range.count, 14);
  header.writeUIntBE(range.firstRevision, 16, 6);
  header.writeUIntBE(range.lastRevision, 22, 6);
  header.writeUIntBE(Math.floor(range.firstMs), 28, 6);
  header.writeUIntBE(Math.floor(range.lastMs), 34, 6);
  header.writeUInt32BE(crc32(body, crc32(header.subarray(8))), 4);
  return Buffer.concat([header, body]);
}

/** Undefined where these bytes begin no frame. */
export function decodeHeader(bytes: Buffer): FrameHeader | undefined {
  const kind = KINDS[bytes[12]! - 1];
  const bodyBytes = bytes.readUInt32BE(8);
  if (bytes.readUInt32BE(0) !== MAGIC || kind === undefined || bodyBytes > MAX_BODY_BYTES) return undefined;
  return {
    kind,
    bodyBytes,
    count: bytes.readUInt16BE(14),
    firstRevision: bytes.readUIntBE(16, 6),
    lastRevision: bytes.readUIntBE(22, 6),
    firstMs: bytes.readUIntBE(28, 6),
    lastMs: bytes.readUIntBE(34, 6),
  };
}

export function isSound(header: Buffer, body: Buffer): boolean {
  return header.readUInt32BE(4) === crc32(body, crc32(header.subarray(8, FRAME_HEADER_BYTES)));
}

/** body: of a sound frame of changes. */
export function decodeChanges(body: Buffer): Change[] {
  const bytes = zstdDecompressSync(body);
  const changes: Change[] = [];
  for (let at = 0; at + 8 <= bytes.length;) {
    const headEnd = at + 8 + bytes.readUInt32BE(at);
    const end = headEnd + bytes.readUInt32BE(at + 4);
    const head = JSON.parse(bytes.toString('utf8', at + 8, headEnd)) as Change;
    changes.push(end > headEnd ? { ...head, value: bytes.subarray(headEnd, end) } : head);
    at = end;
  }
  return changes;
}
