/**
 * Checks an LMDB file before LMDB maps it, because LMDB trusts its pages: a truncated file ends the process with SIGBUS, and a
 * damaged page makes it read or, worse, write elsewhere. Every page of the newest snapshot is read once (about 1 s per GB from
 * the page cache) and nothing is written: structure of the trees, order of keys, checksums of our records. Pages outside of the
 * snapshot (free pages) are not checked.
 *
 * Page: u64 number · u64 txn · u16 pad · u16 flags · u16 lower · u16 upper (from the header's end) · u16 pointers… ┄┄ nodes.
 * Node: u32 size · u16 flags · u16 key size · key · data; in a branch the first six bytes are the child's page number.
 * Numbers are little-endian (we open files of this machine only), as LMDB 1.0's data version 1 and 2 in lmdb-js have it.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { StoreError } from '../store.ts';
import { FORMAT, isSoundEntry, isSoundHead, STATE_KEY, stateFormat } from './lmdb-records.ts';

const MAGIC = 0xbeefc0de;
const PAGE_HEADER = 24;
const NODE_HEADER = 8;
const TREE_BYTES = 48;
const OVERFLOW_REFERENCE_BYTES = 24;
const MAX_DEPTH = 32;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
const BIG_DATA = 0x01;
const SUB_TREE = 0x02;
const NO_PAGE = 0xffffffffffffffffn;
const META_PAGES = 2;

interface Tree {
  readonly depth: number;
  readonly entries: number;
  /** Undefined when the tree is empty. */
  readonly root: number | undefined;
}

interface Meta {
  readonly pageSize: number;
  readonly version: number;
  readonly lastPage: number;
  readonly txn: bigint;
  readonly free: Tree;
  readonly main: Tree;
}

/** Throws StoreError 'corrupt' or 'version'; `what` begins the message. */
export function checkLmdbFile(file: string, options: { what: string; dataVersion: number }): void {
  const fd = openSync(file, 'r');
  try {
    new Check(fd, options).run();
  } finally {
    closeSync(fd);
  }
}

interface Node {
  readonly key: Buffer;
  readonly data: Buffer;
  readonly flags: number;
}

type Visit = (node: Node) => void;

class Check {
  readonly #fd: number;
  readonly #what: string;
  readonly #dataVersion: number;
  readonly #size: number;
  #pageSize = 0;
  #lastPage = 0;
  #reached = new Uint8Array();

  constructor(fd: number, { what, dataVersion }: { what: string; dataVersion: number }) {
    this.#fd = fd;
    this.#what = what;
    this.#dataVersion = dataVersion;
    this.#size = fstatSync(fd).size;
  }

