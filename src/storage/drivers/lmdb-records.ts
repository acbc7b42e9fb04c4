/**
 * The byte layout of the lmdb driver's records. Numbers are big-endian, so that LMDB's byte order is numeric; u48 holds any revision or time.
 *
 *   log    u64 revision         → u8 kind · u8 0 · u16 key bytes · u32 crc of what follows · u48 create · u48 previous · u48 time ·
 *                                 u48 expires · u48 position · u16 0 · key · value                       (kind 1 = put, 2 = delete)
 *   live   key                  → u32 crc of key and what follows · u8 kind · u8 0 · u48 modRevision · u48 create · u48 expires
 *   expiry u48 time · u48 rev.  → key
 *   (root) "state"              → u32 crc of what follows · u32 format · u48 revision · u48 compacted · u48 keys · u48 position · u48 applied
 *
 * Format 1 had no `applied`: `live` was always complete.
 *
 * Checksums are verified when the store is opened (lmdb-check.ts).
 */
import { crc32 } from 'node:zlib';
import type { BackendState, Expiry, Head, LogEntry, LogHeader } from '../backend.ts';
import type { Revision } from '../store.ts';

/** Incremented when the layout changes in a way that an older program must not touch. */
export const FORMAT = 2;
export const STATE_KEY = 'state';

const PUT = 1;
const DELETE = 2;
const LOG_HEADER_BYTES = 40;
const HEAD_BYTES = 24;
const STATE_BYTES = 38;
const APPLIED_AT = 32;

interface KeyEncoder<K> {
  writeKey(key: K, target: Buffer, start: number): number;
  readKey(source: Buffer, start: number, end: number): K;
}

export const revisionKey: KeyEncoder<Revision> = {
  writeKey(revision, target, start) {
    target.writeUInt16BE(0, start);
    return target.writeUIntBE(revision, start + 2, 6);
  },
  readKey: (source, start) => source.readUIntBE(start + 2, 6),
};

export const textKey: KeyEncoder<string> = {
  writeKey: (key, target, start) => start + target.write(key, start),
  readKey: (source, start, end) => source.toString('utf8', start, end),
};

export function expiryKey({ atMs, revision }: Pick<Expiry, 'atMs' | 'revision'>): Buffer {
  const key = Buffer.allocUnsafe(12);
  key.writeUIntBE(revision, key.writeUIntBE(Math.floor(atMs), 0, 6), 6);
  return key;
}

export function decodeExpiry(mark: Buffer, key: Buffer): Expiry {
  return { atMs: mark.readUIntBE(0, 6), revision: mark.readUIntBE(6, 6), key: key.toString('utf8') };
}

export function encodeEntry(entry: LogEntry): Buffer {
  const { key, value } = entry;
  const keyBytes = Buffer.byteLength(key);
  const record = Buffer.allocUnsafe(LOG_HEADER_BYTES + keyBytes + (value?.length ?? 0));
  record[0] = value ? PUT : DELETE;
  record[1] = 0;
  record.writeUInt16BE(keyBytes, 2);
  record.writeUIntBE(entry.createRevision, 8, 6);
  record.writeUIntBE(entry.previousRevision, 14, 6);
  record.writeUIntBE(Math.floor(entry.timeMs), 20, 6);
  record.writeUIntBE(Math.floor(entry.expiresAtMs), 26, 6);
  record.writeUIntBE(entry.position, 32, 6);
  record.writeUInt16BE(0, 38);
  record.write(key, LOG_HEADER_BYTES, 'utf8');
  if (value) record.set(value, LOG_HEADER_BYTES + keyBytes);
  record.writeUInt32BE(crc32(record.subarray(8)), 4);
  return record;
}

export function decodeEntry(revision: Revision, record: Buffer): LogEntry {
  const { deleted, ...header } = decodeHeader(revision, record);
  return { ...header, value: deleted ? undefined : copyValue(record) };
}

/** A copy, because records are read in place; a small one comes from Node's pool, which costs less than a buffer of its own. */
export function copyValue(record: Buffer): Buffer {
  const start = LOG_HEADER_BYTES + record.readUInt16BE(2);
  const value = Buffer.allocUnsafe(record.length - start);
  record.copy(value, 0, start, record.length);
  return value;
}

export function decodeHeader(revision: Revision, record: Buffer): LogHeader {
  return {
    revision,
    key: record.toString('utf8', LOG_HEADER_BYTES, LOG_HEADER_BYTES + record.readUInt16BE(2)),
    deleted: record[0] === DELETE,
    createRevision: record.readUIntBE(8, 6),
    previousRevision: record.readUIntBE(14, 6),
    timeMs: record.readUIntBE(20, 6),
    expiresAtMs: record.readUIntBE(26, 6),
    position: record.readUIntBE(32, 6),
  };
}

export function isSoundEntry(record: Buffer): boolean {
  return (
    record.length >= LOG_HEADER_BYTES &&
    (record[0] === PUT || record[0] === DELETE) &&
    LOG_HEADER_BYTES + record.readUInt16BE(2) <= record.length &&
    record.readUInt32BE(4) === crc32(record.subarray(8))
  );
}

export function encodeHead(key: string, head: Head): Buffer {
  const record = Buffer.allocUnsafe(HEAD_BYTES);
  record[4] = head.deleted ? DELETE : PUT;
  record[5] = 0;
  record.writeUIntBE(head.modRevision, 6, 6);
  record.writeUIntBE(head.createRevision, 12, 6);
  record.writeUIntBE(Math.floor(head.expiresAtMs), 18, 6);
  record.writeUInt32BE(crc32(record.subarray(4), crc32(key)), 0);
  return record;
}

export function decodeHead(record: Buffer): Head {
  return {
    deleted: record[4] === DELETE,
    modRevision: record.readUIntBE(6, 6),
    createRevision: record.readUIntBE(12, 6),
    expiresAtMs: record.readUIntBE(18, 6),
  };
}

export function isSoundHead(key: Buffer, record: Buffer): boolean {
  return record.length === HEAD_BYTES && record.readUInt32BE(0) === crc32(record.subarray(4), crc32(key));
}

/** applied: the revision up to which `live` is complete (lmdb-heads.ts). */
interface StoredState extends BackendState {
  readonly applied: Revision;
}

export function encodeState(state: StoredState): Buffer {
  const record = Buffer.alloc(STATE_BYTES);
  record.writeUInt32BE(FORMAT, 4);
  record.writeUIntBE(state.revision, 8, 6);
  record.writeUIntBE(state.compactedRevision, 14, 6);
  record.writeUIntBE(state.keys, 20, 6);
  record.writeUIntBE(state.position, 26, 6);
  record.writeUIntBE(state.applied, APPLIED_AT, 6);
  record.writeUInt32BE(crc32(record.subarray(4)), 0);
  return record;
}

export function decodeState(record: Buffer): StoredState {
  const revision = record.readUIntBE(8, 6);
  return {
    revision,
    compactedRevision: record.readUIntBE(14, 6),
    keys: record.readUIntBE(20, 6),
    position: record.readUIntBE(26, 6),
    applied: record.readUInt32BE(4) === 1 ? revision : record.readUIntBE(APPLIED_AT, 6),
  };
}

/** The format of a state record, undefined when it is damaged. Readable in every format. */
export function stateFormat(record: Buffer): number | undefined {
  return record.length >= 8 && record.readUInt32BE(0) === crc32(record.subarray(4))
    ? record.readUInt32BE(4)
    : undefined;
}
