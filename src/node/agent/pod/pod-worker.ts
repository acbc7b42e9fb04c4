/**
 * Manages one pod on this node: reads the runtime's state and runs its parts: sync (pod-sync.ts) while the pod should run, then termination
 * (pod-termination.ts); both report its status (pod-status-reporter.ts). One step at a time. Its memory (backoffs, verdicts, errors) is
 * expendable: a new worker adopts running containers.
 *
 *   working --deletion | deadline | all containers ended--> ending: containers stopped, then sandbox --> ended: volumes and cgroup removed, last status
 *      working or ended --pod deleted from the API--> removed: nothing of it is left on the node
 */
import type { PodOperation } from '../agent-metrics.ts';
import type { Pod, PodStatus } from '#api/types.ts';
import { backoffMs } from '#stdx/backoff.ts';
import { errorMessage } from '#stdx/log.ts';
import { isCriError } from '../../cri/errors.ts';
import { ClaimError } from '../../dra/claim-manager.ts';
import { NetworkPolicyError } from '../../network-policy/node-pods.ts';
import { runtimeErrorText } from '../cri-text.ts';
import { NetworkNotReadyError } from '../network-readiness.ts';
import { PodProbes, type ProbeCount } from '../probes/pod-probes.ts';
import type { PodRuntime } from '../runtime-view.ts';
import { SerialRunner } from '../serial-runner.ts';
import { VolumeSetupError } from '../volumes/pod-volumes.ts';
import { PodState, type PodFailure } from './pod-state.ts';
import { PodStatusReporter, type StatusReporterDependencies } from './pod-status-reporter.ts';
import { startSliMs } from './start-sli.ts';
import { PodSync, type PodSyncDependencies } from './pod-sync.ts';
import { PodTermination, type PodTerminationDependencies } from './pod-termination.ts';
import { podText } from './pod-text.ts';
import { PodResize, type PodResizeDependencies } from './resize.ts';
import { isFinished } from './status.ts';

/** What its parts need, each by its own interface. Made once by the node agent. */
export interface PodWorkerDependencies
  extends PodSyncDependencies, PodTerminationDependencies, StatusReporterDependencies, PodResizeDependencies {
  /** The pod's allocation changed: other pods may fit now. */
  allocationChanged(): void;
}

interface PodWorkerOptions {
  readonly dependencies: PodWorkerDependencies;
  readonly pod: Pod;
  /** Nothing of the pod is left. */
  readonly onRemoved: () => void;
}

const RETRY = { initialMs: 500, maximumMs: 122_000 };

export class PodWorker {
  readonly uid: string;
  readonly #dependencies: PodWorkerDependencies;
  readonly #onRemoved: () => void;
  readonly #runner: SerialRunner;
  readonly #state: PodState;
  readonly #probes: PodProbes;
  readonly #resize: PodResize;
  readonly #reporter: PodStatusReporter;
  readonly #sync: PodSync;
  readonly #termination: PodTermination;
  #failures = 0;
  readonly #seenMs: number;
  /** A pod that ran before this agent did has not been started by it. */
  #startNoted: boolean;
  /** Interrupts the wait of a step (a pull, a hook) when the pod must end. */
  #step = new AbortController();

