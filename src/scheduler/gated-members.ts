/** Entries of the queue that a plugin gates because of their PodGroup, by that group: a change of the group, or of a pod of it, asks for them again. */
import type { Pod } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ClusterEvent } from './plugin.ts';
import { groupKeyOf } from './pod-groups.ts';

export class GatedMembers<T extends { readonly pod: Pod }> {
  readonly #byGroup = new Map<string, Set<T>>();

  /** Pods without a group are ignored. */
  add(entry: T): void {
    const group = groupKeyOf(entry.pod);
    if (group === undefined) return;
    let members = this.#byGroup.get(group);
    if (!members) this.#byGroup.set(group, (members = new Set()));
    members.add(entry);
  }

  /** Returns whether it was there. */
  delete(entry: T): boolean {
    if (this.#byGroup.size === 0) return false;
    const group = groupKeyOf(entry.pod) ?? '';
    const members = this.#byGroup.get(group);
    if (!members?.delete(entry)) return false;
    if (members.size === 0) this.#byGroup.delete(group);
    return true;
  }

  /** Of the group that the object is, or names. */
  concernedBy(kind: ClusterEvent, object: KubeObject | undefined): readonly T[] {
    if (!object || this.#byGroup.size === 0) return [];
    const { namespace, name } = object.metadata ?? {};
    const group = kind === 'pod-group-added' ? `${namespace}/${name}` : groupKeyOf(object as Pod);
    return [...(this.#byGroup.get(group ?? '') ?? [])];
  }
}
