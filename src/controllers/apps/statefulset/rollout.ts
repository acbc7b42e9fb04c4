/**
 * Brings the pods of a stateful set to the desired state, one step at a time:
 *
 *   replicas in order, each healthy before the next -> surplus pods deleted, highest first -> outdated pods replaced, highest first
 *
 * With Parallel pod management pods do not wait for each other, but outdated pods are still replaced within maxUnavailable.
 */
import type { ControllerRevision, Pod, StatefulSet } from '#api/types.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { slowStart } from '../../pod-control.ts';
import {
  isInRange,
  isRunningAndAvailable,
  maxUnavailable,
  newPod,
  parseOrdinal,
  readPartition,
  replicasOf,
  revisionOf,
  startOrdinal,
  usesCurrentRevision,
} from './model.ts';
import { PodWriter } from './pod-writer.ts';

/** Retry interval while a claim is being deleted. */
const STALE_CLAIMS_MS = 1_000;

export interface Revisions {
  /** The revision of pods before the update. */
  readonly current: ControllerRevision;
  readonly update: ControllerRevision;
}

export class Rollout {
  readonly #context: ReconcileContext;
  readonly #set: StatefulSet;
  readonly #revisions: Revisions;
  readonly #writer: PodWriter;
  readonly #nowMs: number;
  /** By offset from the first ordinal; undefined where there is no pod. */
  readonly #replicas: (Pod | undefined)[];
  /** Pods outside of the range, highest ordinal first. */
  readonly #condemned: readonly Pod[];
  #waitMs: number | undefined;

  constructor(
    context: ReconcileContext,
    set: StatefulSet,
    { pods, revisions }: { readonly pods: readonly Pod[]; readonly revisions: Revisions },
  ) {
    this.#context = context;
    this.#set = set;
    this.#revisions = revisions;
    this.#writer = new PodWriter(context, set, pods);
    this.#nowMs = context.clock.now();
    this.#replicas = Array.from({ length: replicasOf(set) }, () => undefined);
    const condemned: Pod[] = [];
    for (const pod of pods) {
      const ordinal = parseOrdinal(pod, set)!;
      if (isInRange(set, ordinal)) this.#replicas[ordinal - startOrdinal(set)] = pod;
      else condemned.push(pod);
    }
    this.#condemned = condemned.sort((a, b) => parseOrdinal(b, set)! - parseOrdinal(a, set)!);
  }

  /** All pods, including the created ones. */
  get pods(): Pod[] {
    return [...this.#replicas.filter((pod) => pod !== undefined), ...this.#condemned];
  }

  isTerminating(pod: Pod): boolean {
    return this.#writer.isTerminating(pod);
  }

  /** Set when the next step only depends on time. */
  get waitMs(): number | undefined {
    return this.#waitMs;
  }

  get #isOrdered(): boolean {
    return this.#set.spec?.podManagementPolicy !== 'Parallel';
  }

  #isHealthy(pod: Pod): boolean {
    return (
      isRunningAndAvailable(pod, { set: this.#set, nowMs: this.#nowMs }) && !this.#writer.isTerminating(pod)
    );
  }

  async step(): Promise<void> {
    if (!(await this.#forAll(this.#replicas.length, (index) => this.#replica(index)))) return;
    for (const pod of this.#condemned) await this.#writer.retainClaims(pod);
    const firstUnhealthy = [...this.#replicas, ...this.#condemned.toReversed()].find(
      (pod) => pod && !this.#isHealthy(pod),
    );
    if (
      !(await this.#forAll(this.#condemned.length, (index) =>
        this.#condemnedPod(this.#condemned[index]!, firstUnhealthy),
      ))
    )
      return;
    if (this.#set.spec?.updateStrategy?.type !== 'OnDelete') await this.#update();
  }

  /** Calls `act` for each pod; in order until one returns false, or concurrently. Returns false when this step must end. */
  async #forAll(count: number, act: (index: number) => Promise<boolean>): Promise<boolean> {
    if (!this.#isOrdered) {
      const { error } = await slowStart(count, act);
      if (error) throw error;
      return true;
    }
    for (let index = 0; index < count; index++) if (!(await act(index))) return false;
    return true;
  }

  /** Returns true when the pod is healthy. */
  async #replica(index: number): Promise<boolean> {
    const pod = this.#replicas[index];
    if (!pod) return this.#create(index);
    if (isPodTerminal(pod)) {
      if (!this.#writer.isTerminating(pod)) await this.#recreate(pod);
      return false;
    }
    if (pod.status?.phase === 'Pending' && !this.#writer.isTerminating(pod))
      await this.#writer.createClaims(pod);
    if (this.#isOrdered && !this.#isHealthy(pod)) return false;
    await this.#writer.identify(pod);
    await this.#writer.retainClaims(pod);
    return true;
  }

  async #create(index: number): Promise<boolean> {
    const ordinal = startOrdinal(this.#set) + index;
    const pod = newPod(
      this.#set,
      ordinal,
      usesCurrentRevision(this.#set, ordinal) ? this.#revisions.current : this.#revisions.update,
    );
    if (this.#writer.hasStaleClaims(pod)) this.#waitMs = STALE_CLAIMS_MS;
    else this.#replicas[index] = await this.#writer.create(pod);
    return false;
  }

  /** The replacement is created once the pod is gone. */
  async #recreate(pod: Pod): Promise<void> {
    const { name, namespace } = this.#set.metadata!;
    const failed = pod.status?.phase === 'Failed';
    this.#context.events.event(this.#set, {
      type: failed ? 'Warning' : 'Normal',
      reason: failed ? 'RecreatingFailedPod' : 'RecreatingTerminatedPod',
      message: `StatefulSet ${namespace}/${name} is recreating ${failed ? 'failed' : 'terminated'} Pod ${pod.metadata!.name}`,
    });
    await this.#writer.delete(pod);
  }

  /** In order, one at a time, and only while all others are healthy; the first unhealthy pod itself may be deleted. */
  async #condemnedPod(pod: Pod, firstUnhealthy: Pod | undefined): Promise<boolean> {
    if (this.#writer.isTerminating(pod)) return false;
    if (this.#isOrdered && !this.#isHealthy(pod) && pod !== firstUnhealthy) return false;
    await this.#writer.delete(pod);
    return false;
  }

  /** Highest ordinal first, with at most maxUnavailable pods unavailable. */
  async #update(): Promise<void> {
    const outdated = this.#replicas
      .slice(readPartition(this.#set))
      .reverse()
      .filter(
        (pod) =>
          pod !== undefined &&
          revisionOf(pod) !== this.#revisions.update.metadata!.name &&
          !this.#writer.isTerminating(pod),
      ) as Pod[];
    // It is unavailable already, so replacing it does not reduce availability.
    const free = outdated.filter((pod) => !this.#isHealthy(pod)),
      healthy = outdated.filter((pod) => this.#isHealthy(pod));
    const unavailable = this.#replicas.filter((pod) => !pod || !this.#isHealthy(pod)).length;
    for (const pod of [...free, ...healthy.slice(0, Math.max(0, maxUnavailable(this.#set) - unavailable))])
      await this.#writer.delete(pod);
  }
}
