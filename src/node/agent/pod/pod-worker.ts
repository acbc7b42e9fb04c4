/**
 * Takes one pod through its life on this node. Looks at the runtime, lets decide() decide, acts, writes the status; one step at a time. What it
 * remembers (backoffs, verdicts, errors) is not needed to go on: a new worker adopts what runs.
 *
 *   working --deletion | deadline | all containers ended--> ending: containers stopped, then sandbox --> ended: volumes and cgroup gone, last status
 *      working or ended --pod gone from the API--> removed: nothing of it is left on the node
 */
import { rm } from 'node:fs/promises';
import type { Pod, PodStatus } from '#api/types.ts';
import { runtimeClasses } from '#client/refs.ts';
import { backoffMs } from '#stdx/backoff.ts';
import { errorMessage } from '#stdx/log.ts';
import { isCriError } from '../../cri/errors.ts';
import type { CriInput, PodSandboxConfig } from '../../cri/types.ts';
import { podCgroup } from '../config/resources.ts';
import { sandboxConfig } from '../config/sandbox.ts';
import { runtimeErrorText } from '../cri-text.ts';
import { PodProbes, type ProbeCount } from '../probes/pod-probes.ts';
import { activeSandbox, latestContainer, type PodRuntime, type RuntimeContainer } from '../runtime-view.ts';
import { SerialRunner } from '../serial-runner.ts';
import { VolumeSetupError, type PreparedVolumes } from '../volumes/pod-volumes.ts';
import { startContainer, StartFailure } from './container-start.ts';
import { stopContainer, stopPod } from './container-stop.ts';
import type { WaitingReason } from './container-status.ts';
import { decide, type ContainerKill, type PodPlan } from './decide.ts';
import { podLogDirectory, podText, terminationLabels, type AgentParts } from './parts.ts';
import { goSeconds, nextBackoff, type BackoffRecord } from './restart-backoff.ts';
import { PodResize } from './resize.ts';
import { findContainer } from './restart-policy.ts';
import { isFinished, podStatus } from './status.ts';
import { terminationMessage } from './termination-message.ts';

const RETRY = { initialMs: 500, maximumMs: 122_000 };
const SANDBOX_RETRY = { initialMs: 1_000, maximumMs: 60_000 };
const REFRESH_MS = 60_000;
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
/** Decide, act, look again: so often at once at most. */
const MAX_ROUNDS = 4;

export interface PodWorkerOptions {
  readonly parts: AgentParts;
  readonly pod: Pod;
  /** Nothing of the pod is left. */
  readonly onRemoved: () => void;
}

export class PodWorker {
  readonly uid: string;
  readonly #parts: AgentParts;
  readonly #onRemoved: () => void;
  readonly #runner: SerialRunner;
  readonly #probes: PodProbes;
  readonly #resize: PodResize;
  readonly #waiting = new Map<string, WaitingReason>();
  readonly #backoffs = new Map<string, BackoffRecord>();
  /** Containers the runtime refused to create, by name: not before then again, whatever wakes the worker meanwhile (their own status does). */
  readonly #refusedUntilMs = new Map<string, number>();
  readonly #messages = new Map<string, string>();
  /** As the API has it, and as the node runs it: with the resources that are allocated. */
  #desired: Pod;
  #pod: Pod;
  #status: PodStatus | undefined;
  #failure: { readonly reason: string; readonly message: string } | undefined;
  #gone = false;
  #ended = false;
  #stopping = false;
  #removed = false;
  #volumes: PreparedVolumes | undefined;
  #failures = 0;
  /** Ends what a step waits for (a pull, a hook) when the pod is to end instead. */
  #step = new AbortController();
  #hurry = new AbortController();
  #graceSeconds = Infinity;
  #sandboxFailures = 0;

