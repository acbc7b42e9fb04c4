/**
 * The state of one pod: its object, its allocated form, and its outcome. Shared by the parts of its worker (sync, termination, status), which all use
 * the newest; it performs no action.
 */
import type { Pod, PodStatus } from '#api/types.ts';
import { podAddresses, type PodRuntime } from '../runtime-view.ts';
import type { PodResize } from './resize.ts';
import { isFinished } from './status.ts';

/** Why the node failed the pod: its phase becomes Failed. */
export interface PodFailure {
  readonly reason: string;
  readonly message: string;
  /** For the node's sake: the pod has a DisruptionTarget condition. */
  readonly disrupted?: boolean | undefined;
}

/** Conditions that this agent writes; others are their owners'. */
const OWN_CONDITIONS = new Set([
  'PodResizePending',
  'PodResizeInProgress',
  'PodReadyToStartContainers',
  'Initialized',
  'Ready',
  'ContainersReady',
  'PodScheduled',
  'AllContainersRestarting',
]);

interface PodStateOptions {
  readonly pod: Pod;
  readonly resize: PodResize;
  readonly hostIPs: readonly string[];
}

export class PodState {
  readonly uid: string;
  readonly #resize: PodResize;
  readonly #hostIPs: readonly string[];
  /** The pod from the API, with allocated resources. */
  #desired: Pod;
  #pod: Pod;
  /** As it was last computed. */
  status: PodStatus | undefined;
  failure: PodFailure | undefined;
  /** The pod no longer exists in the API. */
  isGone = false;
  /** Nothing of the pod is left on the node. */
  isRemoved = false;

  constructor({ pod, resize, hostIPs }: PodStateOptions) {
    this.uid = pod.metadata?.uid ?? '';
    this.#resize = resize;
    this.#hostIPs = hostIPs;
    this.#desired = pod;
    this.#pod = resize.allocated(pod);
  }

  get pod(): Pod {
    return this.#pod;
  }

  get isFinished(): boolean {
    return isFinished(this.status ?? this.#pod.status) || this.isRemoved;
  }

  get isEnding(): boolean {
    return this.isGone || this.isDeleted;
  }

  get isDeleted(): boolean {
    return this.#pod.metadata?.deletionTimestamp !== undefined;
  }

  /** True when its allocated resources changed. */
  update(pod: Pod): boolean {
    this.#desired = pod;
    const resized = this.considerResize();
    this.#pod = this.#resize.allocated(pod);
    return resized;
  }

  /** Set immediately for a new generation: a status with that observedGeneration also reports its resources. */
  considerResize(): boolean {
    if (this.isEnding || this.isFinished || !this.#resize.consider(this.#desired)) return false;
    this.#pod = this.#resize.allocated(this.#desired);
    return true;
  }

  /** The pod with the status that was computed last: the API's copy of it lags behind. Conditions of others are the API's. */
  known(): Pod {
    if (!this.status) return this.#pod;
    const own = this.status.conditions ?? [];
    const others = (this.#pod.status?.conditions ?? []).filter(
      ({ type }) => !OWN_CONDITIONS.has(type) && !own.some((one) => one.type === type),
    );
    return {
      ...this.#pod,
      status: {
        ...this.#pod.status,
        ...this.status,
        conditions: [...own, ...others],
      },
    };
  }

  /** When its activeDeadlineSeconds are over, in ms since the epoch; Infinity without them. */
  deadlineMs(): number {
    const seconds = this.#pod.spec?.activeDeadlineSeconds;
    const startTime = this.known().status?.startTime;
    return seconds === undefined || startTime === undefined
      ? Infinity
      : Date.parse(startTime) + seconds * 1000;
  }

  podIPs(runtime: PodRuntime): readonly string[] {
    return this.#pod.spec?.hostNetwork ? this.#hostIPs : podAddresses(runtime, this.#hostIPs);
  }
}
