/** The status part of a pod's worker: computes the pod's status from the runtime's state and passes it to the status writer. */
import type { PodStatus } from '#api/types.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Counter } from '#stdx/instruments.ts';
import type { PodProbes } from '../probes/pod-probes.ts';
import { latestContainer, type PodRuntime } from '../runtime-view.ts';
import type { WaitingReason } from './container-status.ts';
import { terminationLabels } from './pod-text.ts';
import type { PodState } from './pod-state.ts';
import type { PodResize } from './resize.ts';
import { isFinished, podStatus } from './status.ts';
import type { StatusWriter } from './status-writer.ts';
import { terminationMessage } from './termination-message.ts';

export interface StatusReporterDependencies {
  readonly clock: Clock;
  readonly hostIPs: readonly string[];
  readonly statuses: StatusWriter;
  /** Ends of containers, by type, exit code and reason. */
  readonly terminations: Counter;
}

interface PodStatusReporterOptions {
  readonly dependencies: StatusReporterDependencies;
  readonly state: PodState;
  readonly probes: PodProbes;
  readonly resize: PodResize;
}

export class PodStatusReporter {
  /** Why containers do not run now, by name. Set by who tried to start them. */
  readonly waiting = new Map<string, WaitingReason>();
  readonly #options: PodStatusReporterOptions;
  /** What containers left in their termination logs, by container id. */
  readonly #messages = new Map<string, string>();

  constructor(options: PodStatusReporterOptions) {
    this.#options = options;
  }

  /** Reads termination messages of containers that ended since the last call. Call it before a status is computed. */
  async readMessages(runtime: PodRuntime): Promise<void> {
    const { dependencies, state } = this.#options;
    const ids = new Set(runtime.containers.map(({ id }) => id));
    for (const id of this.#messages.keys()) if (!ids.has(id)) this.#messages.delete(id);
    for (const container of runtime.containers) {
      if (container.phase !== 'exited' || this.#messages.has(container.id)) continue;
      this.#messages.set(container.id, await terminationMessage(container));
      dependencies.terminations.add(terminationLabels(state.pod, container));
    }
  }

  report(runtime: PodRuntime): PodStatus {
    const { dependencies, state } = this.#options;
    state.status = this.#compute(runtime, false);
    dependencies.statuses.set(state.pod, state.status);
    return state.status;
  }

  /** The status of a finished pod; the caller writes it. For one that ended before this agent started, or never started here, the API's status is used. */
  final(runtime: PodRuntime): PodStatus {
    const { state } = this.#options;
    const known = state.pod.status;
    state.status =
      known && isFinished(known) && runtime.containers.length === 0 && !state.failure
        ? known
        : this.#compute(runtime, true);
    return state.status;
  }

  #compute(runtime: PodRuntime, terminal: boolean): PodStatus {
    const { dependencies, state, probes, resize } = this.#options;
    for (const name of this.waiting.keys())
      if (latestContainer(runtime, name)?.phase === 'running') this.waiting.delete(name);
    return podStatus({
      pod: state.known(),
      runtime,
      waiting: this.waiting,
      messages: this.#messages,
      terminal,
      hostIPs: dependencies.hostIPs,
      nowMs: dependencies.clock.now(),
      // As upstream: a pod that may still run is not terminal.
      failure: terminal ? state.failure : undefined,
      resize: terminal ? [] : resize.conditions(),
      actualResources: (name) => resize.actual(name),
      isReady: (container) => probes.isReady(container),
      isStarted: (container) => probes.isStarted(container),
    });
  }
}
