/**
 * What a controller wrote for each key, until its caches have seen it: a sync that reads an older cache would act on a world of before its own last write.
 * After upstream's ConsistencyStore (gates StaleControllerConsistency*). A cache only: a new leader starts with none, since it lists first.
 */
import type { KubeObject } from '#machinery/object.ts';
import { compareResourceVersions } from '#machinery/resource-version.ts';
import type { Client, ResourceRef } from '#client/client.ts';

/** The methods that answer with the object as it was written. */
const WRITES: ReadonlySet<unknown> = new Set<keyof Client>([
  'create',
  'update',
  'updateStatus',
  'updateSubresource',
  'patch',
]);

interface Written {
  readonly resource: ResourceRef;
  readonly resourceVersion: string;
}

/** A cache that is older than a write. */
interface StaleCache extends Written {
  readonly readVersion: string;
}

export class OwnWrites {
  /** By key, then by resource: the newest. */
  readonly #written = new Map<string, Map<string, Written>>();

  /** The client whose writes count for that key. */
  recording(client: Client, key: string): Client {
    return new Proxy(client, {
      get: (target, method) => {
        const value: unknown = Reflect.get(target, method, target);
        if (typeof value !== 'function') return value;
        if (!WRITES.has(method)) return value.bind(target) as unknown;
        return async (resource: ResourceRef, ...rest: readonly unknown[]): Promise<KubeObject> => {
          const object = (await value.call(target, resource, ...rest)) as KubeObject;
          this.#record(key, resource, object);
          return object;
        };
      },
    });
  }

  #record(key: string, resource: ResourceRef, { metadata }: KubeObject): void {
    const resourceVersion = metadata?.resourceVersion;
    if (!resourceVersion) return;
    let written = this.#written.get(key);
    if (!written) this.#written.set(key, (written = new Map()));
    const name = `${resource.plural}.${resource.group}`;
    const known = written.get(name);
    if (!known || compareResourceVersions(resourceVersion, known.resourceVersion) > 0)
      written.set(name, { resource, resourceVersion });
  }

  /** The first cache that has not seen what was written for the key. Once all have, the key is forgotten. readVersion: of a resource's cache; undefined: it is not watched. */
  stale(key: string, readVersion: (resource: ResourceRef) => string | undefined): StaleCache | undefined {
    for (const written of this.#written.get(key)?.values() ?? []) {
      const read = readVersion(written.resource);
      if (read && compareResourceVersions(written.resourceVersion, read) > 0)
        return { ...written, readVersion: read };
    }
    this.#written.delete(key);
    return undefined;
  }
}
