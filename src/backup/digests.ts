/** SHA-256 of objects by resource and of all: over key and content, in the order of keys, so that they do not depend on where the objects are stored. */
import { createHash, type Hash } from 'node:crypto';
import { storedResource } from '#resources/stored-resource.ts';
import type { BackupRecord, ResourceDigest } from './format.ts';

interface Digests {
  readonly objects: number;
  readonly sha256: string;
  readonly resources: Readonly<Record<string, ResourceDigest>>;
}

/** Records are added in the order of their keys. */
export class DigestBuilder {
  readonly #resources = new Map<string, { hash: Hash; count: number }>();

  add({ key, value }: Pick<BackupRecord, 'key' | 'value'>): void {
    const name = resourceName(key);
    let one = this.#resources.get(name);
    if (!one) this.#resources.set(name, (one = { hash: createHash('sha256'), count: 0 }));
    one.count++;
    one.hash.update(`${key}\0${value.length}\0`).update(value);
  }

  finish(): Digests {
    const all = createHash('sha256');
    const resources: Record<string, ResourceDigest> = {};
    let objects = 0;
    for (const [name, { hash, count }] of [...this.#resources].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      const sha256 = hash.digest('hex');
      resources[name] = { count, sha256 };
      objects += count;
      all.update(`${name} ${count} ${sha256}\n`);
    }
    return { objects, sha256: all.digest('hex'), resources };
  }
}

/** The resources whose digests differ, each with both counts. */
export function differences(expected: Digests, found: Digests): string[] {
  const names = new Set([...Object.keys(expected.resources), ...Object.keys(found.resources)]);
  return [...names].flatMap((name) => {
    const [a, b] = [expected.resources[name], found.resources[name]];
    if (a && b && a.count === b.count && a.sha256 === b.sha256) return [];
    return [`${name}: ${b?.count ?? 0} objects, which should be ${a?.count ?? 0}`];
  });
}

/** 'deployments.apps'; what is no resource, by its prefix below /registry. */
export function resourceName(key: string): string {
  const { prefix, resource } = storedResource(key);
  if (!resource) return prefix.replace(/^\/registry\//, '').replace(/\/$/, '');
  return resource.group === '' ? resource.resource : `${resource.resource}.${resource.group}`;
}
