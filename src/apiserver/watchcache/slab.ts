/** Bytes of adjacent list items joined by commas, ready to be sent unchanged or as a part of a gzip body. */
import { compressPart, type GzipPart } from '../http/gzip-parts.ts';

export class Slab {
  readonly bytes: Buffer;
  #compressed: Promise<GzipPart> | undefined;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Compressed at the first request, then kept as long as the slab. */
  compressed(): Promise<GzipPart> {
    return (this.#compressed ??= compressPart(this.bytes));
  }
}
