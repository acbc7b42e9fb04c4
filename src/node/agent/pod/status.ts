/** Computes a pod's status from the runtime, the probes and the worker. Pure; phase and conditions as upstream derives them. */
import type { ContainerStatus, Pod, PodCondition, PodStatus } from '#api/types.ts';
import { formatTime } from '#machinery/time.ts';
import { activeSandbox, podAddresses } from '../runtime-view.ts';
import { podResources } from '../config/resources.ts';
import { podQOS } from '#component-helpers/pod-qos.ts';
import { isTerminalPhase } from '#component-helpers/pod-status.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import { containerStatuses, type StatusFacts } from './container-status.ts';
import { isRestartingAll, mayRestartAll } from './restart-all.ts';
import { initRestartsAfter, restartsAfter } from './restart-policy.ts';

export interface PodFacts extends StatusFacts {
  readonly hostIPs: readonly string[];
  readonly nowMs: number;
  /** Conditions of a resize in progress. */
  readonly resize?: readonly PodCondition[];
  /** The node gave the pod up, and nothing of it runs any more: 'DeadlineExceeded', 'Evicted', 'OutOfcpu'. */
  readonly failure?:
    | { readonly reason: string; readonly message: string; readonly disrupted?: boolean | undefined }
    | undefined;
}

export function isFinished(status: PodStatus | undefined): boolean {
  return isTerminalPhase(status?.phase);
}

export function podStatus(facts: PodFacts): PodStatus {
  const { pod } = facts;
  const spec = pod.spec ?? { containers: [] };
  const init = containerStatuses(facts, spec.initContainers ?? [], 'init');
  const regular = containerStatuses(facts, spec.containers, 'container');
  const ephemeral = containerStatuses(
    facts,
    (spec.ephemeralContainers ?? []).filter(({ name }) =>
      facts.terminal ? facts.runtime.containers.some((container) => container.name === name) : true,
    ),
    'ephemeral',
  );
  const phase = phaseOf(facts, { init, regular });
  const failure =
    facts.failure ??
    (isFinished(pod.status) && pod.status?.reason
      ? { reason: pod.status.reason, message: pod.status.message ?? '' }
      : undefined);
  const podIPs = podIPsOf(facts);
  return {
    ...(pod.metadata?.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    phase,
    conditions: conditionsOf(facts, { phase, init, regular }),
    ...(failure ? { reason: failure.reason, message: failure.message } : {}),
    ...(facts.hostIPs[0] ? { hostIP: facts.hostIPs[0], hostIPs: facts.hostIPs.map((ip) => ({ ip })) } : {}),
    ...(podIPs[0] ? { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) } : {}),
    startTime: pod.status?.startTime ?? formatTime(facts.nowMs),
    ...(init.length > 0 ? { initContainerStatuses: init } : {}),
    containerStatuses: regular,
    ...(ephemeral.length > 0 ? { ephemeralContainerStatuses: ephemeral } : {}),
    qosClass: podQOS(pod),
    ...podResources(spec),
  };
}

