/** Digests of tokens as keys of lookups: lookup time reveals nothing about a token. */
import { hash } from 'node:crypto';

/** Requests repeat few tokens. When full it is cleared. */
const digests = new Map<string, string>();
const MAX_REMEMBERED = 2048;

/** SHA-256 in base64. */
export function tokenDigest(token: string): string {
  const known = digests.get(token);
  if (known !== undefined) return known;
  const digest = hash('sha256', token, 'base64');
  if (digests.size >= MAX_REMEMBERED) digests.clear();
  digests.set(token, digest);
  return digest;
}
