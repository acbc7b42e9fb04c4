/** Buffers that DATA frames are laid out in. They are used again: new ones for every long list would keep the garbage collector busy. */

export const CHUNK_BYTES = 256 * 1024;
/** Less is copied out of a chunk: until it is written, it would hold the whole of it. */
export const COPIED_BYTES = 64 * 1024;
/** Buffers kept for the next response; further ones are garbage collected. */
const MAX_FREE_CHUNKS = 16;
const free: Buffer[] = [];

export function takeChunk(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
}

/** Once the socket has encrypted it. */
export function giveChunk(chunk: Buffer): void {
  if (free.length < MAX_FREE_CHUNKS) free.push(chunk);
}
