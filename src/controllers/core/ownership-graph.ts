/** The graph of owners and dependents, by uid, built from caches. In memory, no I/O. Used by the garbage collector. */
import type { Stored } from '#machinery/object.ts';
import type { KubeObject, OwnerReference } from '#machinery/object.ts';
import type { ResourceRef } from '#client/client.ts';

export const ORPHAN_FINALIZER = 'orphan';
export const FOREGROUND_FINALIZER = 'foregroundDeletion';

export interface Owned {
  readonly resource: ResourceRef;
  readonly object: Stored<KubeObject>;
}

export class OwnershipGraph {
  readonly #objects = new Map<string, Owned>();
  /** Uids of dependents by owner uid; the owner may be unknown. */
  readonly #dependents = new Map<string, Set<string>>();

  get(uid: string): Owned | undefined {
    return this.#objects.get(uid);
  }

  uids(): IterableIterator<string> {
    return this.#objects.keys();
  }

  dependentsOf(uid: string): Owned[] {
    return [...(this.#dependents.get(uid) ?? [])]
      .map((dependent) => this.#objects.get(dependent))
      .filter((owned) => owned !== undefined);
  }

  hasDependents(uid: string): boolean {
    return this.#dependents.has(uid);
  }

  /** Returns the uids of all objects to process. */
  set(object: Stored<KubeObject>, resource: ResourceRef): string[] {
    const uid = uidOf(object);
    const before = this.#objects.get(uid)?.object;
    this.#objects.set(uid, { resource, object });
    const touched: string[] = [];
    const refsChanged = !sameOwners(ownersOf(before), ownersOf(object));
    if (refsChanged) {
      this.#unlink(uid, ownersOf(before));
      this.#link(uid, ownersOf(object));
      touched.push(...this.#finishing([...ownersOf(before), ...ownersOf(object)]));
    }
    if (
      (refsChanged && this.#isDoubtful(object)) ||
      (finishesDependents(object) &&
        !(before && finishesDependents(before) && sameFinalizers(before, object)))
    )
      touched.push(uid);
    return touched;
  }

  /** Returns the uids of all objects to process. */
  remove(object: Stored<KubeObject>): string[] {
    const uid = uidOf(object);
    const owners = ownersOf(this.#objects.get(uid)?.object);
    this.#objects.delete(uid);
    this.#unlink(uid, owners);
    return [...(this.#dependents.get(uid) ?? []), ...this.#finishing(owners)];
  }

  /** Whether the object may have to be deleted, updated or finalized. */
  needsAttention(uid: string): boolean {
    const object = this.#objects.get(uid)?.object;
    return object !== undefined && (finishesDependents(object) || this.#isDoubtful(object));
  }

  /** An owner is unknown, in another namespace, or waits for this object's deletion. */
  #isDoubtful(object: Stored<KubeObject>): boolean {
    return ownersOf(object).some(({ uid }) => {
      const owner = this.#objects.get(uid)?.object;
      return !owner || !isReachable(owner, object) || isWaiting(owner);
    });
  }

  #finishing(owners: readonly OwnerReference[]): string[] {
    return owners
      .map(({ uid }) => uid)
      .filter((uid) => {
        const owner = this.#objects.get(uid);
        return owner && finishesDependents(owner.object);
      });
  }

  #link(uid: string, owners: readonly OwnerReference[]): void {
    for (const owner of owners) {
      const dependents = this.#dependents.get(owner.uid);
      if (dependents) dependents.add(uid);
      else this.#dependents.set(owner.uid, new Set([uid]));
    }
  }

  #unlink(uid: string, owners: readonly OwnerReference[]): void {
    for (const owner of owners) {
      const dependents = this.#dependents.get(owner.uid);
      dependents?.delete(uid);
      if (dependents?.size === 0) this.#dependents.delete(owner.uid);
    }
  }
}

export function uidOf(object: Stored<KubeObject>): string {
  return object.metadata.uid;
}

export function ownersOf(object: Stored<KubeObject> | undefined): readonly OwnerReference[] {
  return object?.metadata?.ownerReferences ?? [];
}

export function hasFinalizer(object: Stored<KubeObject>, finalizer: string): boolean {
  return object.metadata?.finalizers?.includes(finalizer) === true;
}

/** It is in foreground deletion: it is deleted after its dependents. */
export function isWaiting(object: Stored<KubeObject>): boolean {
  return object.metadata?.deletionTimestamp !== undefined && hasFinalizer(object, FOREGROUND_FINALIZER);
}

/** It is being deleted, and the garbage collector must process its finalizer. */
function finishesDependents(object: Stored<KubeObject>): boolean {
  return (
    object.metadata?.deletionTimestamp !== undefined &&
    (hasFinalizer(object, FOREGROUND_FINALIZER) || hasFinalizer(object, ORPHAN_FINALIZER))
  );
}

/** Owners are in the same namespace, or cluster-scoped. */
export function isReachable(owner: Stored<KubeObject>, dependent: Stored<KubeObject>): boolean {
  return !owner.metadata?.namespace || owner.metadata.namespace === dependent.metadata?.namespace;
}

function sameOwners(a: readonly OwnerReference[], b: readonly OwnerReference[]): boolean {
  return (
    a.length === b.length &&
    a.every(
      ({ uid, blockOwnerDeletion }, index) =>
        uid === b[index]!.uid && blockOwnerDeletion === b[index]!.blockOwnerDeletion,
    )
  );
}

function sameFinalizers(a: Stored<KubeObject>, b: Stored<KubeObject>): boolean {
  return a.metadata?.finalizers?.join() === b.metadata?.finalizers?.join();
}
