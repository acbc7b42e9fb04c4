/**
 * PodGroups and their pods, as GangScheduling and the scheduling of groups read them. A pod belongs to its group while it waits for this scheduler, is assumed,
 * or is bound and not over; pods that wait for another scheduler do not count.
 */
import type { PodGroup } from '#api/generated/types/scheduling-v1alpha2.ts';
import type { Pod } from '#api/types.ts';
import type { Stored } from '#machinery/object.ts';

/** What plugins read. */
export interface PodGroupLister {
  /** Of a pod that names a group; undefined: the group is not there. */
  groupOf(pod: Pod): PodGroup | undefined;
  /** How many pods belong to the group of this one. */
  memberCount(pod: Pod): number;
}

interface PodGroupsOptions {
  /** Key: 'namespace/name'. */
  readonly find: (key: string) => Stored<PodGroup> | undefined;
  /** Whether a pod is assumed or bound. */
  readonly isPlaced: (uid: string) => boolean;
}

/** 'namespace/name' of the group that the pod names. */
export function groupKeyOf({ metadata, spec }: Pod): string | undefined {
  const name = spec?.schedulingGroup?.podGroupName;
  return name === undefined ? undefined : `${metadata?.namespace}/${name}`;
}

/** The lister of a scheduler without groups. */
export const NO_POD_GROUPS: PodGroupLister = { groupOf: () => undefined, memberCount: () => 0 };

export class PodGroups implements PodGroupLister {
  readonly #options: PodGroupsOptions;
  /** By group, then by UID. */
  readonly #members = new Map<string, Map<string, Pod>>();

  constructor(options: PodGroupsOptions) {
    this.#options = options;
  }

  /** The API shows the pod. Pods without a group are ignored. */
  set(pod: Pod): void {
    const key = groupKeyOf(pod);
    if (key === undefined) return;
    let members = this.#members.get(key);
    if (!members) this.#members.set(key, (members = new Map()));
    members.set(pod.metadata?.uid ?? '', pod);
  }

  delete(pod: Pod): void {
    const key = groupKeyOf(pod);
    const members = key === undefined ? undefined : this.#members.get(key);
    if (!members?.delete(pod.metadata?.uid ?? '') || members.size > 0) return;
    this.#members.delete(key!);
  }

  groupOf(pod: Pod): Stored<PodGroup> | undefined {
    return this.#options.find(groupKeyOf(pod) ?? '');
  }

  memberCount(pod: Pod): number {
    return this.#membersOf(pod)?.size ?? 0;
  }

  /** UIDs of the pods of this pod's group that are neither assumed nor bound. */
  unscheduled(pod: Pod): readonly string[] {
    return [...(this.#membersOf(pod)?.keys() ?? [])].filter((uid) => !this.#options.isPlaced(uid));
  }

  /** How many pods of this pod's group are assumed or bound. */
  scheduledCount(pod: Pod): number {
    return this.memberCount(pod) - this.unscheduled(pod).length;
  }

  #membersOf(pod: Pod): ReadonlyMap<string, Pod> | undefined {
    return this.#members.get(groupKeyOf(pod) ?? '');
  }
}
