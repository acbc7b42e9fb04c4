/** Limits and order of Store keys. In every driver the order is that of their UTF-8 bytes, as in etcd. */
import { StoreError } from './store.ts';

/** The same limit in all drivers. A Kubernetes key has at most some 700 bytes. */
export const MAX_KEY_BYTES = 1024;

/** Throws 'too-large' above the limit, and a TypeError for an invalid key (empty, or a lone surrogate, which has no UTF-8 bytes). */
export function checkKey(key: string): void {
  if (key.length === 0 || !key.isWellFormed())
    throw new TypeError(`a store key must be a non-empty, well-formed string: ${JSON.stringify(key)}`);
  // A UTF-16 unit has at most three bytes, so only long keys must be measured.
  if (key.length * 3 > MAX_KEY_BYTES && Buffer.byteLength(key) > MAX_KEY_BYTES) {
    throw new StoreError(
      'too-large',
      `Cannot store key of ${Buffer.byteLength(key)} bytes: at most ${MAX_KEY_BYTES} are allowed`,
    );
  }
}

/** Negative, zero or positive, by UTF-8 bytes (JavaScript's own `<` puts U+E000…U+FFFF after surrogate pairs). */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
