/** Caches of kinds that a controller knows of only at run time: those of trees, and those that propagate. */
import type { ResourceRef } from '#client/client.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import type { ReconcileContext } from '#runtime/controller.ts';

interface Followed<T extends KubeObject> {
  /** Whose change is a reconcile. Default: ''. previous: of an update. */
  readonly keyOf?: (object: Stored<T>, previous: Stored<T> | undefined) => string | undefined;
  readonly delayMs?: number;
}

/** Its cache is filled, and a change of it is a reconcile. */
export async function follow<T extends KubeObject>(
  { shared, memory, signal, enqueue }: ReconcileContext,
  ref: ResourceRef<T>,
  { keyOf = () => '', delayMs = 0 }: Followed<T> = {},
): Promise<void> {
  const informer = shared.informer(ref);
  const key = `follow ${ref.group}/${ref.version}/${ref.plural}`;
  if (!memory.has(key)) {
    memory.set(key, true);
    const changed = (object: Stored<T>, previous?: Stored<T>): void => {
      const name = keyOf(object, previous);
      if (name !== undefined) enqueue(name, delayMs);
    };
    const unsubscribe = informer.subscribe({ added: changed, updated: changed, deleted: changed });
    signal.addEventListener('abort', unsubscribe, { once: true });
  }
  await informer.synced(signal);
}