  constructor({ dependencies, pod, onRemoved }: PodWorkerOptions) {
    const { cri, clock, events, hostIPs, objects } = dependencies;
    this.#dependencies = dependencies;
    this.#onRemoved = onRemoved;
    this.#seenMs = clock.now();
    this.#startNoted = pod.status?.phase === 'Running';
    this.#runner = new SerialRunner({ clock, work: () => this.#run() });
    this.#probes = new PodProbes({ cri, clock, events, onChange: () => this.#probesChanged() });
    this.#resize = new PodResize(dependencies, pod);
    this.#state = new PodState({ pod, resize: this.#resize, hostIPs });
    this.uid = this.#state.uid;
    const parts = { dependencies, state: this.#state, probes: this.#probes, resize: this.#resize };
    this.#reporter = new PodStatusReporter(parts);
    this.#sync = new PodSync({
      ...parts,
      reporter: this.#reporter,
      onProblem: (error) => this.#reportProblem(error),
    });
    this.#termination = new PodTermination({ ...parts, reporter: this.#reporter });
    objects.retain(pod);
  }

  get pod(): Pod {
    return this.#state.pod;
  }

  /** The last computed status, used by the kubelet API and admission. */
  get status(): PodStatus | undefined {
    return this.#state.status;
  }

  get probeCounts(): ProbeCount[] {
    return this.#probes.counts();
  }

  get finished(): boolean {
    return this.#state.isFinished;
  }

  /** The pod no longer exists in the API. */
  get isGone(): boolean {
    return this.#state.isGone;
  }

  get ending(): boolean {
    return this.#state.isEnding;
  }

  /** The node gave it up. */
  get failing(): boolean {
    return this.#state.failure !== undefined;
  }

  wake(): void {
    this.#runner.wake();
  }

  /** Pods may have a network now, or not any more. */
  networkChanged(): void {
    this.#failures = 0;
    this.wake();
  }

  /** Another pod released resources. */
  allocationChanged(): void {
    if (this.#resize.deferred) this.wake();
  }

  update(pod: Pod): void {
    const wasDeleted = this.#state.isDeleted;
    if (this.#state.update(pod)) this.#dependencies.allocationChanged();
    this.#dependencies.objects.retain(pod);
    if (!wasDeleted && this.#state.isDeleted) this.#interrupt('the pod is being deleted');
    this.#termination.shortenToDeletion();
    this.wake();
  }

  /** The pod no longer exists in the API. */
  gone(): void {
    if (this.#state.isGone) return;
    this.#state.isGone = true;
    this.#interrupt('the pod was deleted');
    if (!this.#termination.hasEnded) this.#termination.shortenToDeletion();
    this.wake();
  }

  /** Fails the pod: its containers end, its phase becomes Failed. */
  fail({ graceSeconds, ...failure }: PodFailure & { readonly graceSeconds: number }): void {
    if (this.finished || this.#state.failure) return;
    this.#state.failure = failure;
    this.#termination.shorten(graceSeconds);
    this.#interrupt(failure.reason);
    this.wake();
  }

  /** Containers keep running. */
  async stop(): Promise<void> {
    this.#interrupt('node agent stopped');
    this.#probes.stop();
    await this.#runner.stop();
  }

  #interrupt(why: string): void {
    this.#step.abort(new Error(why));
  }

  /** Stopping containers takes up to their grace period: the readiness of the status does not wait for it. */
  #probesChanged(): void {
    if (this.#termination.isStopping) void this.#termination.reportReadiness();
    else this.wake();
  }

  async #run(): Promise<number | undefined> {
    if (this.#state.isRemoved) return undefined;
    if (this.#step.signal.aborted) this.#step = new AbortController();
    const { clock } = this.#dependencies;
    const { metrics } = this.#dependencies;
    const startedMs = clock.monotonic();
    const operation = this.#operation();
    try {
      const nextAtMs = await this.#advance();
      this.#failures = 0;
      metrics.podStep(operation, (clock.monotonic() - startedMs) / 1000);
      this.#noteStart();
      return nextAtMs;
    } catch (error) {
      if (this.#step.signal.aborted) return clock.now();
      this.#reportProblem(error);
      const delayMs = backoffMs(this.#failures, RETRY);
      this.#failures += 1;
      return clock.now() + delayMs;
    }
  }

  #operation(): PodOperation {
    const { isDeleted, isGone, failure, status } = this.#state;
    if (isDeleted || isGone || failure) return 'terminate';
    return status?.phase === 'Running' ? 'sync' : 'create';
  }

  /** Once, for a pod that this agent has started. */
  #noteStart(): void {
    const { pod, status, uid } = this.#state;
    if (this.#startNoted || status?.phase !== 'Running') return;
    this.#startNoted = true;
    const createdMs = Date.parse(pod.metadata?.creationTimestamp ?? '');
    if (Number.isNaN(createdMs)) return;
    const { clock, images, metrics } = this.#dependencies;
    const sliMs = startSliMs({ pod, status, nowMs: clock.now(), pullingMs: images.pullingMs(uid) });
    metrics.podStarted({ seenMs: this.#seenMs, createdMs, sliMs });
  }

  #reportProblem(error: unknown): void {
    const { events, log } = this.#dependencies;
    const { pod } = this.#state;
    if (error instanceof VolumeSetupError) {
      events.event(pod, { type: 'Warning', reason: 'FailedMount', message: error.message });
      return;
    }
    if (error instanceof ClaimError && error.message.startsWith('prepare')) {
      events.event(pod, {
        type: 'Warning',
        reason: 'FailedPrepareDynamicResources',
        message: `Failed to prepare dynamic resources: ${error.message}`,
      });
      return;
    }
    if (error instanceof NetworkNotReadyError) {
      events.event(pod, { type: 'Warning', reason: 'NetworkNotReady', message: error.message });
      return;
    }
    if (error instanceof NetworkPolicyError) {
      events.event(pod, { type: 'Warning', reason: 'NetworkPolicyNotEnforced', message: error.message });
      return;
    }
    const text = isCriError(error) ? runtimeErrorText(error) : errorMessage(error);
    log.warn('error syncing pod', { pod: podText(pod), error: text });
    if (!isCriError(error, 'unavailable'))
      events.event(pod, {
        type: 'Warning',
        reason: 'FailedSync',
        message: `error determining status: ${text}`,
      });
  }

  /** One step; returns when the next one is due. */
  async #advance(): Promise<number | undefined> {
    const runtime = await this.#dependencies.view.pod(this.uid);
    await this.#reporter.readMessages(runtime);
    if (this.#state.isGone) return this.#remove(runtime);
    if (this.#termination.hasEnded) return undefined;
    this.#checkDeadline();
    const { isDeleted, failure } = this.#state;
    if (isDeleted || failure || isFinished(this.#state.known().status)) return this.#termination.end(runtime);
    this.#sync.syncProbes(runtime);
    if (this.#state.considerResize()) this.#dependencies.allocationChanged();
    if (isFinished(this.#reporter.report(runtime))) return this.#termination.end(runtime);
    const { nextAtMs, finished } = await this.#sync.run(runtime, this.#step.signal);
    return finished ? this.#termination.end(finished) : nextAtMs;
  }

  async #remove(runtime: PodRuntime): Promise<undefined> {
    await this.#termination.remove(runtime);
    this.#onRemoved();
    return undefined;
  }

  #checkDeadline(): void {
    const { clock, events } = this.#dependencies;
    if (this.#state.failure || clock.now() < this.#state.deadlineMs()) return;
    this.#state.failure = {
      reason: 'DeadlineExceeded',
      message: 'Pod was active on the node longer than the specified deadline',
    };
    events.event(this.#state.pod, { type: 'Normal', ...this.#state.failure });
  }
}
