/**
 * The sync part of a pod's worker: prepares the pod's volumes, calls decide(), and executes its actions on sandboxes and containers, with their
 * backoffs. Each step ends early when its signal is aborted.
 */
import type { AgentMetrics } from '../agent-metrics.ts';
import { rm } from 'node:fs/promises';
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import type { CriClient } from '../../cri/client.ts';
import type { ClaimManager } from '../../dra/claim-manager.ts';
import type { PodNetworkPolicies } from '../../network-policy/node-pods.ts';
import { NetworkNotReadyError, type NetworkReadiness } from '../network-readiness.ts';
import type { PodProbes } from '../probes/pod-probes.ts';
import { activeSandbox, type PodRuntime, type RuntimeView } from '../runtime-view.ts';
import type { PodVolumes, PreparedVolumes } from '../volumes/pod-volumes.ts';
import { startContainer, StartFailure, type ContainerStartDependencies } from './container-start.ts';
import { stopContainer, stopPod, type ContainerStopDependencies } from './container-stop.ts';
import { decide, type ContainerKill, type PodPlan } from './decide.ts';
import { PodSandboxMaker, type PodSandboxDependencies } from './pod-sandbox.ts';
import type { PodState } from './pod-state.ts';
import type { PodStatusReporter } from './pod-status-reporter.ts';
import { podText } from './pod-text.ts';
import type { PodResize } from './resize.ts';
import { goSeconds, nextBackoff, type BackoffRecord } from './restart-backoff.ts';
import { findContainer } from './restart-policy.ts';
import { isFinished } from './status.ts';

export interface PodSyncDependencies
  extends PodSandboxDependencies, ContainerStartDependencies, ContainerStopDependencies {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly events: EventRecorder;
  readonly view: RuntimeView;
  readonly volumes: PodVolumes;
  readonly metrics: AgentMetrics;
  /** Longest delay between restarts of a container; default 5 min. */
  readonly maximumBackoffMs?: number | undefined;
  readonly networkPolicies?: PodNetworkPolicies | undefined;
  readonly network: Pick<NetworkReadiness, 'problem'>;
  readonly claims: Pick<ClaimManager, 'prepare' | 'unprepare'>;
}

interface PodSyncOptions {
  readonly dependencies: PodSyncDependencies;
  readonly state: PodState;
  readonly probes: PodProbes;
  readonly resize: PodResize;
  readonly reporter: PodStatusReporter;
  /** Errors that did not end the step. */
  readonly onProblem: (error: unknown) => void;
}

interface SyncResult {
  /** When the next step is due, in ms since the epoch. */
  readonly nextAtMs: number;
  /** The pod has finished: this is left of it. */
  readonly finished?: PodRuntime;
}

const REFRESH_MS = 60_000;
/** Maximum number of decide-and-act iterations in one step. */
const MAX_ROUNDS = 4;

export class PodSync {
  readonly #options: PodSyncOptions;
  readonly #sandboxes: PodSandboxMaker;
  /** By container name. */
  readonly #backoffs = new Map<string, BackoffRecord>();
  /** Containers that the runtime refused to create, by name, with the earliest retry: the worker may be woken sooner by their own status. */
  readonly #refusedUntilMs = new Map<string, number>();
  #volumes: PreparedVolumes | undefined;

  constructor(options: PodSyncOptions) {
    this.#options = options;
    this.#sandboxes = new PodSandboxMaker(options.dependencies);
  }

  /** One step. Throws the error that stopped it. */
  async run(first: PodRuntime, signal: AbortSignal): Promise<SyncResult> {
    const { dependencies, state, probes, resize, reporter } = this.#options;
    const { clock, view } = dependencies;
    let runtime = first;
    let nextAtMs = Math.min(state.deadlineMs(), clock.now() + REFRESH_MS);
    this.#requireNetwork(runtime);
    await this.#prepareVolumes(runtime, signal);
    if (this.#volumes?.renewAtMs !== undefined) nextAtMs = Math.min(nextAtMs, this.#volumes.renewAtMs);
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      this.#observeNetwork(runtime);
      const { restart, retryAtMs } = await resize.actuate(state.pod, runtime);
      nextAtMs = Math.min(nextAtMs, retryAtMs);
      const plan = decide({
        pod: state.pod,
        runtime,
        probes: probes.states(),
        backoffs: this.#backoffs,
        nowMs: clock.now(),
        resized: restart,
      });
      for (const { untilMs } of plan.wait) nextAtMs = Math.min(nextAtMs, untilMs);
      this.#noteWaiting(plan);
      const acted = await this.#act(plan, { runtime, signal });
      nextAtMs = Math.min(nextAtMs, acted.retryAtMs);
      runtime = await view.pod(state.uid);
      await reporter.readMessages(runtime);
      this.syncProbes(runtime);
      if (isFinished(reporter.report(runtime))) return { nextAtMs, finished: runtime };
      if (!acted.again) break;
    }
    return { nextAtMs };
  }

