/** Responses for objects that are stored but cannot be read: encrypted with a missing key, or damaged. */
import { statusErrors } from '#machinery/errors.ts';
import type { ResourceCache } from './resource-cache.ts';

/** Checked before an object is reported as not found. */
export function refuseUnreadable({ unreadable }: ResourceCache, key: string): void {
  const problem = unreadable.size === 0 ? undefined : unreadable.get(key);
  if (problem !== undefined) throw statusErrors.internal(problem);
}

/** Before a list: one that left some out would look whole. prefix: of keys, or one key. */
export function refuseUnreadableBelow({ unreadable }: ResourceCache, prefix: string): void {
  if (unreadable.size === 0) return;
  for (const [key, problem] of unreadable) if (key.startsWith(prefix)) throw unreadableInList(key, problem);
}

export function unreadableInList(key: string, problem: string): Error {
  return statusErrors.internal(`unable to transform key ${JSON.stringify(key)}: ${problem}`);
}
