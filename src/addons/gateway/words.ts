/** Texts of users that become part of a proxy's configuration. */
import { createHash } from 'node:crypto';

/** No line of a configuration may hold them. */
export function hasControlCharacters(text: string): boolean {
  return [...text].some((one) => one < ' ' || one === '\u007f');
}

export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}
