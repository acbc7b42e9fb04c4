/** The change log's directory: the names of its files, and reading them. Writing is change-log.ts. */
import { closeSync, fstatSync, openSync, readdirSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Change, Gap } from './change.ts';
import { decodeChanges, decodeHeader, FRAME_HEADER_BYTES, isSound, type FrameHeader } from './frames.ts';

const NAME = /^changes-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)\.(\d{3})Z-\d+\.log$/;

export interface LogFile {
  readonly path: string;
  /** When it was begun. */
  readonly timeMs: number;
  readonly bytes: number;
}

/** A name sorts by time. sequence: of the files that one server begins. */
export function logFileName(iso: string, sequence: number): string {
  return `changes-${iso.replaceAll(/[-:]/g, '')}-${String(sequence).padStart(6, '0')}.log`;
}

/** Oldest first. [] where the directory does not exist. */
export function listLogFiles(dir: string): LogFile[] {
  return namesIn(dir)
    .toSorted()
    .flatMap((name) => {
      const [, year, month, day, hour, minute, second, ms] = NAME.exec(name) ?? [];
      const path = join(dir, name);
      const stat = year === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
      if (!stat) return [];
      const timeMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`);
      return [{ path, timeMs, bytes: stat.size }];
    });
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

interface Retention {
  readonly maxAgeMs: number;
  readonly maxFiles: number;
  readonly nowMs: number;
}

/** Removes the oldest; the one that is written counts. */
export function pruneLogFiles(dir: string, { maxAgeMs, maxFiles, nowMs }: Retention): void {
  const files = listLogFiles(dir);
  for (const [i, { path }] of files.entries()) {
    // A file is as old as its last change, which is older than the beginning of the next file.
    const endMs = files[i + 1]?.timeMs ?? Infinity;
    if (files.length - i > maxFiles || nowMs - endMs > maxAgeMs) rmSync(path, { force: true });
  }
}

export interface LogFrame {
  readonly header: FrameHeader;
  /** Of kind changes. Throws where they cannot be decompressed. */
  changes(): Change[];
  gap(): Gap;
}

interface Damage {
  readonly path: string;
  readonly offset: number;
}

/** Frames in the order of writing, one body in memory at a time. The part of a file behind damage is passed over (onDamage), a torn tail silently. Bodies that `wants` refuses are not read. */
export function* readLogFile(
  path: string,
  {
    wants = () => true,
    onDamage = () => {},
  }: {
    readonly wants?: (header: FrameHeader) => boolean;
    readonly onDamage?: (damage: Damage) => void;
  } = {},
): Generator<LogFrame, void, void> {
  const fd = openSync(path, 'r');
  try {
    const size = fstatSync(fd).size;
    for (let at = 0; at < size;) {
      const head = bytesAt(fd, { at, length: FRAME_HEADER_BYTES });
      const header = head && decodeHeader(head);
      // A tail that is being written, or was when its server was killed.
      if (!head || (header && at + FRAME_HEADER_BYTES + header.bodyBytes > size)) return;
      if (!header) return onDamage({ path, offset: at });
      if (wants(header)) {
        const body = bytesAt(fd, { at: at + FRAME_HEADER_BYTES, length: header.bodyBytes });
        if (!body || !isSound(head, body)) return onDamage({ path, offset: at });
        yield {
          header,
          changes: () => decodeChanges(body),
          gap: () => JSON.parse(body.toString()) as Gap,
        };
      }
      at += FRAME_HEADER_BYTES + header.bodyBytes;
    }
  } finally {
    closeSync(fd);
  }
}

function bytesAt(
  fd: number,
  { at, length }: { readonly at: number; readonly length: number },
): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(length);
  for (let read = 0; read < length;) {
    const count = readSync(fd, bytes, read, length - read, at + read);
    if (count === 0) return undefined;
    read += count;
  }
  return bytes;
}

export interface LogEnd {
  /** The newest revision that the log has seen. */
  readonly revision: number;
  readonly timeMs: number;
  /** The last server has ended cleanly. */
  readonly isClean: boolean;
}

/** Undefined for an empty log. Reads headers only, of the newest files. */
export function findLogEnd(dir: string): LogEnd | undefined {
  for (const { path } of listLogFiles(dir).toReversed()) {
    let end: LogEnd | undefined;
    const note = ({ kind, lastRevision, lastMs }: FrameHeader): boolean => {
      const revision = Math.max(end?.revision ?? 0, lastRevision);
      end = { revision, timeMs: Math.max(end?.timeMs ?? 0, lastMs), isClean: kind === 'end' };
      return false;
    };
    for (const _ of readLogFile(path, { wants: note }));
    if (end) return end;
  }
  return undefined;
}
