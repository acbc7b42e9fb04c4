/**
 * Reserves disk blocks behind the pages that LMDB uses, so that a full disk is detected before the commit starts,
 * and the commit is rejected. (LMDB itself handles ENOSPC well; lmdb-js 3.5 then formats a message into too small a buffer, which
 * can crash the process.) It also makes fdatasync cheaper, as a commit seldom changes the file's size.
 *
 *   0        used = (last page + 1) pages            size
 *   ├────────────────────────┼───── zeros: headroom ──┤        headroom ≥ maximum need of the commit
 */
import { constants, readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

const PAGE_BYTES = 4096;
/** The leaf, and a second one where it is split. */
const PAGES_PER_WRITE = 2;
/** Maximum share of branch pages among the pages in use (our keys are short relative to a page); each is copied at most once. */
const BRANCH_SHARE = 1 / 16;
/** Table of tables, free list. */
const PAGES_PER_COMMIT = 64;
const META_BYTES = 160;
const CHUNK = Buffer.alloc(1024 * 1024);

export interface CommitSize {
  /** Records that are put or removed anywhere but at the end of the log. */
  readonly writes: number;
  /** Total bytes of values and keys. */
  readonly bytes: number;
}

export class Headroom {
  readonly #file: string;
  #handle: FileHandle | undefined;
  #size = 0;
  readonly #metas = Buffer.alloc(2 * META_BYTES);

  constructor(file: string) {
    this.#file = file;
  }

  /** Rejects with the system's error when the disk is full. */
  async reserve(commit: CommitSize): Promise<void> {
    this.#handle ??= await this.#open();
    const used = this.#usedBytes(this.#handle.fd);
    // LMDB copies a page at most once in a commit, so a small store needs less than the number of writes suggests.
    const copied = Math.min(commit.writes * PAGES_PER_WRITE * PAGE_BYTES + used * BRANCH_SHARE, used);
    // In the worst case a value has pages of its own: two when it just exceeds one.
    const needed = used + copied + 2 * commit.bytes + PAGES_PER_COMMIT * PAGE_BYTES;
    while (this.#size < needed) {
      const { bytesWritten } = await this.#handle.write(CHUNK, 0, CHUNK.length, this.#size);
      this.#size += bytesWritten;
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }

  async #open(): Promise<FileHandle> {
    const handle = await open(this.#file, constants.O_RDWR);
    this.#size = (await handle.stat()).size;
    return handle;
  }

  /** Reads the newer of the two meta pages, with the layout in lmdb-check.ts. Synchronous, as it takes a few microseconds of every commit. */
  #usedBytes(fd: number): number {
    readSync(fd, this.#metas, 0, META_BYTES, 0);
    readSync(fd, this.#metas, META_BYTES, META_BYTES, PAGE_BYTES);
    const [first, second] = [this.#metas, this.#metas.subarray(META_BYTES)];
    const newest = second.readBigUInt64LE(152) > first.readBigUInt64LE(152) ? second : first;
    return (Number(newest.readBigUInt64LE(144)) + 1) * PAGE_BYTES;
  }
}
