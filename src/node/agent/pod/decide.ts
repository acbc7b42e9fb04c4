/**
 * Computes the actions for a running pod from its spec, its runtime state and its probes. Pure; the pod's worker executes them and calls again.
 * Follows upstream's kuberuntime computePodActions.
 *
 *   no ready sandbox ──► stop the rest, create one ──► init containers in order, sidecars stay ──► all containers together
 *      a container ended with RestartAllContainers: kill the running ones first ──► init containers in order
 *      a container ended: restart after its backoff, by its policy | nothing left to run: stop the sandbox, the pod has finished
 */
import type { Container, Pod } from '#api/types.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import { endsRound, leftovers, readRound, roundOfRun } from './restart-all.ts';
import {
  latestContainer,
  type PodRuntime,
  type RuntimeContainer,
  type RuntimeSandbox,
} from '../runtime-view.ts';
import { backoffUntilMs, type BackoffRecord } from './restart-backoff.ts';
import {
  containerHash,
  initRestartsAfter,
  podRestartPolicy,
  restartsAfter,
  shouldRun,
  type AnyContainer,
} from './restart-policy.ts';

/** What probes say of a running container; keyed by container id in ProbeResults. */
export interface ProbeState {
  /** Absent: no probe, or no verdict yet. */
  readonly liveness?: 'success' | 'failure';
  /** Absent: no startup probe. */
  readonly startup?: 'success' | 'failure' | 'unknown';
}

interface Situation {
  readonly pod: Pod;
  readonly runtime: PodRuntime;
  readonly probes: ReadonlyMap<string, ProbeState>;
  /** By container name. */
  readonly backoffs: ReadonlyMap<string, BackoffRecord>;
  readonly nowMs: number;
  /** Names of running containers whose new resources need a new container. */
  readonly resized?: ReadonlySet<string>;
}

export interface ContainerKill {
  readonly container: RuntimeContainer;
  readonly message: string;
  readonly reason: 'liveness' | 'startup' | 'changed' | 'resized' | 'restart-all' | 'unknown';
}
interface ContainerStart {
  readonly name: string;
  readonly kind: 'init' | 'container' | 'ephemeral';
  /** When the run before ended. */ readonly endedMs: number | undefined;
}
interface ContainerWait {
  readonly name: string;
  readonly untilMs: number;
  readonly delayMs: number;
}

export interface PodPlan {
  /** Stops everything of the pod in the runtime: for a new sandbox, or because the pod has finished. */
  readonly stopAll: boolean;
  /** The number of the sandbox to create; then the starts are for it. */
  readonly createSandbox: number | undefined;
  readonly kill: readonly ContainerKill[];
  readonly start: readonly ContainerStart[];
  /** In CrashLoopBackOff. */
  readonly wait: readonly ContainerWait[];
}

const NOTHING: PodPlan = { stopAll: false, createSandbox: undefined, kill: [], start: [], wait: [] };

export function decide(situation: Situation): PodPlan {
  const { pod, runtime } = situation;
  const sandbox = usableSandbox(runtime);
  if (!sandbox) return freshSandbox(situation);
  const stale = leftovers(pod, runtime);
  if (stale.length > 0)
    return {
      ...NOTHING,
      kill: stale.map((container) => ({
        container,
        reason: 'restart-all',
        message: `Stopping container ${container.name}: all containers of the pod are restarted`,
      })),
    };
  const plan = new Plan(situation, sandbox);
  plan.ephemeral();
  if (!plan.initialize()) return plan.done();
  const running = plan.containers();
  // A sidecar alone does not keep a pod.
  if (!running && (pod.spec?.containers ?? []).length > 0) return { ...NOTHING, stopAll: true };
  return plan.done();
}

/** One that is ready and has an address; two of them are one too many. */
function usableSandbox(runtime: PodRuntime): RuntimeSandbox | undefined {
  if (runtime.sandboxes.filter(({ ready }) => ready).length > 1) return undefined;
  const [newest] = runtime.sandboxes;
  if (!newest?.ready) return undefined;
  return newest.hostNetwork || newest.ips.length > 0 ? newest : undefined;
}

