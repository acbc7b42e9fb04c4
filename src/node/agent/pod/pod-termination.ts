/**
 * The termination part of a pod's worker: stops containers within the grace period, which may be shortened meanwhile, and cleans up after the pod.
 * Readiness probes continue while containers stop.
 *
 *   end():     stopped ──► volumes and cgroup removed ──► last status written, and the pod deleted from the API where it was marked so
 *   remove():  deleted from the API: stopped ──► everything removed from the node, including records and logs
 */
import { rm } from 'node:fs/promises';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Clock } from '#stdx/clock.ts';
import type { CriClient } from '../../cri/client.ts';
import type { Cgroups } from '../cgroups.ts';
import { podCgroup } from '../config/resources.ts';
import type { ImagePuller } from '../image-puller.ts';
import type { PodProbes } from '../probes/pod-probes.ts';
import type { ReferencedObjects } from '../referenced-objects.ts';
import type { PodRuntime, RuntimeView } from '../runtime-view.ts';
import type { ClaimManager } from '../../dra/claim-manager.ts';
import type { PodNetworkPolicies } from '../../network-policy/node-pods.ts';
import type { PodVolumes } from '../volumes/pod-volumes.ts';
import type { ServiceAccountTokens } from '../volumes/service-account-tokens.ts';
import { stopPod, type ContainerStopDependencies } from './container-stop.ts';
import type { PodState } from './pod-state.ts';
import type { PodStatusReporter } from './pod-status-reporter.ts';
import { podLogDirectory, podText } from './pod-text.ts';
import type { StatusWriter } from './status-writer.ts';

export interface PodTerminationDependencies extends ContainerStopDependencies {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: RuntimeView;
  readonly cgroups: Cgroups;
  readonly cgroupRoot: string;
  readonly logsDir: string;
  readonly images: ImagePuller;
  readonly objects: ReferencedObjects;
  readonly statuses: StatusWriter;
  readonly tokens: ServiceAccountTokens;
  readonly volumes: PodVolumes;
  readonly networkPolicies?: PodNetworkPolicies | undefined;
  readonly claims: Pick<ClaimManager, 'prepare' | 'unprepare'>;
}

interface PodTerminationOptions {
  readonly dependencies: PodTerminationDependencies;
  readonly state: PodState;
  readonly probes: PodProbes;
  readonly reporter: PodStatusReporter;
}

export class PodTermination {
  readonly #options: PodTerminationOptions;
  /** Interrupts the current wait when a shorter grace period is requested. */
  #hurry = new AbortController();
  #graceSeconds = Infinity;
  #ended = false;
  #stopping = false;

  constructor(options: PodTerminationOptions) {
    this.#options = options;
  }

  /** The pod was deleted and its final status written: waits until the API has removed it. */
  get hasEnded(): boolean {
    return this.#ended;
  }

  get isStopping(): boolean {
    return this.#stopping;
  }

  /** The grace period of a deletion. */
  shortenToDeletion(): void {
    const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = this.#options.state.pod.metadata ?? {};
    if (deletionTimestamp) this.shorten(deletionGracePeriodSeconds);
  }

