/**
 * The index of objects by their controller, and claiming (adopting and releasing) objects by a selector, after upstream's
 * ControllerRefManager. The references themselves: component-helpers/owner-references.ts.
 */
import type { LabelSelector } from '#machinery/labels.ts';
import type { KubeObject, ObjectMeta, Stored } from '#machinery/object.ts';
import { findController, controllerReference } from '#component-helpers/owner-references.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Client, Informer, ResourceRef } from '#client/client.ts';

/** Index values of an object: its controller's uid, or that it has none. */
function controllerIndex(object: Stored<KubeObject>): readonly string[] {
  return [findController(object)?.uid ?? orphansOf(object.metadata?.namespace ?? '')];
}

const BY_CONTROLLER = 'controller';

/** The index declaration for a definition's `indexes`. */
export function byController(resource: ResourceRef): {
  readonly resource: ResourceRef;
  readonly name: string;
  readonly values: (object: never) => readonly string[];
} {
  return { resource, name: BY_CONTROLLER, values: controllerIndex as (object: never) => readonly string[] };
}

function orphansOf(namespace: string): string {
  return `none/${namespace}`;
}

/** Objects of the namespace without a controller. */
export function orphans<T extends KubeObject>(informer: Informer<T>, namespace: string): Stored<T>[] {
  return informer.byIndex(BY_CONTROLLER, orphansOf(namespace));
}

export function controlledBy<T extends KubeObject>(informer: Informer<T>, owner: KubeObject): Stored<T>[] {
  return informer.byIndex(BY_CONTROLLER, owner.metadata!.uid!);
}

/** The key of an object's controller, when it is of this kind and the cached object has the same uid. */
export function controllerKey<T extends KubeObject>(
  object: KubeObject,
  { resource, informer }: { readonly resource: ResourceRef<T>; readonly informer: Informer<T> },
): string | undefined {
  const owner = findController(object);
  if (
    !owner ||
    owner.kind !== resource.kind ||
    !owner.apiVersion.startsWith(resource.group === '' ? resource.version : `${resource.group}/`)
  )
    return undefined;
  const namespace = object.metadata?.namespace;
  const key = namespace ? `${namespace}/${owner.name}` : owner.name;
  return informer.get(key)?.metadata?.uid === owner.uid ? key : undefined;
}

/**
 * Keys of owners of an object in `resource`: its controller or, when it has none and is not being deleted, all
 * owners whose selector matches.
 */
export function ownerKeys<T extends KubeObject>(
  object: KubeObject,
  {
    resource,
    informer,
    selectorOf,
  }: {
    readonly resource: ResourceRef<T>;
    readonly informer: Informer<T>;
    readonly selectorOf: (owner: Stored<T>) => LabelSelector;
  },
): string[] {
  if (findController(object)) {
    const key = controllerKey(object, { resource, informer });
    return key === undefined ? [] : [key];
  }
  const { namespace = '', labels, deletionTimestamp } = object.metadata ?? {};
  if (deletionTimestamp) return [];
  return informer
    .listNamespace(namespace)
    .filter((owner) => {
      const selector = selectorOf(owner);
      return !selector.isEverything && selector.matches(labels);
    })
    .map((owner) => `${namespace}/${owner.metadata.name}`);
}

interface ClaimOptions<T extends KubeObject> {
  readonly api: Client;
  readonly resource: ResourceRef<T>;
  readonly owner: KubeObject;
  readonly ownerResource: ResourceRef;
  readonly selector: LabelSelector;
  /** An additional condition for adopting or keeping an object. */
  readonly filter?: (object: Stored<T>) => boolean;
  /** A finalizer that is added to adopted objects. */
  readonly finalizers?: readonly string[];
}

/** Filters the objects that the owner controls and orphans: returns the owner's objects, after adopting matching ones and releasing others. */
export async function claim<T extends KubeObject>(
  objects: readonly Stored<T>[],
  options: ClaimOptions<T>,
): Promise<Stored<T>[]> {
  const { owner, selector, filter = () => true } = options;
  const claimed: Stored<T>[] = [];
  const adopter = new Adopter(options);
  const ownerDeleted = owner.metadata?.deletionTimestamp !== undefined;
  for (const object of objects) {
    const controller = findController(object);
    const fits = selector.matches(object.metadata?.labels) && filter(object);
    if (controller) {
      if (controller.uid !== owner.metadata?.uid) continue;
      if (fits) claimed.push(object);
      else if (!ownerDeleted) await adopter.release(object);
    } else if (fits && !ownerDeleted && !object.metadata?.deletionTimestamp) {
      const adopted = await adopter.adopt(object);
      if (adopted) claimed.push(adopted);
    }
  }
  return claimed;
}

class Adopter<T extends KubeObject> {
  readonly #options: ClaimOptions<T>;
  #mayAdopt: Promise<void> | undefined;

  constructor(options: ClaimOptions<T>) {
    this.#options = options;
  }

  async adopt(object: Stored<T>): Promise<Stored<T> | undefined> {
    const { api, resource, owner, ownerResource, finalizers } = this.#options;
    await (this.#mayAdopt ??= this.#checkOwner());
    const metadata = {
      uid: object.metadata.uid,
      ownerReferences: [controllerReference(owner, ownerResource)],
      ...(finalizers ? { finalizers } : {}),
    };
    try {
      return await api.patch(resource, nameOf(object), { type: 'strategic', patch: { metadata } });
    } catch (error) {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async release(object: Stored<T>): Promise<void> {
    const { api, resource, owner, finalizers } = this.#options;
    const metadata = {
      uid: object.metadata.uid,
      ownerReferences: [{ $patch: 'delete', uid: owner.metadata!.uid }],
      ...(finalizers ? { '$deleteFromPrimitiveList/finalizers': finalizers } : {}),
    };
    try {
      await api.patch(resource, nameOf(object), { type: 'strategic', patch: { metadata } });
    } catch (error) {
      // It was deleted or replaced: nothing to release.
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Invalid')) throw error;
    }
  }

  /** Reads the owner live before the first adoption: with a stale cache, an owner that is being deleted could adopt objects. */
  async #checkOwner(): Promise<void> {
    const { api, owner, ownerResource } = this.#options;
    const fresh = await api.get(ownerResource, nameOf(owner));
    if (fresh.metadata?.uid !== owner.metadata?.uid)
      throw new Error(
        `original ${ownerResource.kind} ${owner.metadata?.namespace}/${owner.metadata?.name} is gone: got uid ${fresh.metadata?.uid}, wanted ${owner.metadata?.uid}`,
      );
    if (fresh.metadata?.deletionTimestamp)
      throw new Error(
        `${owner.metadata?.namespace}/${owner.metadata?.name} has just been deleted at ${fresh.metadata.deletionTimestamp}`,
      );
  }
}

export function nameOf(object: { readonly metadata?: ObjectMeta }): {
  readonly name: string;
  readonly namespace?: string | undefined;
} {
  return { name: object.metadata!.name!, namespace: object.metadata!.namespace };
}
