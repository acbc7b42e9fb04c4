/** Randomness as a dependency: the real source and a seeded one for tests. Not for secrets (use node:crypto for those). */

/** A number in [0, 1). */
export type Random = () => number;

export const realRandom: Random = () => Math.random();

/** A reproducible source (mulberry32): the same seed gives the same numbers on every machine. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Letters and digits without vowels and look-alikes, so that no words result. */
const SUFFIX_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';

/** The random suffix of a generated name: `web-7d9f8-x2k4p` ends with one of length 5. */
export function randomSuffix(length = 5, random: Random = realRandom): string {
  let text = '';
  for (let index = 0; index < length; index++)
    text += SUFFIX_ALPHABET[Math.floor(random() * SUFFIX_ALPHABET.length)];
  return text;
}

/** Rewrites a text (of hash digits, say) into the same alphabet, character by character, so that hashes look like suffixes. */
export function safeEncode(text: string): string {
  let encoded = '';
  for (const character of text)
    encoded += SUFFIX_ALPHABET[character.codePointAt(0)! % SUFFIX_ALPHABET.length];
  return encoded;
}

/** A copy in random order. */
export function shuffled<T>(items: readonly T[], random: Random = realRandom): T[] {
  const copy = [...items];
  for (let index = copy.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1));
    [copy[index], copy[other]] = [copy[other]!, copy[index]!];
  }
  return copy;
}
