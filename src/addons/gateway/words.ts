/** Texts of users that become part of a proxy's configuration. */
import { createHash } from 'node:crypto';

/** No line of a configuration may hold them. */
export function hasControlCharacters(text: string): boolean {
  return [...text].some((one) => one < ' ' || one === '\u007f');
}

export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

/** Without anything that a configuration gives a meaning: names of hosts, headers and methods. */
export function isPlainWord(text: string): boolean {
  return /^[A-Za-z0-9.*_!&^|~+-]+$/.test(text);
}

/** RE2's. */
const MAXIMUM_REPEATS = 1000;
const ESCAPES = /\\[dDwWsSbB.\\/*+?()[\]{}|^$-]/g;

/**
 * Whether the expression means the same to HAProxy (PCRE2) as to RE2: one that is refused there would take every other route with it. Groups have no flags, names or looks,
 * classes no POSIX names, and escapes are the usual ones.
 */
export function isSafeRegex(text: string): boolean {
  const bare = text.replace(ESCAPES, '');
  if (hasControlCharacters(text) || bare.includes('\\')) return false;
  if (/\(\?(?!:)|\(\*|\[\^?\]|\[[:.=]/.test(bare)) return false;
  const counts = Array.from(bare.matchAll(/\{(\d*),?(\d*)\}/g), ([, least, most]) => Number(most || least));
  if (counts.some((count) => count > MAXIMUM_REPEATS)) return false;
  try {
    new RegExp(text, 'u');
    return true;
  } catch {
    return false;
  }
}