/** For a pod the node does not take: nothing of it ever ran here. */
export function rejectedStatus(
  pod: Pod,
  { reason, message, nowMs }: { readonly reason: string; readonly message: string; readonly nowMs: number },
): PodStatus {
  return {
    ...(pod.metadata?.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    phase: 'Failed',
    reason,
    message: `Pod was rejected: ${message}`,
    startTime: formatTime(nowMs),
    qosClass: podQOS(pod),
  };
}

function podIPsOf({ pod, runtime, hostIPs }: PodFacts): readonly string[] {
  if (pod.spec?.hostNetwork) return runtime.sandboxes.length > 0 || pod.status?.podIP ? hostIPs : [];
  const ips = podAddresses(runtime, hostIPs);
  return ips.length > 0 ? ips : (pod.status?.podIPs ?? []).flatMap(({ ip }) => (ip ? [ip] : []));
}

interface Lists {
  readonly init: readonly ContainerStatus[];
  readonly regular: readonly ContainerStatus[];
}

function phaseOf(facts: PodFacts, lists: Lists): string {
  const { pod, terminal } = facts;
  // A finished phase is final.
  if (isFinished(pod.status)) return pod.status?.phase ?? 'Failed';
  if (facts.failure) return 'Failed';
  const phase = runningPhase(facts, lists);
  return terminal && phase !== 'Succeeded' ? 'Failed' : phase;
}

function runningPhase({ pod, terminal, runtime }: PodFacts, { init, regular }: Lists): string {
  const spec = pod.spec ?? { containers: [] };
  if (!terminal && isRestartingAll(pod, runtime))
    return regular.some(({ containerID }) => containerID) ? 'Running' : 'Pending';
  let initPending = false;
  for (const container of spec.initContainers ?? []) {
    const status = init.find(({ name }) => name === container.name);
    const exitCode = status?.state?.terminated?.exitCode;
    if (isSidecar(container)) {
      if (!terminal && !status?.started) initPending ||= !regular.some(({ containerID }) => containerID);
      continue;
    }
    if (exitCode === 0) continue;
    if (exitCode !== undefined && !initRestartsAfter(pod, container, exitCode)) return 'Failed';
    initPending = true;
  }
  const ran = regular.some(
    ({ state, lastState }) => state?.running || state?.terminated || lastState?.terminated,
  );
  if (initPending && !ran) return 'Pending';
  const stopped = regular.filter(
    ({ state, lastState }) => state?.terminated || (state?.waiting && lastState?.terminated),
  );
  const waiting = regular.filter(({ state, lastState }) => state?.waiting && !lastState?.terminated);
  const running = regular.filter(({ state }) => state?.running);
  if (waiting.length > 0) return 'Pending';
  if (running.length > 0) return 'Running';
  if (stopped.length === 0) return 'Pending';
  const succeeded = stopped.every(({ state }) => state?.terminated?.exitCode === 0);
  if (terminal) return succeeded ? 'Succeeded' : 'Failed';
  const restarts = stopped.some(({ name, state }) => {
    const container = spec.containers.find((other) => other.name === name);
    return state?.waiting || (container && restartsAfter(pod, container, state?.terminated?.exitCode ?? 0));
  });
  if (restarts) return 'Running';
  if (runtime.containers.length === 0 && !succeeded) return 'Failed';
  return succeeded ? 'Succeeded' : 'Failed';
}

interface Verdict {
  readonly value: boolean;
  readonly reason?: string;
  readonly message?: string;
}

function conditionsOf(facts: PodFacts, lists: Lists & { readonly phase: string }): PodCondition[] {
  const { pod } = facts;
  const containersReady = containersReadyVerdict(facts, lists);
  const own: Readonly<Record<string, Verdict>> = {
    PodReadyToStartContainers: { value: sandboxIsUp(facts) && !facts.terminal },
    Initialized: initializedVerdict(facts, lists),
    Ready: readyVerdict(pod, containersReady),
    ContainersReady: containersReady,
    PodScheduled: { value: true },
    ...(mayRestartAll(pod) ? { AllContainersRestarting: restartingVerdict(facts, lists.phase) } : {}),
  };
  const passing = (facts.resize ?? []).map(({ type, reason, message }) =>
    condition(facts, type, { value: true, ...(reason ? { reason } : {}), ...(message ? { message } : {}) }),
  );
  const { failure } = facts;
  const disruption = failure?.disrupted
    ? [
        condition(facts, 'DisruptionTarget', {
          value: true,
          reason: 'TerminationByKubelet',
          message: failure.message,
        }),
      ]
    : [];
  return [
    ...Object.entries(own).map(([type, verdict]) => condition(facts, type, verdict)),
    ...passing,
    ...disruption,
  ];
}

function restartingVerdict({ pod, runtime }: PodFacts, phase: string): Verdict {
  if (phase === 'Succeeded' || phase === 'Failed')
    return { value: false, reason: phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed' };
  return isRestartingAll(pod, runtime)
    ? {
        value: true,
        reason: 'RestartAllContainersStarted',
        message: 'container exited with restart policy rule',
      }
    : { value: false };
}

function sandboxIsUp({ pod, runtime }: PodFacts): boolean {
  const sandbox = activeSandbox(runtime);
  return sandbox !== undefined && (pod.spec?.hostNetwork === true || sandbox.ips.length > 0);
}

function condition(
  { pod, nowMs }: PodFacts,
  type: string,
  { value, reason, message }: Verdict,
): PodCondition {
  const status = value ? 'True' : 'False';
  const before = pod.status?.conditions?.find((other) => other.type === type);
  return {
    type,
    status,
    ...(pod.metadata?.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    lastTransitionTime:
      before?.status === status && before.lastTransitionTime ? before.lastTransitionTime : formatTime(nowMs),
    ...(reason ? { reason } : {}),
    ...(message ? { message } : {}),
  };
}

function initializedVerdict(
  { pod }: PodFacts,
  { init, regular, phase }: Lists & { readonly phase: string },
): Verdict {
  const containers = pod.spec?.initContainers ?? [];
  if (phase === 'Succeeded')
    return containers.length > 0 ? { value: true, reason: 'PodCompleted' } : { value: true };
  if (regular.some(({ containerID }) => containerID)) return { value: true };
  const incomplete = containers.filter((container) => {
    const status = init.find(({ name }) => name === container.name);
    return isSidecar(container) ? !status?.started : status?.state?.terminated?.exitCode !== 0;
  });
  if (incomplete.length === 0) return { value: true };
  return {
    value: false,
    reason: 'ContainersNotInitialized',
    message: `containers with incomplete status: [${incomplete.map(({ name }) => name).join(' ')}]`,
  };
}

function containersReadyVerdict(
  { pod }: PodFacts,
  { init, regular, phase }: Lists & { readonly phase: string },
): Verdict {
  if (phase === 'Succeeded') return { value: false, reason: 'PodCompleted' };
  if (phase === 'Failed') return { value: false, reason: 'PodFailed' };
  const sidecars = init.filter(({ name }) =>
    pod.spec?.initContainers?.some((container) => container.name === name && isSidecar(container)),
  );
  const unready = [...sidecars, ...regular].filter(({ ready }) => !ready).map(({ name }) => name);
  if (unready.length === 0) return { value: true };
  return {
    value: false,
    reason: 'ContainersNotReady',
    message: `containers with unready status: [${unready.join(' ')}]`,
  };
}

function readyVerdict(pod: Pod, containersReady: Verdict): Verdict {
  if (!containersReady.value) return containersReady;
  const problems = (pod.spec?.readinessGates ?? []).flatMap(({ conditionType }) => {
    const found = pod.status?.conditions?.find(({ type }) => type === conditionType);
    if (!found) return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`];
    return found.status === 'True'
      ? []
      : [`the status of pod readiness gate "${conditionType}" is not "True", but ${found.status}`];
  });
  return problems.length === 0
    ? { value: true }
    : { value: false, reason: 'ReadinessGatesNotReady', message: problems.join(', ') };
}
