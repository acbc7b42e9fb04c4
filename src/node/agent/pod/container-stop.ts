/** Stops containers: preStop hook, stop signal, then SIGKILL when the grace period is over; sidecars after the others, in reverse order. */
import type { Pod } from '#api/types.ts';
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { CriClient } from '../../cri/client.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import { isCriError } from '../../cri/errors.ts';
import { podAddresses, type PodRuntime, type RuntimeContainer } from '../runtime-view.ts';
import { runHook } from './hooks.ts';
import { formatFieldPath } from './pod-text.ts';
import { findContainer } from './restart-policy.ts';

export interface ContainerStopDependencies {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly events: EventRecorder;
  readonly hostIPs: readonly string[];
  /** The runtime's state is about to change: the PLEG lists more often for a while. */
  expectChange(): void;
}

interface StopRequest {
  readonly pod: Pod;
  readonly runtime: PodRuntime;
  readonly container: RuntimeContainer;
  readonly graceSeconds: number;
  /** The Killing event's text. */
  readonly message?: string;
  /** Aborted when a shorter grace period is requested: hooks are then abandoned. */
  readonly signal?: AbortSignal | undefined;
}

/** Minimum time for the stop signal after a preStop hook. */
const MINIMUM_SECONDS = 2;

/** Throws CriError when it could not be stopped. */
export async function stopContainer(
  dependencies: ContainerStopDependencies,
  { pod, runtime, container, graceSeconds, message, signal }: StopRequest,
): Promise<void> {
  const { cri, clock, events } = dependencies;
  dependencies.expectChange();
  if (container.phase === 'running')
    events.event(pod, {
      type: 'Normal',
      reason: 'Killing',
      message: message ?? `Stopping container ${container.name}`,
      fieldPath: formatFieldPath(pod, container.name),
    });
  const startedMs = clock.monotonic();
  const spec = findContainer(pod, container.name);
  const preStop = spec?.lifecycle?.preStop;
  if (preStop && spec && graceSeconds > 0 && container.phase === 'running') {
    const limit = AbortSignal.timeout(graceSeconds * 1000);
    const podIP = podAddresses(runtime, dependencies.hostIPs)[0] ?? dependencies.hostIPs[0] ?? '';
    const hook = runHook(preStop, {
      cri,
      clock,
      container: spec,
      containerId: container.id,
      podIP,
      signal: signal ? AbortSignal.any([limit, signal]) : limit,
    });
    await hook.catch((error: unknown) => {
      if (limit.aborted || signal?.aborted) return;
      events.event(pod, {
        type: 'Warning',
        reason: 'FailedPreStopHook',
        message: `PreStopHook failed: ${errorMessage(error)}`,
        fieldPath: formatFieldPath(pod, container.name),
      });
    });
  }
  const used = (clock.monotonic() - startedMs) / 1000;
  const timeout =
    graceSeconds === 0 ? 0 : Math.max(preStop ? MINIMUM_SECONDS : 1, Math.round(graceSeconds - used));
  await cri.stopContainer({ containerId: container.id, timeout }).catch((error: unknown) => {
    if (!isCriError(error, 'not-found')) throw error;
  });
}

interface StopPodRequest {
  readonly pod: Pod;
  readonly runtime: PodRuntime;
  readonly graceSeconds: number;
  readonly signal?: AbortSignal;
}

/** Stops all containers, then the sandboxes. Throws CriError when something still runs: call it again. */
export async function stopPod(
  dependencies: ContainerStopDependencies,
  { pod, runtime, graceSeconds, signal }: StopPodRequest,
): Promise<void> {
  const startedMs = dependencies.clock.monotonic();
  const left = (): number =>
    Math.max(0, Math.ceil(graceSeconds - (dependencies.clock.monotonic() - startedMs) / 1000));
  const alive = runtime.containers.filter(({ phase }) => phase === 'running' || phase === 'unknown');
  const order = (pod.spec?.initContainers ?? []).filter(isSidecar).map(({ name }) => name);
  const sidecars = alive
    .filter(({ name }) => order.includes(name))
    .sort((a, b) => order.indexOf(b.name) - order.indexOf(a.name));
  const stop = (container: RuntimeContainer, grace: number): Promise<void> =>
    stopContainer(dependencies, {
      pod,
      runtime,
      container,
      graceSeconds: grace,
      signal,
    });
  await Promise.all(
    alive
      .filter((container) => !sidecars.includes(container))
      .map((container) => stop(container, graceSeconds)),
  );
  for (const sidecar of sidecars)
    await stop(sidecar, graceSeconds === 0 ? 0 : Math.max(MINIMUM_SECONDS, left()));
  for (const { id, ready } of runtime.sandboxes)
    if (ready) await dependencies.cri.stopPodSandbox({ podSandboxId: id });
}