function freshSandbox({ pod, runtime }: Situation): PodPlan {
  const attempt = (runtime.sandboxes[0]?.attempt ?? -1) + 1;
  const stopAll =
    runtime.sandboxes.some(({ ready }) => ready) ||
    runtime.containers.some(({ phase }) => phase === 'running');
  const containers = pod.spec?.containers ?? [];
  // What ran and may not run again is over: no sandbox for it.
  if (podRestartPolicy(pod) === 'Never' && attempt > 0 && runtime.containers.length > 0)
    return { ...NOTHING, stopAll };
  const left = containers.filter((container) =>
    shouldRun(pod, container, asEnded(latestOfRound(runtime, container.name, readRound(pod, runtime)))),
  );
  if (left.length === 0 && runtime.containers.length > 0) return { ...NOTHING, stopAll };
  const [firstInit] = pod.spec?.initContainers ?? [];
  const start: ContainerStart[] = firstInit
    ? [{ name: firstInit.name, kind: 'init', endedMs: undefined }]
    : left.map(({ name }) => ({ name, kind: 'container', endedMs: undefined }));
  return { ...NOTHING, stopAll, createSandbox: attempt, start };
}

function latestOfRound(runtime: PodRuntime, name: string, round: number): RuntimeContainer | undefined {
  const latest = latestContainer(runtime, name);
  return latest && roundOfRun(latest) >= round ? latest : undefined;
}

/** Its sandbox is gone: containers that seem to run end with it. */
function asEnded(container: RuntimeContainer | undefined): RuntimeContainer | undefined {
  return container?.phase === 'running' ? { ...container, phase: 'exited', exitCode: 137 } : container;
}

class Plan {
  readonly #situation: Situation;
  readonly #pod: Pod;
  readonly #sandbox: RuntimeSandbox;
  readonly #round: number;
  readonly #kill: ContainerKill[] = [];
  readonly #start: ContainerStart[] = [];
  readonly #wait: ContainerWait[] = [];
  #failed = false;

  constructor(situation: Situation, sandbox: RuntimeSandbox) {
    this.#situation = situation;
    this.#pod = situation.pod;
    this.#sandbox = sandbox;
    this.#round = readRound(situation.pod, situation.runtime);
  }

