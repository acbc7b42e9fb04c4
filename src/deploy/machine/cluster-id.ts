/** A cluster's ID on its machines: 8 hex digits from its authority's key, the same on each and after the authority's renewal. */
import { createHash, type X509Certificate } from 'node:crypto';

export function deriveClusterID(authority: X509Certificate): string {
  const key = authority.publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(key).digest('hex').slice(0, 8);
}
