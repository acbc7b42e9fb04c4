/** Shared by the controllers that protect storage objects in use: a finalizer that is removed when the object is being deleted and not in use. */
import type { KubeObject, Stored } from '#machinery/object.ts';
import type { ResourceRef } from '#client/client.ts';
import type { ReconcileContext } from '#runtime/controller.ts';

interface Protection<T extends KubeObject> {
  readonly resource: ResourceRef<T>;
  readonly finalizer: string;
  /** Checked in the caches, and live before the finalizer is removed, because a removal cannot be undone. */
  isUsed(object: Stored<T>): boolean | Promise<boolean>;
  isUsedByLive?(object: Stored<T>): Promise<boolean>;
}

export async function protect<T extends KubeObject>(
  { key, api, informer }: ReconcileContext,
  { resource, finalizer, isUsed, isUsedByLive }: Protection<T>,
): Promise<void> {
  const object = informer(resource).get(key);
  if (!object) return;
  const finalizers = object.metadata?.finalizers ?? [];
  const write = (next: readonly string[]): Promise<T> =>
    api.update(resource, { ...object, metadata: { ...object.metadata, finalizers: [...next] } });
  if (!object.metadata?.deletionTimestamp) {
    if (!finalizers.includes(finalizer)) await write([...finalizers, finalizer]);
    return;
  }
  if (!finalizers.includes(finalizer) || (await isUsed(object)) || (await isUsedByLive?.(object))) return;
  await write(finalizers.filter((name) => name !== finalizer));
}
