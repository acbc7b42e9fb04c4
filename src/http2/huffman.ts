/**
 * The Huffman code of HPACK (RFC 7541, appendix B), decoding only: our headers are short and sent plain. The code is canonical, so the code lengths
 * determine it; the tables are built on first use.
 */

/** Length in bits of each symbol's word, in base 36: 256 bytes, then the end of the string. */
const LENGTHS =
  'dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu';
const END_OF_STRING = 256;

/** A walk over the code tree, four bits at a step. Per state and four bits: next state (or FAILED), and the decoded byte (or NO_BYTE). */
interface Steps {
  readonly next: Int16Array;
  readonly byte: Int16Array;
  readonly mayEnd: Uint8Array;
}

const FAILED = -1;
const NO_BYTE = -1;

interface Node {
  children: [Node | undefined, Node | undefined];
  symbol: number;
  state: number;
  /** All ones from the root, so far. */ depth: number;
  ones: boolean;
}

let steps: Steps | undefined;

function newNode(depth: number, ones: boolean): Node {
  return { children: [undefined, undefined], symbol: -1, state: -1, depth, ones };
}

function buildTree(): Node {
  const lengths = Array.from(LENGTHS, (digit) => Number.parseInt(digit, 36));
  const order = lengths.map((_, symbol) => symbol).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  const root = newNode(0, true);
  let word = 0,
    length = lengths[order[0]!]!;
  for (const symbol of order) {
    word = word * 2 ** (lengths[symbol]! - length);
    length = lengths[symbol]!;
    let node = root;
    for (let bit = length - 1; bit >= 0; bit--) {
      const side = (Math.floor(word / 2 ** bit) % 2) as 0 | 1;
      node = node.children[side] ??= newNode(node.depth + 1, node.ones && side === 1);
    }
    node.symbol = symbol;
    word++;
  }
  return root;
}

function buildSteps(): Steps {
  const root = buildTree();
  const inner: Node[] = [];
  const number = (node: Node | undefined): void => {
    if (!node || node.symbol >= 0) return;
    node.state = inner.push(node) - 1;
    node.children.forEach(number);
  };
  number(root);
  const next = new Int16Array(inner.length * 16),
    byte = new Int16Array(inner.length * 16).fill(NO_BYTE),
    mayEnd = new Uint8Array(inner.length);
  for (const start of inner) {
    // Padding is the beginning of the end's word, of less than eight bits.
    mayEnd[start.state] = start.ones && start.depth < 8 ? 1 : 0;
    for (let bits = 0; bits < 16; bits++) {
      const at = start.state * 16 + bits;
      let node: Node | undefined = start;
      for (let bit = 3; bit >= 0 && node; bit--) {
        node = node.children[((bits >> bit) & 1) as 0 | 1];
        if (!node || node.symbol < 0) continue;
        if (node.symbol === END_OF_STRING) node = undefined;
        else {
          byte[at] = node.symbol;
          node = root;
        }
      }
      next[at] = node ? node.state : FAILED;
    }
  }
  return { next, byte, mayEnd };
}

let scratch = Buffer.allocUnsafe(4096);

/** bytes[start, end) as Latin-1 text; undefined when it is no string of this code. */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string | undefined {
  steps ??= buildSteps();
  const { next, byte, mayEnd } = steps;
  // The shortest word has five bits.
  const most = Math.ceil(((end - start) * 8) / 5);
  if (most > scratch.length) scratch = Buffer.allocUnsafe(most * 2);
  let state = 0,
    length = 0;
  for (let i = start; i < end; i++) {
    const value = bytes[i]!;
    const high = state * 16 + (value >> 4);
    if (byte[high]! !== NO_BYTE) scratch[length++] = byte[high]!;
    const between = next[high]!;
    if (between === FAILED) return undefined;
    const low = between * 16 + (value & 15);
    if (byte[low]! !== NO_BYTE) scratch[length++] = byte[low]!;
    state = next[low]!;
    if (state === FAILED) return undefined;
  }
  return mayEnd[state] ? scratch.toString('latin1', 0, length) : undefined;
}