  run(): void {
    const meta = this.#newestMeta();
    this.#pageSize = meta.pageSize;
    this.#lastPage = meta.lastPage;
    if (meta.lastPage < 1 || meta.lastPage > 2 ** 40) this.#fail('the last page number is impossible');
    this.#reached = new Uint8Array(Math.ceil((meta.lastPage + 1) / 8));
    const trees = new Map<string, Tree>();
    let format: number | undefined;
    this.#walk(meta.main, {
      name: 'of tables',
      ordered: true,
      visit: ({ key, data, flags }) => {
        const name = key.toString('utf8').replace(/\0$/, '');
        if (flags === SUB_TREE && data.length === TREE_BYTES) trees.set(name, this.#tree(data));
        else if (flags === 0 && name === STATE_KEY) format = stateFormat(data);
        else this.#fail('the list of tables holds something else');
      },
    });
    // Checked first: the rest of the layout depends on the format.
    this.#checkFormat(format);
    this.#walk(meta.free, { name: 'free pages', ordered: false, visit: () => {} });
    this.#walkTable(trees, 'log', ({ data }) => {
      if (!isSoundEntry(data)) this.#fail('a log entry has a wrong checksum');
    });
    this.#walkTable(trees, 'live', ({ key, data }) => {
      if (!isSoundHead(key, data)) this.#fail('a key has a wrong checksum');
    });
    this.#walkTable(trees, 'expiry', ({ key }) => {
      if (key.length !== 12) this.#fail('an expiry mark has a wrong length');
    });
  }

  #checkFormat(format: number | undefined): void {
    if (format === undefined) return this.#fail('the state record is missing or has a wrong checksum');
    if (format > FORMAT)
      throw new StoreError(
        'version',
        `${this.#what}: it has format ${format}, and this program knows formats up to ${FORMAT}`,
      );
  }

  #walkTable(trees: ReadonlyMap<string, Tree>, name: string, visit: Visit): void {
    const tree = trees.get(name);
    if (!tree) return this.#fail(`table ${name} is missing`);
    this.#walk(tree, { name, ordered: true, visit });
  }

  #newestMeta(): Meta {
    const first = this.#meta(0);
    const second = this.#meta(first.pageSize);
    for (const { version } of [first, second]) {
      if (version === this.#dataVersion) continue;
      if (version < this.#dataVersion || version > 100)
        this.#fail(`LMDB data version ${version} is impossible`);
      throw new StoreError(
        'version',
        `${this.#what}: it has LMDB data version ${version}, and this program knows ${this.#dataVersion}`,
      );
    }
    return second.txn > first.txn ? second : first;
  }

  #meta(offset: number): Meta {
    const page = this.#read(offset, 176, 'a meta page');
    const pageSize = page.readUInt32LE(48);
    if ((page.readUInt16LE(18) & META) === 0 || page.readUInt32LE(24) !== MAGIC)
      this.#fail('it is no LMDB file, or a meta page is damaged');
    if (pageSize < 512 || pageSize > 65536 || (pageSize & (pageSize - 1)) !== 0)
      this.#fail('the page size is impossible');
    return {
      pageSize,
      version: page.readUInt32LE(28) & 0xffff,
      lastPage: Number(page.readBigUInt64LE(144)),
      txn: page.readBigUInt64LE(152),
      free: this.#tree(page.subarray(48, 96)),
      main: this.#tree(page.subarray(96, 144)),
    };
  }

  #tree(data: Buffer): Tree {
    const root = data.readBigUInt64LE(40);
    return {
      depth: data.readUInt16LE(6),
      entries: Number(data.readBigUInt64LE(32)),
      root: root === NO_PAGE ? undefined : Number(root),
    };
  }

  /** Visits every leaf node in order, with overflow values put together. */
  #walk(tree: Tree, { name, ordered, visit }: { name: string; ordered: boolean; visit: Visit }): void {
    let entries = 0;
    let last: Buffer | undefined;
    let lowerBound: Buffer | undefined;
    const damaged = (problem: string): never => this.#fail(`${problem} in table ${name}`);
    const leaf = (node: Node): void => {
      if (ordered && last && Buffer.compare(last, node.key) >= 0) damaged('keys are out of order');
      if (ordered && lowerBound && Buffer.compare(lowerBound, node.key) > 0)
        damaged('a key is in the wrong place');
      last = node.key;
      entries++;
      visit(node);
    };
    const descend = (number: number, depth: number): void => {
      const page = this.#page(number, depth === 1 ? LEAF : BRANCH);
      const count = this.#count(page, number);
      for (let i = 0; i < count; i++) {
        const at = this.#node(page, { number, i });
        const keySize = page.readUInt16LE(at + 6);
        const key = page.subarray(at + NODE_HEADER, at + NODE_HEADER + keySize);
        if (depth > 1) {
          if (i > 0) {
            if (ordered && last && Buffer.compare(last, key) >= 0) damaged('keys are out of order');
            lowerBound = key;
          }
          descend(page.readUIntLE(at, 6), depth - 1);
        } else {
          leaf(this.#leafNode(page, { at, key, number }));
        }
      }
    };
    if (tree.depth > MAX_DEPTH || (tree.root === undefined) !== (tree.depth === 0))
      damaged('the depth is impossible');
    if (tree.root !== undefined) descend(tree.root, tree.depth);
    if (entries !== tree.entries) damaged(`${entries} entries instead of ${tree.entries}`);
  }

  #leafNode(page: Buffer, { at, key, number }: { at: number; key: Buffer; number: number }): Node {
    const size = page.readUInt32LE(at);
    const flags = page.readUInt16LE(at + 4);
    const start = at + NODE_HEADER + key.length;
    if ((flags & BIG_DATA) === 0) {
      if (start + size > this.#pageSize) this.#fail(`page ${number} is damaged`);
      return { key, data: page.subarray(start, start + size), flags };
    }
    if (start + OVERFLOW_REFERENCE_BYTES > this.#pageSize) this.#fail(`page ${number} is damaged`);
    return { key, data: this.#overflow(Number(page.readBigUInt64LE(start)), size), flags };
  }

  #overflow(number: number, size: number): Buffer {
    const pages = Math.floor((PAGE_HEADER - 1 + size) / this.#pageSize) + 1;
    for (let i = 0; i < pages; i++) this.#reach(number + i);
    const bytes = this.#read(number * this.#pageSize, PAGE_HEADER + size, `page ${number}`);
    if (
      Number(bytes.readBigUInt64LE(0)) !== number ||
      (bytes.readUInt16LE(18) & OVERFLOW) === 0 ||
      bytes.readUInt32LE(20) < pages
    )
      this.#fail(`page ${number} is damaged`);
    return bytes.subarray(PAGE_HEADER);
  }

  #page(number: number, kind: number): Buffer {
    this.#reach(number);
    const page = this.#read(number * this.#pageSize, this.#pageSize, `page ${number}`);
    if (
      Number(page.readBigUInt64LE(0)) !== number ||
      (page.readUInt16LE(18) & (BRANCH | LEAF | OVERFLOW | META)) !== kind
    )
      this.#fail(`page ${number} is damaged`);
    return page;
  }

  #count(page: Buffer, number: number): number {
    const lower = page.readUInt16LE(20);
    const upper = page.readUInt16LE(22);
    if (lower % 2 !== 0 || lower > upper || upper > this.#pageSize - PAGE_HEADER)
      this.#fail(`page ${number} is damaged`);
    return lower / 2;
  }

  /** The offset of node i; its header and key are within the page. */
  #node(page: Buffer, { number, i }: { number: number; i: number }): number {
    const at = PAGE_HEADER + page.readUInt16LE(PAGE_HEADER + 2 * i);
    if (
      at < PAGE_HEADER + page.readUInt16LE(22) ||
      at + NODE_HEADER > this.#pageSize ||
      at + NODE_HEADER + page.readUInt16LE(at + 6) > this.#pageSize
    )
      this.#fail(`page ${number} is damaged`);
    return at;
  }

  /** Each page may be referenced only once. */
  #reach(number: number): void {
    if (!(number >= META_PAGES && number <= this.#lastPage)) this.#fail(`page ${number} does not exist`);
    const bit = 1 << (number & 7);
    if ((this.#reached[number >>> 3]! & bit) !== 0) this.#fail(`page ${number} is used twice`);
    this.#reached[number >>> 3]! |= bit;
  }

  #read(offset: number, length: number, which: string): Buffer {
    if (offset + length > this.#size) this.#fail(`${which} is missing (the file is cut off)`);
    const bytes = Buffer.allocUnsafe(length);
    let read = 0;
    while (read < length) {
      const count = readSync(this.#fd, bytes, read, length - read, offset + read);
      if (count === 0) this.#fail(`${which} is missing (the file is cut off)`);
      read += count;
    }
    return bytes;
  }

  #fail(problem: string): never {
    throw new StoreError(
      'corrupt',
      `${this.#what}: it is damaged (${problem}); it was left as it is; restore it from a copy`,
    );
  }
}
