/** Digests of tokens, by which those that are known are looked up: how long that takes tells nothing of what they are. */
import { hash } from 'node:crypto';

/** The same few come with every request. When full it begins anew. */
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