  /** Of a pod that has no sandbox yet: what runs keeps the network that it has. */
  #requireNetwork(runtime: PodRuntime): void {
    const { dependencies, state } = this.#options;
    const { problem } = dependencies.network;
    if (problem !== undefined && !state.pod.spec?.hostNetwork && !activeSandbox(runtime))
      throw new NetworkNotReadyError(problem);
  }

  /** Rules of network policies follow the sandbox, whose address the API learns later. */
  #observeNetwork(runtime: PodRuntime): void {
    const { dependencies, state } = this.#options;
    const sandbox = activeSandbox(runtime);
    if (sandbox && !sandbox.hostNetwork) dependencies.networkPolicies?.observe(state.pod, sandbox.ips);
  }

  /** No container sends or receives a packet before the rules for its pod are in force. */
  async #waitForPolicies(runtime: PodRuntime, signal: AbortSignal): Promise<void> {
    const { dependencies, state } = this.#options;
    const sandbox = activeSandbox(runtime);
    if (sandbox && !sandbox.hostNetwork) await dependencies.networkPolicies?.inForce(state.pod, signal);
  }

  syncProbes(runtime: PodRuntime): void {
    const { state, probes } = this.#options;
    probes.sync(state.pod, { runtime, podIP: state.podIPs(runtime)[0] ?? '' });
  }

  async #prepareVolumes(runtime: PodRuntime, signal: AbortSignal): Promise<void> {
    const { dependencies, state, onProblem } = this.#options;
    const { volumes, metrics, hostIPs, nodeName } = dependencies;
    try {
      this.#volumes = await metrics.mountVolumes(() =>
        volumes.prepare(state.pod, {
          pod: state.pod,
          podIPs: state.podIPs(runtime),
          hostIPs,
          nodeName,
          allocatable: dependencies.allocatable(),
          signal,
        }),
      );
    } catch (error) {
      // Running containers keep their volumes.
      if (!this.#volumes || !runtime.containers.some(({ phase }) => phase === 'running')) throw error;
      onProblem(error);
    }
  }

  #noteWaiting({ wait }: PodPlan): void {
    const { dependencies, state, reporter } = this.#options;
    for (const { name, delayMs } of wait) {
      const message = `back-off ${goSeconds(delayMs)} restarting failed container=${name} pod=${podText(state.pod)}`;
      if (reporter.waiting.get(name)?.reason !== 'CrashLoopBackOff') {
        dependencies.events.event(state.pod, {
          type: 'Warning',
          reason: 'BackOff',
          message: `Back-off restarting failed container ${name} in pod ${podText(state.pod)}`,
        });
      }
      reporter.waiting.set(name, { reason: 'CrashLoopBackOff', message });
    }
  }

  /** again: decide again immediately. */
  async #act(
    plan: PodPlan,
    { runtime, signal }: { readonly runtime: PodRuntime; readonly signal: AbortSignal },
  ): Promise<{ readonly again: boolean; readonly retryAtMs: number }> {
    const { dependencies, state, resize } = this.#options;
    if (plan.stopAll)
      await stopPod(dependencies, {
        pod: state.pod,
        runtime,
        graceSeconds: this.#graceSeconds(),
        signal,
      });
    if (plan.createSandbox !== undefined) {
      await dependencies.claims.prepare(state.known());
      resize.cgroupMade(await this.#sandboxes.makeCgroup(state.pod));
      await this.#sandboxes.make(state.pod, { attempt: plan.createSandbox, signal });
      return { again: true, retryAtMs: Infinity };
    }
    await Promise.all(plan.kill.map((kill) => this.#kill(kill, { runtime, signal })));
    return this.#startAll(plan, { runtime, signal });
  }

  async #startAll(
    plan: PodPlan,
    { runtime, signal }: { readonly runtime: PodRuntime; readonly signal: AbortSignal },
  ): Promise<{ readonly again: boolean; readonly retryAtMs: number }> {
    const { dependencies, state } = this.#options;
    if (plan.start.length > 0) await this.#waitForPolicies(runtime, signal);
    let retryAtMs = Infinity;
    let current = runtime;
    for (const { name, endedMs } of plan.start) {
      signal.throwIfAborted();
      const untilMs = this.#refusedUntilMs.get(name) ?? 0;
      if (untilMs > dependencies.clock.now()) {
        retryAtMs = Math.min(retryAtMs, untilMs);
        continue;
      }
      if (plan.kill.length > 0) current = await dependencies.view.pod(state.uid);
      retryAtMs = Math.min(retryAtMs, await this.#start(name, { runtime: current, endedMs, signal }));
    }
    const failedAll = retryAtMs !== Infinity;
    return { again: !failedAll && (plan.start.length > 0 || plan.kill.length > 0), retryAtMs };
  }

  #graceSeconds(): number {
    return this.#options.state.pod.spec?.terminationGracePeriodSeconds ?? 30;
  }

  async #kill(
    { container, message, reason }: ContainerKill,
    { runtime, signal }: { readonly runtime: PodRuntime; readonly signal: AbortSignal },
  ): Promise<void> {
    const { dependencies, state } = this.#options;
    if (reason === 'unknown') {
      await dependencies.cri.removeContainer({ containerId: container.id });
      return;
    }
    await stopContainer(dependencies, {
      pod: state.pod,
      runtime,
      container,
      graceSeconds: this.#ownGraceSeconds(container.name, reason) ?? this.#graceSeconds(),
      message,
      signal,
    });
  }

  /** After a failed probe, or a restart of all containers, which does not wait for a grace period. */
  #ownGraceSeconds(name: string, reason: ContainerKill['reason']): number | undefined {
    const spec = findContainer(this.#options.state.pod, name);
    if (reason === 'restart-all') return 0;
    if (reason === 'liveness') return spec?.livenessProbe?.terminationGracePeriodSeconds;
    return reason === 'startup' ? spec?.startupProbe?.terminationGracePeriodSeconds : undefined;
  }

  /** Returns when to retry; Infinity when it runs. */
  async #start(
    name: string,
    {
      runtime,
      endedMs,
      signal,
    }: {
      readonly runtime: PodRuntime;
      readonly endedMs: number | undefined;
      readonly signal: AbortSignal;
    },
  ): Promise<number> {
    const { dependencies, state, resize, reporter } = this.#options;
    const { maximumBackoffMs: maximumMs } = dependencies;
    const sandbox = activeSandbox(runtime);
    if (!sandbox) return dependencies.clock.now();
    try {
      await startContainer(dependencies, {
        pod: state.known(),
        name,
        runtime,
        sandboxId: sandbox.id,
        sandboxConfig: await this.#sandboxes.config(state.pod, sandbox.attempt),
        podIPs: state.podIPs(runtime),
        volumes: this.#volumes?.paths ?? new Map(),
        signal,
      });
      resize.started(name);
      if (endedMs !== undefined)
        this.#backoffs.set(name, nextBackoff(this.#backoffs.get(name), { endedMs, maximumMs }));
      reporter.waiting.delete(name);
      this.#refusedUntilMs.delete(name);
      await this.#removeOldRuns(name);
      return Infinity;
    } catch (error) {
      if (!(error instanceof StartFailure)) throw error;
      return this.#startFailed(name, { error, endedMs });
    }
  }

  async #startFailed(
    name: string,
    { error, endedMs }: { readonly error: StartFailure; readonly endedMs: number | undefined },
  ): Promise<number> {
    const { dependencies, reporter } = this.#options;
    const { maximumBackoffMs: maximumMs } = dependencies;
    const nowMs = dependencies.clock.now();
    reporter.waiting.set(name, { reason: error.reason, message: error.message });
    if (error.reason === 'RunContainerError' || error.startedId)
      this.#backoffs.set(
        name,
        nextBackoff(this.#backoffs.get(name), { endedMs: endedMs ?? nowMs, maximumMs }),
      );
    if (error.startedId) await this.#stopAfterHook(error.startedId);
    if (error.reason === 'CreateContainerError' && error.retryAtMs !== undefined)
      this.#refusedUntilMs.set(name, error.retryAtMs);
    return error.retryAtMs ?? dependencies.clock.now();
  }

  async #stopAfterHook(startedId: string): Promise<void> {
    const { dependencies, state } = this.#options;
    const runtime = await dependencies.view.pod(state.uid);
    const container = runtime.containers.find(({ id }) => id === startedId);
    if (container)
      await stopContainer(dependencies, {
        pod: state.pod,
        runtime,
        container,
        graceSeconds: this.#graceSeconds(),
        message: 'FailedPostStartHook',
      });
  }

  /** Keeps the run before the newest one, for `kubectl logs --previous` and the last state; the newest may have ended already. */
  async #removeOldRuns(name: string): Promise<void> {
    const { dependencies, state } = this.#options;
    const { containers } = await dependencies.view.pod(state.uid);
    const dead = containers
      .filter((container) => container.name === name)
      .slice(2)
      .filter(({ phase }) => phase === 'exited');
    for (const { id, logPath } of dead) {
      await dependencies.cri.removeContainer({ containerId: id }).catch(() => {});
      if (logPath) await rm(logPath, { force: true });
    }
  }
}
