/**
 * Converts custom resources between their stored version and a client's. Reads prune and default by the schema of the stored version, then convert;
 * writes convert to the storage version.
 */
import { deepClone } from '#machinery/json.ts';
import { parseApiVersion, type KubeObject, type Stored } from '#machinery/object.ts';
import type { CacheEntry } from '../watchcache/entry.ts';
import type { VersionCodec } from '../registry/endpoints.ts';
import { normalise, pruneUnknown } from './coerce.ts';
import type { Structural } from '#machinery/structural.ts';

export interface Versions {
  /** Of every version that objects are, or were, stored as. */
  nodeOf(version: string): Structural | undefined;
  readonly storageApiVersion: string;
  /** By webhook; undefined where only the apiVersion differs. Returns as many objects in the same order. */
  readonly convert:
    | ((objects: readonly KubeObject[], toApiVersion: string) => Promise<KubeObject[]>)
    | undefined;
}

/** An object of one version in another: the object itself when it is of that already, else a new one. Rejects as `convert` does. */
export function createConversion({
  nodeOf,
  convert,
}: Pick<Versions, 'nodeOf' | 'convert'>): (
  object: KubeObject,
  to: string,
) => KubeObject | Promise<KubeObject> {
  return (object, to) => {
    if (object.apiVersion === to) return object;
    if (convert) return convert([object], to).then(([converted]) => converted!);
    const copy = deepClone(object);
    changeVersion(copy, to, nodeOf);
    return copy;
  };
}

/** Changes only the apiVersion; fields unknown to the other version are pruned. Its defaults are not applied. */
function changeVersion(object: KubeObject, to: string, nodeOf: Versions['nodeOf']): void {
  if (object.apiVersion === to) return;
  object.apiVersion = to;
  const node = nodeOf(parseApiVersion(to).version);
  if (node) pruneUnknown(object, node);
}

export function createCodec(
  { nodeOf, storageApiVersion, convert }: Versions,
  apiVersion: string,
  parse: (entry: CacheEntry) => Stored,
): VersionCodec {
  const { version } = parseApiVersion(apiVersion);
  const toVersion = createConversion({ nodeOf, convert });
  /** By parsed form, which the cache bounds. */
  const normalised = new WeakMap<Stored, Stored>();
  /** The webhook's result, cached while the entry is referenced. */
  const converted = new WeakMap<CacheEntry, Stored>();

  const readStored = (object: KubeObject): void => {
    const node = nodeOf(parseApiVersion(object.apiVersion ?? '').version) ?? nodeOf(version);
    if (node) normalise(object, node);
  };
  const asStored = (entry: CacheEntry): Stored => {
    const parsed = parse(entry);
    let object = normalised.get(parsed);
    if (!object) {
      object = deepClone(parsed);
      readStored(object);
      if (!convert) changeVersion(object, apiVersion, nodeOf);
      normalised.set(parsed, object);
    }
    return object;
  };
  const needsWebhook = (entry: CacheEntry): boolean =>
    !converted.has(entry) && asStored(entry).apiVersion !== apiVersion;

  return {
    waits: convert !== undefined,
    ready: (entries) => {
      if (!convert) return undefined;
      const waiting = entries.filter(needsWebhook);
      if (waiting.length === 0) return undefined;
      // Its name, uid and resourceVersion a conversion cannot change.
      return convert(waiting.map(asStored), apiVersion).then((objects) =>
        objects.forEach((object, i) => converted.set(waiting[i]!, object as Stored)),
      );
    },
    read: (entry) => converted.get(entry) ?? asStored(entry),
    write: (object) => toVersion(object, storageApiVersion),
    readBack: (stored, written) => {
      // The webhook would convert its own result back to the stored form.
      if (convert) return written;
      const object = deepClone(stored);
      readStored(object);
      changeVersion(object, apiVersion, nodeOf);
      return object;
    },
  };
}
