/**
 * A gzip body (RFC 1952) assembled from parts compressed separately, so that a list of thousands of objects is compressed only where it changed. A
 * part consists of DEFLATE blocks that end on a byte boundary and reference nothing before them; the checksum of the whole is computed from the
 * parts' checksums, without reading them again.
 */
import { constants, crc32, deflateRaw } from 'node:zlib';
import { assert } from '#stdx/assert.ts';

export interface GzipPart {
  /** DEFLATE blocks without the final flag. */
  readonly deflated: Buffer;
  /** Of the plain bytes. */
  readonly checksum: number;
  readonly plainBytes: number;
  /** Multiplier of a checksum when this part follows it: x^(8 · plainBytes). */
  readonly shift: number;
}

/** The fastest of zlib's levels, which upstream uses too. */
const LEVEL = 1;

/** Compressed in another thread. The bytes must not change meanwhile. */
export function compressPart(bytes: Buffer): Promise<GzipPart> {
  return new Promise((resolve, reject) => {
    deflateRaw(bytes, { level: LEVEL, finishFlush: constants.Z_SYNC_FLUSH }, (error, deflated) => {
      if (error) reject(error);
      // The compressor's buffer is larger than its output.
      else resolve(partOf(bytes, Buffer.from(deflated)));
    });
  });
}

const MAX_STORED_BYTES = 0xffff;

/** Few bytes, stored uncompressed. */
export function storedPart(bytes: Buffer): GzipPart {
  assert(
    bytes.length <= MAX_STORED_BYTES,
    `a stored block holds at most ${MAX_STORED_BYTES} bytes, not ${bytes.length}`,
  );
  const block = Buffer.allocUnsafe(5 + bytes.length);
  block[0] = 0;
  block.writeUInt16LE(bytes.length, 1);
  block.writeUInt16LE(bytes.length ^ 0xffff, 3);
  block.set(bytes, 5);
  return partOf(bytes, block);
}

function partOf(bytes: Buffer, deflated: Buffer): GzipPart {
  return { deflated, checksum: crc32(bytes), plainBytes: bytes.length, shift: powerOfX(bytes.length * 8) };
}

/** No name, no time, unknown system. */
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff]);
/** The empty final block. */
const LAST_BLOCK = Buffer.from([0x03, 0x00]);

/** The whole body, in pieces. */
export function compressGzip(parts: readonly GzipPart[]): Buffer[] {
  let checksum = 0,
    plainBytes = 0;
  const pieces: Buffer[] = [HEADER];
  for (const part of parts) {
    checksum = multiply(part.shift, checksum) ^ part.checksum;
    plainBytes += part.plainBytes;
    pieces.push(part.deflated);
  }
  const trailer = Buffer.allocUnsafe(8);
  trailer.writeUInt32LE(checksum >>> 0, 0);
  trailer.writeUInt32LE(plainBytes % 2 ** 32, 4);
  pieces.push(LAST_BLOCK, trailer);
  return pieces;
}

// ---------------------------------------------------- polynomials over GF(2) modulo that of CRC-32, the highest bit standing for x^0

const POLYNOMIAL = 0xedb88320;
const ONE = 0x80000000;

function multiply(left: number, right: number): number {
  let product = 0,
    rest = left,
    term = right;
  while (rest !== 0) {
    if (rest & ONE) product ^= term;
    rest <<= 1;
    term = term & 1 ? (term >>> 1) ^ POLYNOMIAL : term >>> 1;
  }
  return product;
}

/** x^(2^n) at n. */
const SQUARES: number[] = [ONE >>> 1];
while (SQUARES.length < 40) SQUARES.push(multiply(SQUARES.at(-1)!, SQUARES.at(-1)!));

function powerOfX(exponent: number): number {
  let power: number = ONE;
  for (let rest = exponent, n = 0; rest > 0; rest = Math.floor(rest / 2), n++)
    if (rest % 2 === 1) power = multiply(SQUARES[n]!, power);
  return power;
}