  /** If it is shorter than the current grace period, stopping starts again with it. */
  shorten(graceSeconds: number): void {
    if (graceSeconds >= this.#graceSeconds) return;
    const underWay = this.#graceSeconds !== Infinity;
    this.#graceSeconds = graceSeconds;
    if (!underWay || this.#ended) return;
    this.#hurry.abort(new Error('a shorter grace period was requested'));
    void this.#stopAgain(graceSeconds);
  }

  /** The stop in progress may fail: it is repeated until nothing runs. */
  async #stopAgain(graceSeconds: number): Promise<void> {
    const { dependencies, state } = this.#options;
    try {
      const { containers } = await dependencies.view.pod(state.uid);
      await Promise.all(
        containers
          .filter(({ phase }) => phase === 'running')
          .map(({ id }) => dependencies.cri.stopContainer({ containerId: id, timeout: graceSeconds })),
      );
    } catch (error) {
      dependencies.log.debug('error stopping containers within a shorter grace period', {
        pod: podText(state.pod),
        error: errorMessage(error),
      });
    }
  }

  /** A probe's verdict changed while containers stop, which may take their whole grace period. */
  async reportReadiness(): Promise<void> {
    const { dependencies, state, reporter } = this.#options;
    try {
      const runtime = await dependencies.view.pod(state.uid);
      if (this.#stopping) reporter.report(runtime);
    } catch (error) {
      dependencies.log.debug('error reading the readiness of a terminating pod', {
        pod: podText(state.pod),
        error: errorMessage(error),
      });
    }
  }

  /** Returns when to call it again, in ms since the epoch; undefined: done. Throws CriError. */
  async end(first: PodRuntime): Promise<number | undefined> {
    const { dependencies, state, probes, reporter } = this.#options;
    const { clock, statuses, view } = dependencies;
    const wasDeleted = state.isDeleted;
    const graceSeconds = this.#grace();
    probes.stopLivenessAndStartup();
    probes.sync(state.pod, { runtime: first, podIP: state.podIPs(first)[0] ?? '' });
    if (first.containers.some(({ phase }) => phase === 'running')) reporter.report(first);
    this.#stopping = true;
    await this.#stopEverything(first, graceSeconds).finally(() => {
      this.#stopping = false;
    });
    probes.stop();
    const runtime = await view.pod(state.uid);
    if (isAlive(runtime)) return clock.now();
    await reporter.readMessages(runtime);
    const status = reporter.final(runtime);
    await this.#tearDown();
    if (!wasDeleted && state.isDeleted) return clock.now();
    this.#ended = wasDeleted;
    if (wasDeleted) statuses.setAndRemove(state.pod, status);
    else statuses.set(state.pod, status);
    return undefined;
  }

  /** Throws CriError: call it again. */
  async remove(runtime: PodRuntime): Promise<void> {
    const { dependencies, state, probes } = this.#options;
    const { cri, statuses, objects, logsDir } = dependencies;
    probes.stop();
    await this.#stopEverything(runtime, this.#grace());
    for (const { id } of runtime.containers) await cri.removeContainer({ containerId: id });
    for (const { id } of runtime.sandboxes) await cri.removePodSandbox({ podSandboxId: id });
    await this.#tearDown();
    await rm(podLogDirectory(logsDir, state.pod), { recursive: true, force: true });
    objects.release(state.uid);
    dependencies.networkPolicies?.release(state.uid);
    statuses.forget(state.uid);
    state.isRemoved = true;
  }

  #grace(): number {
    const { spec, metadata } = this.#options.state.pod;
    if (metadata?.deletionTimestamp)
      this.#graceSeconds = Math.min(this.#graceSeconds, metadata.deletionGracePeriodSeconds ?? 0);
    return this.#graceSeconds === Infinity ? (spec?.terminationGracePeriodSeconds ?? 30) : this.#graceSeconds;
  }

  async #stopEverything(runtime: PodRuntime, graceSeconds: number): Promise<void> {
    if (!isAlive(runtime)) return;
    if (this.#hurry.signal.aborted) this.#hurry = new AbortController();
    const { dependencies, state } = this.#options;
    await stopPod(dependencies, { pod: state.pod, runtime, graceSeconds, signal: this.#hurry.signal });
  }

  /** Releases the resources of a terminated pod. Container records and logs stay until the pod is deleted. */
  async #tearDown(): Promise<void> {
    const { dependencies, state } = this.#options;
    const { volumes, cgroups, cgroupRoot, tokens, images } = dependencies;
    const { uid, pod } = state;
    await dependencies.claims.unprepare(uid);
    await volumes.remove(uid);
    await cgroups.remove(podCgroup(pod.spec ?? { containers: [] }, { root: cgroupRoot, uid }).path);
    tokens.forget(uid);
    images.forget(uid);
  }
}

function isAlive(runtime: PodRuntime): boolean {
  return (
    runtime.sandboxes.some(({ ready }) => ready) ||
    runtime.containers.some(({ phase }) => phase === 'running')
  );
}