  constructor({ parts, pod, onRemoved }: PodWorkerOptions) {
    this.uid = pod.metadata?.uid ?? '';
    this.#parts = parts;
    this.#desired = pod;
    this.#resize = new PodResize(parts, pod);
    this.#pod = this.#resize.allocated(pod);
    this.#onRemoved = onRemoved;
    this.#runner = new SerialRunner({ clock: parts.clock, work: () => this.#run() });
    this.#probes = new PodProbes({
      cri: parts.cri,
      clock: parts.clock,
      events: parts.events,
      onChange: () => this.#probesChanged(),
    });
    parts.objects.retain(pod);
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** As it was last computed; what the kubelet API and admission go by. */
  get status(): PodStatus | undefined {
    return this.#status;
  }

  get probeCounts(): ProbeCount[] {
    return this.#probes.counts();
  }
  get finished(): boolean {
    return isFinished(this.#status ?? this.#pod.status) || this.#removed;
  }

  /** The API has it no more. */
  get isGone(): boolean {
    return this.#gone;
  }

  get ending(): boolean {
    return this.#gone || this.#pod.metadata?.deletionTimestamp !== undefined;
  }

  wake(): void {
    this.#runner.wake();
  }

  /** While containers stop, which takes as long as they are given, the pod's readiness goes on. */
  #probesChanged(): void {
    if (this.#stopping) void this.#reportStopping();
    else this.wake();
  }

  async #reportStopping(): Promise<void> {
    try {
      const runtime = await this.#parts.view.pod(this.uid);
      if (this.#stopping) this.#report(runtime);
    } catch (error) {
      this.#parts.log.debug('readiness of a stopping pod not read', {
        pod: podText(this.#pod),
        error: errorMessage(error),
      });
    }
  }

  /** Another pod gave something back. */
  allocationChanged(): void {
    if (this.#resize.deferred) this.wake();
  }

  update(pod: Pod): void {
    const before = this.#pod;
    this.#desired = pod;
    this.#considerResize();
    this.#pod = this.#resize.allocated(pod);
    this.#parts.objects.retain(pod);
    if (pod.metadata?.deletionTimestamp && !before.metadata?.deletionTimestamp)
      this.#interrupt('the pod is being deleted');
    this.#shorten(
      pod.metadata?.deletionTimestamp ? (pod.metadata.deletionGracePeriodSeconds ?? 0) : Infinity,
    );
    this.wake();
  }

  /** The API has it no more. */
  gone(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#interrupt('the pod was deleted');
    if (!this.#ended)
      this.#shorten(
        this.#pod.metadata?.deletionTimestamp
          ? (this.#pod.metadata.deletionGracePeriodSeconds ?? 0)
          : Infinity,
      );
    this.wake();
  }

  /** The node gives it up: its containers end, its phase becomes Failed. */
  fail({
    reason,
    message,
    graceSeconds,
  }: {
    readonly reason: string;
    readonly message: string;
    readonly graceSeconds: number;
  }): void {
    if (this.finished || this.#failure) return;
    this.#failure = { reason, message };
    this.#graceSeconds = Math.min(this.#graceSeconds, graceSeconds);
    this.#interrupt(reason);
    this.wake();
  }

  /** The containers run on. */
  async stop(): Promise<void> {
    this.#interrupt('node agent stopped');
    this.#probes.stop();
    await this.#runner.stop();
  }

  #interrupt(why: string): void {
    this.#step.abort(new Error(why));
  }

  /** A shorter grace period than the one under way: stopping begins anew with it. */
  #shorten(graceSeconds: number): void {
    if (graceSeconds >= this.#graceSeconds) return;
    const underWay = this.#graceSeconds !== Infinity;
    this.#graceSeconds = graceSeconds;
    if (!underWay || this.#ended) return;
    this.#hurry.abort(new Error('a shorter grace period was asked for'));
    void this.#parts.view
      .pod(this.uid)
      .then(({ containers }) =>
        Promise.all(
          containers
            .filter(({ phase }) => phase === 'running')
            .map(({ id }) => this.#parts.cri.stopContainer({ containerId: id, timeout: graceSeconds })),
        ),
      )
      .catch(() => {});
  }

  async #run(): Promise<number | undefined> {
    if (this.#removed) return undefined;
    if (this.#step.signal.aborted) this.#step = new AbortController();
    try {
      const nextAtMs = await this.#advance();
      this.#failures = 0;
      return nextAtMs;
    } catch (error) {
      if (this.#step.signal.aborted) return this.#parts.clock.now();
      this.#say(error);
      const delayMs = backoffMs(this.#failures, RETRY);
      this.#failures += 1;
      return this.#parts.clock.now() + delayMs;
    }
  }

  #say(error: unknown): void {
    const { events, log } = this.#parts;
    if (error instanceof VolumeSetupError) {
      events.event(this.#pod, { type: 'Warning', reason: 'FailedMount', message: error.message });
      return;
    }
    log.warn('pod not brought forward', {
      pod: podText(this.#pod),
      error: isCriError(error) ? runtimeErrorText(error) : errorMessage(error),
    });
    if (!isCriError(error, 'unavailable'))
      events.event(this.#pod, {
        type: 'Warning',
        reason: 'FailedSync',
        message: `error determining status: ${isCriError(error) ? runtimeErrorText(error) : errorMessage(error)}`,
      });
  }

  /** One step; answers when the next one is due. */
  async #advance(): Promise<number | undefined> {
    const runtime = await this.#parts.view.pod(this.uid);
    await this.#readMessages(runtime);
    if (this.#gone) return this.#remove(runtime);
    if (this.#ended) return undefined;
    this.#checkDeadline();
    if (this.#pod.metadata?.deletionTimestamp || this.#failure || isFinished(this.#known().status))
      return this.#end(runtime);
    this.#syncProbes(runtime);
    this.#considerResize();
    const computed = this.#report(runtime);
    if (isFinished(computed)) return this.#end(runtime);
    return this.#work(runtime);
  }

  /** At once when another generation comes: a status that says that it was seen also says what became of its resources. */
  #considerResize(): void {
    if (this.ending || this.finished || !this.#resize.consider(this.#desired)) return;
    this.#pod = this.#resize.allocated(this.#desired);
    this.#parts.allocationChanged();
  }

  #checkDeadline(): void {
    const seconds = this.#pod.spec?.activeDeadlineSeconds;
    const startTime = this.#known().status?.startTime;
    if (seconds === undefined || startTime === undefined || this.#failure) return;
    if (this.#parts.clock.now() - Date.parse(startTime) < seconds * 1000) return;
    this.#failure = {
      reason: 'DeadlineExceeded',
      message: 'Pod was active on the node longer than the specified deadline',
    };
    this.#parts.events.event(this.#pod, {
      type: 'Normal',
      reason: 'DeadlineExceeded',
      message: this.#failure.message,
    });
  }

  #deadlineMs(): number {
    const seconds = this.#pod.spec?.activeDeadlineSeconds;
    const startTime = this.#known().status?.startTime;
    return seconds === undefined || startTime === undefined
      ? Infinity
      : Date.parse(startTime) + seconds * 1000;
  }

  /** The pod with the status that this worker computed last: the API's copy of it lags behind. Conditions of others are the API's. */
  #known(): Pod {
    if (!this.#status) return this.#pod;
    const others = (this.#pod.status?.conditions ?? []).filter(({ type }) => !OWN_CONDITIONS.has(type));
    return {
      ...this.#pod,
      status: {
        ...this.#pod.status,
        ...this.#status,
        conditions: [...(this.#status.conditions ?? []), ...others],
      },
    };
  }

  #podIPs(runtime: PodRuntime): readonly string[] {
    return this.#pod.spec?.hostNetwork ? this.#parts.hostIPs : (activeSandbox(runtime)?.ips ?? []);
  }

  #syncProbes(runtime: PodRuntime): void {
    this.#probes.sync(this.#pod, { runtime, podIP: this.#podIPs(runtime)[0] ?? '' });
  }

  async #readMessages(runtime: PodRuntime): Promise<void> {
    const ids = new Set(runtime.containers.map(({ id }) => id));
    for (const id of this.#messages.keys()) if (!ids.has(id)) this.#messages.delete(id);
    for (const container of runtime.containers) {
      if (container.phase !== 'exited' || this.#messages.has(container.id)) continue;
      this.#messages.set(container.id, await terminationMessage(container));
      this.#parts.terminations.add(terminationLabels(this.#pod, container));
    }
  }

  #computeStatus(runtime: PodRuntime, terminal: boolean): PodStatus {
    const { hostIPs, clock } = this.#parts;
    for (const name of this.#waiting.keys())
      if (latestContainer(runtime, name)?.phase === 'running') this.#waiting.delete(name);
    return podStatus({
      pod: this.#known(),
      runtime,
      waiting: this.#waiting,
      messages: this.#messages,
      terminal,
      hostIPs,
      nowMs: clock.now(),
      failure: this.#failure,
      resize: terminal ? [] : this.#resize.conditions(),
      actualResources: (name) => this.#resize.actual(name),
      isReady: (container) => this.#probes.isReady(container),
      isStarted: (container) => this.#probes.isStarted(container),
    });
  }

  #report(runtime: PodRuntime): PodStatus {
    this.#status = this.#computeStatus(runtime, false);
    this.#parts.statuses.set(this.#pod, this.#status);
    return this.#status;
  }

  async #work(first: PodRuntime): Promise<number | undefined> {
    const { clock } = this.#parts;
    let runtime = first;
    let nextAtMs = Math.min(this.#deadlineMs(), clock.now() + REFRESH_MS);
    await this.#prepareVolumes(runtime);
    if (this.#volumes?.renewAtMs !== undefined) nextAtMs = Math.min(nextAtMs, this.#volumes.renewAtMs);
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const { restart, retryAtMs } = await this.#resize.actuate(this.#pod, runtime);
      nextAtMs = Math.min(nextAtMs, retryAtMs);
      const plan = decide({
        pod: this.#pod,
        runtime,
        probes: this.#probes.states(),
        backoffs: this.#backoffs,
        nowMs: clock.now(),
        resized: restart,
      });
      for (const { untilMs } of plan.wait) nextAtMs = Math.min(nextAtMs, untilMs);
      this.#noteWaiting(plan);
      const acted = await this.#act(plan, runtime);
      nextAtMs = Math.min(nextAtMs, acted.retryAtMs);
      runtime = await this.#parts.view.pod(this.uid);
      await this.#readMessages(runtime);
      this.#syncProbes(runtime);
      if (isFinished(this.#report(runtime))) return this.#end(runtime);
      if (!acted.again) break;
    }
    return nextAtMs;
  }

  async #prepareVolumes(runtime: PodRuntime): Promise<void> {
    const { volumes, hostIPs, nodeName } = this.#parts;
    try {
      this.#volumes = await volumes.prepare(this.#pod, {
        pod: this.#pod,
        podIPs: this.#podIPs(runtime),
        hostIPs,
        nodeName,
        allocatable: this.#parts.allocatable(),
      });
    } catch (error) {
      // What runs goes on with what it has.
      if (!this.#volumes || !runtime.containers.some(({ phase }) => phase === 'running')) throw error;
      this.#say(error);
    }
  }

  #noteWaiting({ wait }: PodPlan): void {
    for (const { name, delayMs } of wait) {
      const message = `back-off ${goSeconds(delayMs)} restarting failed container=${name} pod=${podText(this.#pod)}`;
      if (this.#waiting.get(name)?.reason !== 'CrashLoopBackOff') {
        this.#parts.events.event(this.#pod, {
          type: 'Warning',
          reason: 'BackOff',
          message: `Back-off restarting failed container ${name} in pod ${podText(this.#pod)}`,
        });
      }
      this.#waiting.set(name, { reason: 'CrashLoopBackOff', message });
    }
  }

  /** again: look and decide anew at once. */
  async #act(
    plan: PodPlan,
    runtime: PodRuntime,
  ): Promise<{ readonly again: boolean; readonly retryAtMs: number }> {
    const graceSeconds = this.#pod.spec?.terminationGracePeriodSeconds ?? 30;
    if (plan.stopAll)
      await stopPod(this.#parts, { pod: this.#pod, runtime, graceSeconds, signal: this.#step.signal });
    if (plan.createSandbox !== undefined) {
      await this.#createSandbox(plan.createSandbox);
      return { again: true, retryAtMs: Infinity };
    }
    await Promise.all(plan.kill.map((kill) => this.#kill(kill, runtime, graceSeconds)));
    let retryAtMs = Infinity;
    let current = runtime;
    for (const { name, endedMs } of plan.start) {
      this.#step.signal.throwIfAborted();
      const untilMs = this.#refusedUntilMs.get(name) ?? 0;
      if (untilMs > this.#parts.clock.now()) {
        retryAtMs = Math.min(retryAtMs, untilMs);
        continue;
      }
      if (plan.kill.length > 0) current = await this.#parts.view.pod(this.uid);
      retryAtMs = Math.min(retryAtMs, await this.#start(name, current, endedMs));
    }
    const failedAll = retryAtMs !== Infinity;
    return { again: !failedAll && (plan.start.length > 0 || plan.kill.length > 0), retryAtMs };
  }

  async #kill(
    { container, message, reason }: ContainerKill,
    runtime: PodRuntime,
    graceSeconds: number,
  ): Promise<void> {
    if (reason === 'unknown') {
      await this.#parts.cri.removeContainer({ containerId: container.id });
      return;
    }
    const spec = findContainer(this.#pod, container.name);
    const own =
      reason === 'restart-all'
        ? 0
        : reason === 'liveness'
          ? spec?.livenessProbe?.terminationGracePeriodSeconds
          : reason === 'startup'
            ? spec?.startupProbe?.terminationGracePeriodSeconds
            : undefined;
    await stopContainer(this.#parts, {
      pod: this.#pod,
      runtime,
      container,
      graceSeconds: own ?? graceSeconds,
      message,
      signal: this.#step.signal,
    });
  }

  async #sandboxConfig(attempt: number): Promise<CriInput<PodSandboxConfig>> {
    const { cgroupRoot, logsDir } = this.#parts;
    const { path } = podCgroup(this.#pod.spec ?? { containers: [] }, { root: cgroupRoot, uid: this.uid });
    return sandboxConfig({
      pod: this.#pod,
      attempt,
      logDirectory: podLogDirectory(logsDir, this.#pod),
      cgroupParent: path,
      dns: await this.#parts.dns(),
    });
  }

  async #createSandbox(attempt: number): Promise<void> {
    const { cri, cgroups, cgroupRoot, clock, events } = this.#parts;
    const cgroup = podCgroup(this.#pod.spec ?? { containers: [] }, { root: cgroupRoot, uid: this.uid });
    await cgroups.ensure(cgroup);
    this.#resize.cgroupMade(cgroup);
    const [config, runtimeHandler] = await Promise.all([
      this.#sandboxConfig(attempt),
      this.#runtimeHandler(),
    ]);
    this.#parts.expectChange();
    try {
      await cri.runPodSandbox({ config, runtimeHandler });
      this.#sandboxFailures = 0;
    } catch (error) {
      events.event(this.#pod, {
        type: 'Warning',
        reason: 'FailedCreatePodSandBox',
        message: `Failed to create pod sandbox: ${runtimeErrorText(error)}`,
      });
      await clock.sleep(backoffMs(this.#sandboxFailures, SANDBOX_RETRY), this.#step.signal);
      this.#sandboxFailures += 1;
      throw error;
    }
  }

  async #runtimeHandler(): Promise<string> {
    const name = this.#pod.spec?.runtimeClassName;
    if (!name) return '';
    const found = await this.#parts.api.get(runtimeClasses, { name });
    // runc is this node's default, whatever it is called.
    return found.handler === 'runc' ? '' : found.handler;
  }

  /** Answers when it is to be tried again; Infinity when it runs. */
  async #start(name: string, runtime: PodRuntime, endedMs: number | undefined): Promise<number> {
    const sandbox = activeSandbox(runtime);
    if (!sandbox) return this.#parts.clock.now();
    try {
      await startContainer(this.#parts, {
        pod: this.#known(),
        name,
        runtime,
        sandboxId: sandbox.id,
        sandboxConfig: await this.#sandboxConfig(sandbox.attempt),
        podIPs: this.#podIPs(runtime),
        volumes: this.#volumes?.paths ?? new Map(),
        signal: this.#step.signal,
      });
      this.#resize.started(name);
      if (endedMs !== undefined) this.#backoffs.set(name, nextBackoff(this.#backoffs.get(name), endedMs));
      this.#waiting.delete(name);
      this.#refusedUntilMs.delete(name);
      await this.#removeOldRuns(name);
      return Infinity;
    } catch (error) {
      if (!(error instanceof StartFailure)) throw error;
      this.#waiting.set(name, { reason: error.reason, message: error.message });
      if (error.reason === 'RunContainerError' || error.startedId)
        this.#backoffs.set(name, nextBackoff(this.#backoffs.get(name), endedMs ?? this.#parts.clock.now()));
      if (error.startedId) await this.#stopAfterHook(error);
      if (error.reason === 'CreateContainerError' && error.retryAtMs !== undefined)
        this.#refusedUntilMs.set(name, error.retryAtMs);
      return error.retryAtMs ?? this.#parts.clock.now();
    }
  }

  async #stopAfterHook({ startedId }: StartFailure): Promise<void> {
    const runtime = await this.#parts.view.pod(this.uid);
    const container = runtime.containers.find(({ id }) => id === startedId);
    const graceSeconds = this.#pod.spec?.terminationGracePeriodSeconds ?? 30;
    if (container)
      await stopContainer(this.#parts, {
        pod: this.#pod,
        runtime,
        container,
        graceSeconds,
        message: 'FailedPostStartHook',
      });
  }

  /** The run before the newest one stays, for `kubectl logs --previous` and the last state; the newest may have ended already. */
  async #removeOldRuns(name: string): Promise<void> {
    const { containers } = await this.#parts.view.pod(this.uid);
    const dead = containers
      .filter((container) => container.name === name)
      .slice(2)
      .filter(({ phase }) => phase === 'exited');
    for (const { id, logPath } of dead) {
      await this.#parts.cri.removeContainer({ containerId: id }).catch(() => {});
      if (logPath) await rm(logPath, { force: true });
    }
  }

  /** Stops everything, then says the last word: the pod's final status, and its removal when it was deleted. */
  async #end(first: PodRuntime): Promise<number | undefined> {
    const { clock, statuses } = this.#parts;
    const deleted = this.#pod.metadata?.deletionTimestamp !== undefined;
    const graceSeconds = this.#grace();
    this.#probes.stopLivenessAndStartup();
    this.#syncProbes(first);
    if (first.containers.some(({ phase }) => phase === 'running')) this.#report(first);
    this.#stopping = true;
    await this.#stopEverything(first, graceSeconds).finally(() => {
      this.#stopping = false;
    });
    this.#probes.stop();
    const runtime = await this.#parts.view.pod(this.uid);
    if (isAlive(runtime)) return clock.now();
    await this.#readMessages(runtime);
    this.#status = this.#finalStatus(runtime);
    await this.#tearDown();
    if (!deleted && this.#pod.metadata?.deletionTimestamp) return clock.now();
    this.#ended = deleted;
    if (deleted) statuses.setAndRemove(this.#pod, this.#status);
    else statuses.set(this.#pod, this.#status);
    return undefined;
  }

  /** Of a pod that ended in an earlier life of this agent, or never began here, the API knows more than the runtime. */
  #finalStatus(runtime: PodRuntime): PodStatus {
    const known = this.#pod.status;
    if (known && isFinished(known) && runtime.containers.length === 0 && !this.#failure) return known;
    return this.#computeStatus(runtime, true);
  }

  #grace(): number {
    const { deletionTimestamp, deletionGracePeriodSeconds } = this.#pod.metadata ?? {};
    if (deletionTimestamp) this.#graceSeconds = Math.min(this.#graceSeconds, deletionGracePeriodSeconds ?? 0);
    return this.#graceSeconds === Infinity
      ? (this.#pod.spec?.terminationGracePeriodSeconds ?? 30)
      : this.#graceSeconds;
  }

  async #stopEverything(runtime: PodRuntime, graceSeconds: number): Promise<void> {
    if (!isAlive(runtime)) return;
    if (this.#hurry.signal.aborted) this.#hurry = new AbortController();
    // A pod whose API object is gone already gets a moment, not its whole period.
    await stopPod(this.#parts, { pod: this.#pod, runtime, graceSeconds, signal: this.#hurry.signal });
  }

  /** What a pod that ended needs no more. Its containers' records and logs stay until it is deleted. */
  async #tearDown(): Promise<void> {
    const { volumes, cgroups, cgroupRoot, tokens, images } = this.#parts;
    await volumes.remove(this.uid);
    await cgroups.remove(
      podCgroup(this.#pod.spec ?? { containers: [] }, { root: cgroupRoot, uid: this.uid }).path,
    );
    tokens.forget(this.uid);
    images.forget(this.uid);
  }

  async #remove(runtime: PodRuntime): Promise<undefined> {
    const { cri, statuses, objects, logsDir } = this.#parts;
    this.#probes.stop();
    await this.#stopEverything(runtime, this.#grace());
    for (const { id } of runtime.containers) await cri.removeContainer({ containerId: id });
    for (const { id } of runtime.sandboxes) await cri.removePodSandbox({ podSandboxId: id });
    await this.#tearDown();
    await rm(podLogDirectory(logsDir, this.#pod), { recursive: true, force: true });
    objects.release(this.uid);
    statuses.forget(this.uid);
    this.#removed = true;
    this.#onRemoved();
    return undefined;
  }
}

function isAlive(runtime: PodRuntime): boolean {
  return (
    runtime.sandboxes.some(({ ready }) => ready) ||
    runtime.containers.some(({ phase }: RuntimeContainer) => phase === 'running')
  );
}
