/** Parses integers as Go's strconv.ParseInt (base 10, 64 bits): a sign and leading zeros are allowed; exact beyond 2^53. */

/** Longer than any label value; the number itself never has more than 19 digits. */
const INTEGER = /^[+-]?[0-9]{1,64}$/;

/** undefined where upstream returns an error: not an integer, or not within 64 bits. */
export function parseInt64(text: string): bigint | undefined {
  if (!INTEGER.test(text)) return undefined;
  const value = BigInt(text.startsWith('+') ? text.slice(1) : text);
  return BigInt.asIntN(64, value) === value ? value : undefined;
}
