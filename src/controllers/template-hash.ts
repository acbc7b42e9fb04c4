/**
 * Short hashes of templates, for names and labels. Upstream hashes Go's own rendering of the structure, which cannot be
 * reproduced, so the values differ; alphabet and use are the same.
 */
import { safeEncode } from '#stdx/random.ts';

/** Independent of the order of fields. collisionCount changes the hash when names collide. */
export function templateHash(template: unknown, collisionCount?: number): string {
  let hash = 0x811c9dc5;
  const text = stableText(template) + (collisionCount === undefined ? '' : `#${collisionCount}`);
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return safeEncode(String(hash));
}

/** JSON with sorted keys; absent and undefined are the same. */
function stableText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(stableText).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${stableText(item)}`).join(',')}}`;
}
