/**
 * The probes of one pod: one worker per container and kind, each with its own timer; results by container id. Thresholds, holding and the order of
 * startup before the others are upstream's (kubelet/prober/worker).
 *
 *   container runs ──initialDelay──► probe every period ──threshold reached──► verdict changes: the pod's worker is notified
 *   liveness or startup failed: no more probes until the container was replaced
 */
import type { ContainerStatus, Pod, Probe } from '#api/types.ts';
import type { EventRecorder } from '#client/events.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import type { CriClient } from '../../cri/client.ts';
import { RUNTIME_NAME } from '../pod/container-status.ts';
import type { ProbeState } from '../pod/decide.ts';
import { type AnyContainer } from '../pod/restart-policy.ts';
import { latestContainer, type PodRuntime, type RuntimeContainer } from '../runtime-view.ts';
import { runProbe } from './probe.ts';

type Kind = 'liveness' | 'readiness' | 'startup';
type Verdict = 'success' | 'failure' | 'unknown';

interface PodProbesOptions {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly events: EventRecorder;
  /** A verdict changed. */
  readonly onChange: () => void;
}

/** Probes of one kind made on one container that came to the same. */
export interface ProbeCount {
  readonly container: string;
  readonly kind: Kind;
  readonly result: 'successful' | 'failed' | 'unknown';
  readonly count: number;
}

const RESULTS = { success: 'successful', failure: 'failed', error: 'unknown' } as const;

const KINDS: readonly Kind[] = ['startup', 'readiness', 'liveness'];
const TITLES: Readonly<Record<Kind, string>> = {
  liveness: 'Liveness',
  readiness: 'Readiness',
  startup: 'Startup',
};

export class PodProbes {
  readonly #options: PodProbesOptions;
  readonly #workers = new Map<string, Worker>();

  constructor(options: PodProbesOptions) {
    this.#options = options;
  }

  /** Updates the running containers. */
  sync(pod: Pod, { runtime, podIP }: { readonly runtime: PodRuntime; readonly podIP: string }): void {
    for (const container of probedContainers(pod)) {
      for (const kind of KINDS) {
        const probe = probeOf(container, kind);
        if (!probe) continue;
        const key = `${container.name}/${kind}`;
        const worker =
          this.#workers.get(key) ??
          new Worker(
            kind,
            this.#options,
            () => this.#verdict(container.name, 'startup'),
            () => this.#startupPassed(container.name),
          );
        this.#workers.set(key, worker);
        worker.sync({ pod, container, probe, podIP, running: runningContainer(runtime, container.name) });
      }
    }
  }

  counts(): ProbeCount[] {
    return Array.from(this.#workers).flatMap(([key, { kind, made }]) =>
      Array.from(made, ([result, count]) => ({
        container: key.slice(0, key.indexOf('/')),
        kind,
        result,
        count,
      })),
    );
  }

  states(): Map<string, ProbeState> {
    const states = new Map<string, { liveness?: 'success' | 'failure'; startup?: Verdict }>();
    for (const { kind, containerId, verdict } of this.#workers.values()) {
      if (!containerId || kind === 'readiness') continue;
      const state = states.get(containerId) ?? {};
      if (kind === 'startup') state.startup = verdict;
      else if (verdict !== 'unknown') state.liveness = verdict;
      states.set(containerId, state);
    }
    return states;
  }

  isReady({ name, id }: RuntimeContainer): boolean {
    const worker = this.#workers.get(`${name}/readiness`);
    return !worker || (worker.containerId === id && worker.verdict === 'success');
  }

  isStarted({ name, id }: RuntimeContainer): boolean {
    const worker = this.#workers.get(`${name}/startup`);
    return !worker || (worker.containerId === id && worker.verdict === 'success');
  }

  /** The pod is terminating: only readiness probes continue. */
  stopLivenessAndStartup(): void {
    for (const worker of this.#workers.values()) if (worker.kind !== 'readiness') worker.stop();
  }

  stop(): void {
    for (const worker of this.#workers.values()) worker.stop();
  }

  #verdict(name: string, kind: Kind): Verdict | undefined {
    return this.#workers.get(`${name}/${kind}`)?.verdict;
  }

  /** The others need not wait for their next turn. */
  #startupPassed(name: string): void {
    for (const kind of ['readiness', 'liveness'] as const) this.#workers.get(`${name}/${kind}`)?.probeNow();
  }
}

function probedContainers(pod: Pod): AnyContainer[] {
  return [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? []).filter(isSidecar)];
}

function probeOf(container: AnyContainer, kind: Kind): Probe | undefined {
  return {
    liveness: container.livenessProbe,
    readiness: container.readinessProbe,
    startup: container.startupProbe,
  }[kind];
}

function runningContainer(runtime: PodRuntime, name: string): RuntimeContainer | undefined {
  const latest = latestContainer(runtime, name);
  return latest?.phase === 'running' ? latest : undefined;
}

interface Target {
  readonly pod: Pod;
  readonly container: AnyContainer;
  readonly probe: Probe;
  readonly podIP: string;
  readonly running: RuntimeContainer | undefined;
}

