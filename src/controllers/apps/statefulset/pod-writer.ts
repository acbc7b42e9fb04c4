/** Creates, updates and deletes the pods and claims of a stateful set, with upstream's events. Makes no decisions. */
import type { PersistentVolumeClaim, Pod, StatefulSet } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import { persistentVolumeClaims, pods } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { isControlledBy } from '#component-helpers/owner-references.ts';
import { nameOf } from '../../owners.ts';
import { isNamespaceTerminating } from '../../pod-control.ts';
import { claimOwners, buildClaims, hasIdentity, identityLabels, isStale, parseOrdinal } from './model.ts';

export class PodWriter {
  readonly #context: ReconcileContext;
  readonly #set: StatefulSet;
  /** Uids of pods whose deletion the cache may not show yet. */
  readonly #deleted: Set<string>;

  constructor(context: ReconcileContext, set: StatefulSet, all: readonly Pod[]) {
    this.#context = context;
    this.#set = set;
    const id = `deleted/${context.key}`;
    const known = context.memory.get(id) as ReadonlySet<string> | undefined;
    this.#deleted = new Set(all.map(({ metadata }) => metadata!.uid!).filter((uid) => known?.has(uid)));
    context.memory.set(id, this.#deleted);
  }

  isTerminating(pod: Pod): boolean {
    return pod.metadata?.deletionTimestamp !== undefined || this.#deleted.has(pod.metadata!.uid!);
  }

  #tell(verb: 'create' | 'update' | 'delete', what: string, error?: unknown): void {
    const reason = `${error === undefined ? 'Successful' : 'Failed'}${verb[0]!.toUpperCase()}${verb.slice(1)}`;
    const message = `${verb} ${what} in StatefulSet ${this.#set.metadata!.name} ${error === undefined ? 'successful' : `failed error: ${errorMessage(error)}`}`;
    this.#context.events.event(this.#set, {
      type: error === undefined ? 'Normal' : 'Warning',
      reason,
      message,
    });
  }

  async create(pod: Pod): Promise<Pod> {
    await this.createClaims(pod);
    const created = await this.#createPod(pod);
    await this.retainClaims(created);
    return created;
  }

  async #createPod(pod: Pod): Promise<Pod> {
    const { name } = pod.metadata!;
    try {
      const created = await this.#context.api.create(pods, pod);
      this.#tell('create', `Pod ${name}`);
      return created;
    } catch (error) {
      if (isStatusError(error, 'AlreadyExists')) {
        const existing = await this.#context.api.get(pods, nameOf(pod));
        // The cache was behind.
        if (isControlledBy(existing, this.#set)) return existing;
        throw error;
      }
      if (!isNamespaceTerminating(error)) this.#tell('create', `Pod ${name}`, error);
      throw error;
    }
  }

  #claims(
    pod: Pod,
  ): { readonly claim: PersistentVolumeClaim; readonly present: PersistentVolumeClaim | undefined }[] {
    const informer = this.#context.informer(persistentVolumeClaims);
    return buildClaims(this.#set, parseOrdinal(pod, this.#set)!).map((claim) => ({
      claim,
      present: informer.get(objectKey(claim)),
    }));
  }

  /** Creates missing claims. Throws while one of them is being deleted: a pod that uses it would never start. */
  async createClaims(pod: Pod): Promise<void> {
    for (const { claim, present } of this.#claims(pod)) {
      if (present?.metadata?.deletionTimestamp)
        throw new Error(`pvc ${claim.metadata!.name} is being deleted`);
      if (!present) await this.#createClaim(claim, pod);
    }
  }

  async #createClaim(claim: PersistentVolumeClaim, pod: Pod): Promise<void> {
    const what = `Claim ${claim.metadata!.name} Pod ${pod.metadata!.name} in StatefulSet ${this.#set.metadata!.name}`;
    try {
      await this.#context.api.create(persistentVolumeClaims, claim);
      this.#context.events.event(this.#set, {
        type: 'Normal',
        reason: 'SuccessfulCreate',
        message: `create ${what} success`,
      });
    } catch (error) {
      if (isStatusError(error, 'AlreadyExists')) return;
      if (!isNamespaceTerminating(error))
        this.#context.events.event(this.#set, {
          type: 'Warning',
          reason: 'FailedCreate',
          message: `create ${what} failed error: ${errorMessage(error)}`,
        });
      throw error;
    }
  }

  /** Claims of an earlier pod of that name will be deleted after it. */
  hasStaleClaims(pod: Pod): boolean {
    if (this.#set.spec?.persistentVolumeClaimRetentionPolicy?.whenScaled !== 'Delete') return false;
    return this.#claims(pod).some(({ present }) => present && isStale(present, pod.metadata!.name!));
  }

  /** Sets the owner references of the pod's claims according to the retention policy. */
  async retainClaims(pod: Pod): Promise<void> {
    for (const { present } of this.#claims(pod)) {
      const ownerReferences = present && claimOwners(present, { set: this.#set, pod });
      if (ownerReferences)
        await this.#context.api.update(persistentVolumeClaims, {
          ...present,
          metadata: { ...present.metadata, ownerReferences },
        });
    }
  }

  /** Restores the identity labels of the pod. */
  async identify(pod: Pod): Promise<void> {
    if (hasIdentity(pod, this.#set)) return;
    const { name, labels } = pod.metadata!;
    try {
      await this.#context.api.update(pods, {
        ...pod,
        metadata: {
          ...pod.metadata,
          labels: { ...labels, ...identityLabels(this.#set, parseOrdinal(pod, this.#set)!) },
        },
      });
      this.#tell('update', `Pod ${name}`);
    } catch (error) {
      if (!isStatusError(error, 'Conflict')) this.#tell('update', `Pod ${name}`, error);
      throw error;
    }
  }

  async delete(pod: Pod): Promise<void> {
    const { name, uid } = pod.metadata!;
    try {
      await this.#context.api.delete(pods, nameOf(pod), { preconditions: { uid: uid! } });
      this.#deleted.add(uid!);
      this.#tell('delete', `Pod ${name}`);
    } catch (error) {
      if (isStatusError(error, 'NotFound') || isStatusError(error, 'Conflict')) return;
      this.#tell('delete', `Pod ${name}`, error);
      throw error;
    }
  }
}
