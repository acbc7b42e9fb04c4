/** An InternalApi over plain maps, for tests of authn, authz and admission. Not the server's: that is ../internal-api. */
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import type {
  GroupResource,
  InternalApi,
  InternalName,
  InternalWatchHandler,
} from '../../registry/loopback-client.ts';

export class FakeInternal implements InternalApi {
  readonly #objects = new Map<string, Map<string, Stored>>();
  readonly #handlers = new Map<string, Set<InternalWatchHandler>>();
  #revision = 0;
  writes = 0;

  #table(resource: GroupResource): Map<string, Stored> {
    const key = `${resource.group}/${resource.resource}`;
    let table = this.#objects.get(key);
    if (!table) this.#objects.set(key, (table = new Map()));
    return table;
  }

  #watchers(resource: GroupResource): Set<InternalWatchHandler> {
    const key = `${resource.group}/${resource.resource}`;
    let handlers = this.#handlers.get(key);
    if (!handlers) this.#handlers.set(key, (handlers = new Set()));
    return handlers;
  }

  caughtUp(): undefined {}

  get(resource: GroupResource, name: InternalName): Stored | undefined {
    return this.#table(resource).get(keyOf(name));
  }

  list(resource: GroupResource, options: { readonly namespace?: string | undefined } = {}): Stored[] {
    return [...this.#table(resource)]
      .filter(([key]) => !options.namespace || key.startsWith(`${options.namespace}/`))
      .map(([, object]) => object);
  }

  count(resource: GroupResource, options: { readonly namespace?: string | undefined } = {}): number {
    return this.list(resource, options).length;
  }

  watch(resource: GroupResource, handler: InternalWatchHandler): () => void {
    const watchers = this.#watchers(resource);
    watchers.add(handler);
    for (const object of this.#table(resource).values()) handler.added(object);
    return () => void watchers.delete(handler);
  }

  create(resource: GroupResource, object: KubeObject): Promise<Stored> {
    const key = keyOf(object.metadata ?? {});
    if (this.#table(resource).has(key))
      return Promise.reject(statusErrors.alreadyExists({ ...resource, name: object.metadata?.name ?? '' }));
    return Promise.resolve(this.#store(resource, object));
  }

  /** Puts an object synchronously, created or replaced. */
  put(resource: GroupResource, object: KubeObject): Stored {
    return this.#store(resource, object);
  }

  #store(resource: GroupResource, object: KubeObject): Stored {
    const key = keyOf(object.metadata ?? {});
    const previous = this.#table(resource).get(key);
    const stored = structuredClone(object) as Stored;
    stored.metadata = {
      ...stored.metadata,
      name: object.metadata?.name ?? '',
      resourceVersion: String(++this.#revision),
      uid: object.metadata?.uid ?? `uid-${this.#revision}`,
    };
    this.#table(resource).set(key, stored);
    this.writes++;
    for (const handler of this.#watchers(resource)) {
      if (previous) handler.updated(stored, previous);
      else handler.added(stored);
    }
    return stored;
  }

  update(resource: GroupResource, object: KubeObject): Promise<Stored> {
    const current = this.#table(resource).get(keyOf(object.metadata ?? {}));
    const of = { ...resource, name: object.metadata?.name ?? '' };
    if (!current) return Promise.reject(statusErrors.notFound(of));
    const wanted = object.metadata?.resourceVersion;
    if (wanted && wanted !== current.metadata?.resourceVersion)
      return Promise.reject(statusErrors.conflict(of));
    return Promise.resolve(this.#store(resource, object));
  }

  async modify(
    resource: GroupResource,
    name: InternalName,
    change: (object: Stored) => boolean | void,
  ): Promise<Stored> {
    const current = this.get(resource, name);
    if (!current) throw statusErrors.notFound({ ...resource, name: name.name });
    const copy = structuredClone(current);
    return change(copy) === false ? current : this.update(resource, copy);
  }

  delete(resource: GroupResource, name: InternalName): Promise<void> {
    this.remove(resource, name);
    return Promise.resolve();
  }

  remove(resource: GroupResource, name: InternalName): void {
    const previous = this.#table(resource).get(keyOf(name));
    if (!previous) throw statusErrors.notFound({ ...resource, name: name.name });
    this.#table(resource).delete(keyOf(name));
    for (const handler of this.#watchers(resource)) handler.deleted(previous);
  }
}

function keyOf(name: {
  readonly name?: string | undefined;
  readonly namespace?: string | undefined;
}): string {
  return name.namespace ? `${name.namespace}/${name.name ?? ''}` : (name.name ?? '');
}