  done(): PodPlan {
    if (this.#failed) return { ...NOTHING, stopAll: true };
    return {
      stopAll: false,
      createSandbox: undefined,
      kill: this.#kill,
      start: this.#start,
      wait: this.#wait,
    };
  }

  /** They start once and never again. */
  ephemeral(): void {
    for (const { name } of this.#pod.spec?.ephemeralContainers ?? []) {
      if (!latestContainer(this.#situation.runtime, name))
        this.#start.push({ name, kind: 'ephemeral', endedMs: undefined });
    }
  }

  /** True when all init containers have done their part. */
  initialize(): boolean {
    const containers = this.#pod.spec?.initContainers ?? [];
    const initialized = (this.#pod.spec?.containers ?? []).some(({ name }) => this.#here(name) !== undefined);
    for (const container of containers) {
      if (isSidecar(container)) {
        const proceed = this.#sidecar(container);
        if (!proceed && !initialized) return false;
        continue;
      }
      if (!initialized && !this.#initContainer(container)) return false;
    }
    return true;
  }

  /** True when the next one may start. */
  #initContainer(container: Container): boolean {
    const status = this.#here(container.name);
    if (!status || status.phase === 'created' || status.phase === 'unknown') {
      this.#replace(status);
      this.#startAfter(container.name, 'init', this.#roundEndedMs(container.name));
      return false;
    }
    if (status.phase === 'running') {
      this.#killChanged(container, status, 'init');
      return false;
    }
    if (status.exitCode === 0) return true;
    if (!initRestartsAfter(this.#pod, container, status.exitCode)) this.#failed = true;
    else this.#startAfter(container.name, 'init', status.finishedAtMs);
    return false;
  }

  #sidecar(container: Container): boolean {
    const status = this.#here(container.name);
    if (!status || status.phase === 'created' || status.phase === 'unknown') {
      this.#replace(status);
      this.#startAfter(container.name, 'init', this.#roundEndedMs(container.name));
      return false;
    }
    if (status.phase === 'exited') {
      this.#startAfter(container.name, 'init', status.finishedAtMs);
      return false;
    }
    if (this.#killUnhealthy(container, status) || this.#killChanged(container, status, 'init')) return false;
    const startup = this.#situation.probes.get(status.id)?.startup;
    return startup === undefined || startup === 'success';
  }

  /** True when something of the pod runs or will run. */
  containers(): boolean {
    let alive = false;
    for (const container of this.#pod.spec?.containers ?? []) alive = this.#container(container) || alive;
    return alive;
  }

  #container(container: Container): boolean {
    const status = this.#latest(container.name);
    if (status?.phase === 'running') {
      if (!this.#killChanged(container, status, 'container')) this.#killUnhealthy(container, status);
      return true;
    }
    if (!shouldRun(this.#pod, container, status)) return false;
    this.#replace(status);
    this.#startAfter(
      container.name,
      'container',
      status?.phase === 'exited' ? status.finishedAtMs : this.#roundEndedMs(container.name),
    );
    return true;
  }

  #killChanged(container: AnyContainer, status: RuntimeContainer, kind: ContainerStart['kind']): boolean {
    if (this.#situation.resized?.has(container.name))
      this.#kill.push({
        container: status,
        reason: 'resized',
        message: `Container ${container.name} resize requires restart`,
      });
    else if (status.hash === '' || status.hash === containerHash(container)) return false;
    else
      this.#kill.push({
        container: status,
        reason: 'changed',
        message: `Container ${container.name} definition changed, will be restarted`,
      });
    this.#start.push({ name: container.name, kind, endedMs: undefined });
    return true;
  }

  /** A later decision restarts it, when it has ended and its policy allows. */
  #killUnhealthy(container: AnyContainer, status: RuntimeContainer): boolean {
    const probes = this.#situation.probes.get(status.id);
    const reason =
      probes?.liveness === 'failure' ? 'liveness' : probes?.startup === 'failure' ? 'startup' : undefined;
    if (!reason) return false;
    const again = restartsAfter(this.#pod, container, 137) ? ', will be restarted' : '';
    this.#kill.push({
      container: status,
      reason,
      message: `Container ${container.name} failed ${reason} probe${again}`,
    });
    return true;
  }

  /** Created but never started, or lost from sight: it makes room for a new one. */
  #replace(status: RuntimeContainer | undefined): void {
    if (status?.phase !== 'created' && status?.phase !== 'unknown') return;
    this.#kill.push({
      container: status,
      reason: 'unknown',
      message: `Container is in ${JSON.stringify(status.phase)} state, try killing it before restart`,
    });
  }

  #startAfter(name: string, kind: ContainerStart['kind'], endedMs: number | undefined): void {
    const record = this.#situation.backoffs.get(name);
    const untilMs =
      endedMs === undefined ? undefined : backoffUntilMs(record, endedMs, this.#situation.nowMs);
    if (untilMs === undefined || !record) this.#start.push({ name, kind, endedMs });
    else this.#wait.push({ name, untilMs, delayMs: record.delayMs });
  }

  /** Time at which this container ended in the previous round: it waits for its backoff, the others do not. */
  #roundEndedMs(name: string): number | undefined {
    const latest = latestContainer(this.#situation.runtime, name);
    return latest && endsRound(this.#pod, latest) ? latest.finishedAtMs : undefined;
  }

  #here(name: string): RuntimeContainer | undefined {
    const latest = latestOfRound(this.#situation.runtime, name, this.#round);
    return latest?.sandboxId === this.#sandbox.id ? latest : undefined;
  }

  /** In this sandbox, or its end in an earlier one. */
  #latest(name: string): RuntimeContainer | undefined {
    return this.#here(name) ?? asEnded(latestOfRound(this.#situation.runtime, name, this.#round));
  }
}