class Worker {
  readonly kind: Kind;
  containerId: string | undefined;
  verdict: Verdict;
  /** How often which result came out. */
  readonly made = new Map<ProbeCount['result'], number>();
  readonly #options: PodProbesOptions;
  readonly #startup: () => Verdict | undefined;
  readonly #onStartup: () => void;
  #target: Target | undefined;
  #timer: Timer | undefined;
  #inARow = 0;
  #last: 'success' | 'failure' | undefined;
  #onHold = false;
  #probing = false;
  #stopped = false;

  constructor(
    kind: Kind,
    options: PodProbesOptions,
    startup: () => Verdict | undefined,
    onStartup: () => void,
  ) {
    this.kind = kind;
    this.#options = options;
    this.#startup = startup;
    this.#onStartup = onStartup;
    this.verdict = initialVerdict(kind);
  }

  sync(target: Target): void {
    this.#target = target;
    const id = target.running?.id;
    if (id === this.containerId) return;
    this.containerId = id;
    this.#onHold = false;
    this.#inARow = 0;
    this.#last = undefined;
    this.verdict =
      id === undefined
        ? initialVerdict(this.kind)
        : (adoptedVerdict(this.kind, target) ?? initialVerdict(this.kind));
    this.#timer?.cancel();
    this.#timer = undefined;
    if (id !== undefined && !this.#stopped) void this.#tick();
  }

  probeNow(): void {
    if (this.#stopped || this.#probing || this.containerId === undefined) return;
    this.#timer?.cancel();
    void this.#tick();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #tick(): Promise<void> {
    const target = this.#target;
    if (this.#stopped || this.#probing || !target?.running) return;
    const { clock } = this.#options;
    const nextMs = clock.monotonic() + (target.probe.periodSeconds ?? 10) * 1000;
    if (this.#isDue(target)) {
      this.#probing = true;
      try {
        await this.#probe(target, target.running);
      } finally {
        this.#probing = false;
      }
    }
    if (this.#stopped || this.containerId === undefined) return;
    this.#timer?.cancel();
    // Another container came while this one was probed: it does not wait for the old one's turn.
    const delayMs = this.containerId === target.running.id ? Math.max(0, nextMs - clock.monotonic()) : 0;
    this.#timer = clock.after(delayMs, () => void this.#tick());
  }

  #isDue({ probe, running }: Target): boolean {
    if (this.#onHold) return false;
    const startup = this.#startup();
    if (this.kind === 'startup' ? this.verdict === 'success' : startup !== undefined && startup !== 'success')
      return false;
    return this.#options.clock.now() - (running?.startedAtMs ?? 0) >= (probe.initialDelaySeconds ?? 0) * 1000;
  }

  async #probe({ pod, container, probe, podIP }: Target, { id }: RuntimeContainer): Promise<void> {
    const { cri, events, onChange } = this.#options;
    const { result, output, warns } = await runProbe(probe, { cri, container, containerId: id, podIP });
    this.made.set(RESULTS[result], (this.made.get(RESULTS[result]) ?? 0) + 1);
    if (this.#stopped || this.containerId !== id) return;
    const fieldPath = `spec.${pod.spec?.containers.includes(container) ? 'containers' : 'initContainers'}{${container.name}}`;
    if (result === 'error') {
      events.event(pod, {
        type: 'Warning',
        reason: 'Unhealthy',
        message: `${TITLES[this.kind]} probe errored and resulted in unknown state: ${output}`,
        fieldPath,
      });
      return;
    }
    if (warns)
      events.event(pod, {
        type: 'Warning',
        reason: 'ProbeWarning',
        message: `${TITLES[this.kind]} probe warning: ${output}`,
        fieldPath,
      });
    if (result === 'failure')
      events.event(pod, {
        type: 'Warning',
        reason: 'Unhealthy',
        message: `${TITLES[this.kind]} probe failed: ${output}`,
        fieldPath,
      });
    this.#inARow = this.#last === result ? this.#inARow + 1 : 1;
    this.#last = result;
    const threshold = result === 'success' ? (probe.successThreshold ?? 1) : (probe.failureThreshold ?? 3);
    if (this.#inARow < threshold) return;
    const changed = this.verdict !== result;
    this.verdict = result;
    if (result === 'failure' && this.kind !== 'readiness') {
      // It will be replaced: until then there is nothing to find out.
      this.#onHold = true;
      this.#inARow = 0;
    }
    if (!changed) return;
    if (this.kind === 'startup' && result === 'success') this.#onStartup();
    onChange();
  }
}

function initialVerdict(kind: Kind): Verdict {
  return kind === 'liveness' ? 'success' : kind === 'readiness' ? 'failure' : 'unknown';
}

/** A container that an earlier agent probed keeps the result of its status. */
function adoptedVerdict(kind: Kind, { pod, container, running }: Target): Verdict | undefined {
  const statuses: readonly ContainerStatus[] = [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
  ];
  const before = statuses.find(({ name }) => name === container.name);
  if (!running || before?.containerID !== `${RUNTIME_NAME}://${running.id}`) return undefined;
  if (kind === 'readiness' && before.ready) return 'success';
  return kind === 'startup' && before.started ? 'success' : undefined;
}
