/**
 * The lifecycle of a pod on a simulated node: from the pod, its record (which a step updates) and the time, to its next status and the time of the next
 * step. Independent of API and clock. No container runs; times are short and set by annotations:
 *
 *   capstan.dev/simulate-run-seconds   containers end by themselves after this long (default: 1 for restartPolicy Never/OnFailure, never for Always)
 *   capstan.dev/simulate-exit-code     with this exit code (default 0)
 *   capstan.dev/simulate-start-seconds pulling images and starting takes this long (default 0.05)
 *
 *   Pending ──init containers, one after another──► Running (ready after readinessProbe.initialDelaySeconds) ──► Succeeded | Failed | restarted
 *      any state ──deletionTimestamp──► terminated ──► removed
 */
import { formatGoDuration } from '#machinery/go-duration.ts';
import type { Container, ContainerStatus, Pod, PodCondition, PodStatus } from '#api/types.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import { formatTime } from '#machinery/time.ts';

const ANNOTATION = 'capstan.dev/simulate-';
const INIT_STEP_MS = 50;
const END_MS = 50;
const BACKOFF_FIRST_MS = 10_000;
const BACKOFF_MAX_MS = 300_000;
const KILLED_BY_TERM = 143;
const KILLED_BY_KILL = 137;
const DEADLINE_MESSAGE = 'Pod was active on the node longer than the specified deadline';

/** A simulated node's record of a pod. */
export interface PodRecord {
  /** When the node first saw it. */
  readonly seenMs: number;
  /** One of each family that the node's pods have. */
  readonly podIPs: readonly string[];
  readonly hostIP: string;
  /** When its present run of containers began; moves on with each restart. */
  runStartMs: number;
  restarts: number;
  /** Set while waiting to restart. */
  lastEndMs: number | undefined;
  /** The end of the previous run. */
  lastEnd?: ContainerEnd | undefined;
}

interface ContainerEnd {
  readonly exitCode: number;
  readonly reason: string;
  readonly startedAt: string;
  readonly finishedAt: string;
}

/** The initial record of a pod: empty, or taken from its status when another process simulated it before. */
export function createRecord(
  pod: Pod,
  at: { readonly nowMs: number; readonly podIPs: readonly string[]; readonly hostIP: string },
): PodRecord {
  const [container] = pod.status?.containerStatuses ?? [];
  const ended = container?.lastState?.terminated;
  const waiting = container?.state?.running === undefined && ended !== undefined;
  const startedMs = Date.parse((waiting ? ended?.startedAt : container?.state?.running?.startedAt) ?? '');
  const podStartMs = Date.parse(pod.status?.startTime ?? '');
  const seenMs = Number.isNaN(podStartMs) ? at.nowMs : podStartMs;
  const lastEnd = ended && {
    exitCode: ended.exitCode,
    reason: ended.reason ?? '',
    startedAt: ended.startedAt ?? '',
    finishedAt: ended.finishedAt ?? '',
  };
  const lastEndMs = waiting ? Date.parse(ended?.finishedAt ?? '') : Number.NaN;
  return {
    // A container that runs has started: the time before it must be over.
    seenMs: Number.isNaN(startedMs) ? seenMs : Math.min(seenMs, startedMs - startDelayMs(pod)),
    podIPs: at.podIPs,
    hostIP: at.hostIP,
    runStartMs: Number.isNaN(startedMs) ? seenMs + startDelayMs(pod) : startedMs,
    restarts: container?.restartCount ?? 0,
    lastEndMs: Number.isNaN(lastEndMs) ? undefined : lastEndMs,
    lastEnd,
  };
}

export interface Step {
  readonly status?: PodStatus;
  /** The pod has ended and must be deleted from the API. */
  readonly remove?: boolean;
  readonly nextAtMs?: number;
}

export function startDelayMs(pod: Pod): number {
  const init = (pod.spec?.initContainers ?? []).filter((container) => !isSidecar(container));
  return annotationSeconds(pod, 'start-seconds', 0.05) * 1000 + init.length * INIT_STEP_MS;
}

export function step(pod: Pod, record: PodRecord, nowMs: number): Step {
  if (pod.metadata?.deletionTimestamp) return ending(pod, record, nowMs);
  if (isPodTerminal(pod)) return {};
  const startMs = record.seenMs + startDelayMs(pod);
  if (nowMs < startMs)
    return { status: pendingStatus(pod, record, nowMs), nextAtMs: nextInitStep(pod, record, nowMs) };
  return running(pod, record, nowMs);
}

function endOf(pod: Pod, record: PodRecord, endMs: number): ContainerEnd {
  const exitCode = annotationSeconds(pod, 'exit-code', 0);
  return {
    exitCode,
    reason: exitCode === 0 ? 'Completed' : 'Error',
    startedAt: text(record.runStartMs),
    finishedAt: text(endMs),
  };
}

function annotationSeconds(pod: Pod, name: string, fallback: number): number {
  const value = Number(pod.metadata?.annotations?.[`${ANNOTATION}${name}`] ?? Number.NaN);
  return Number.isFinite(value) && value >= 0 ? value : fallback;
}

function runMs(pod: Pod): number {
  return (
    annotationSeconds(
      pod,
      'run-seconds',
      pod.spec?.restartPolicy === 'Always' || pod.spec?.restartPolicy === undefined ? Infinity : 1,
    ) * 1000
  );
}

function ending(pod: Pod, record: PodRecord, nowMs: number): Step {
  const deletedMs =
    Date.parse(pod.metadata?.deletionTimestamp ?? '') -
    (pod.metadata?.deletionGracePeriodSeconds ?? 0) * 1000;
  const graceMs = (pod.metadata?.deletionGracePeriodSeconds ?? 0) * 1000;
  const endMs = deletedMs + Math.min(graceMs, END_MS);
  if (nowMs < endMs) return { nextAtMs: endMs };
  if (isPodTerminal(pod) || !pod.status?.containerStatuses) return { remove: true };
  return { remove: true, status: finishedStatus(pod, record, { nowMs, exitCode: KILLED_BY_TERM }) };
}

function running(pod: Pod, record: PodRecord, nowMs: number): Step {
  const deadlineMs = record.seenMs + (pod.spec?.activeDeadlineSeconds ?? Infinity) * 1000;
  if (nowMs >= deadlineMs)
    return {
      status: {
        ...finishedStatus(pod, record, { nowMs, exitCode: KILLED_BY_KILL }),
        reason: 'DeadlineExceeded',
        message: DEADLINE_MESSAGE,
      },
    };
  const made = runOn(pod, record, nowMs);
  return made.nextAtMs === undefined && !Number.isFinite(deadlineMs)
    ? made
    : {
        ...made,
        ...(isPodTerminal(made) ? {} : { nextAtMs: Math.min(made.nextAtMs ?? Infinity, deadlineMs) }),
      };
}

function runOn(pod: Pod, record: PodRecord, nowMs: number): Step {
  const policy = pod.spec?.restartPolicy ?? 'Always';
  const exitCode = annotationSeconds(pod, 'exit-code', 0);
  if (record.lastEndMs !== undefined) {
    const againMs = record.lastEndMs + backoffMs(record.restarts);
    if (nowMs < againMs)
      return {
        status: waitingStatus(pod, record, {
          nowMs,
          ended: record.lastEnd ?? endOf(pod, record, record.lastEndMs),
        }),
        nextAtMs: againMs,
      };
    record.lastEnd ??= endOf(pod, record, record.lastEndMs);
    record.lastEndMs = undefined;
    record.restarts += 1;
    record.runStartMs = nowMs;
  }
  const endMs = record.runStartMs + runMs(pod);
  if (nowMs >= endMs) {
    if (policy === 'Never' || (policy === 'OnFailure' && exitCode === 0))
      return { status: finishedStatus(pod, record, { nowMs, exitCode }) };
    record.lastEndMs = nowMs;
    record.lastEnd = endOf(pod, record, nowMs);
    return {
      status: waitingStatus(pod, record, { nowMs, ended: record.lastEnd }),
      nextAtMs: nowMs + backoffMs(record.restarts),
    };
  }
  const readyMs = record.runStartMs + readyDelayMs(pod);
  const next = Math.min(nowMs < readyMs ? readyMs : Infinity, endMs);
  return {
    status: runningStatus(pod, record, { nowMs, ready: nowMs >= readyMs }),
    ...(Number.isFinite(next) ? { nextAtMs: next } : {}),
  };
}

function backoffMs(restarts: number): number {
  return restarts === 0 ? 0 : Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (restarts - 1));
}

function readyDelayMs(pod: Pod): number {
  return Math.max(
    0,
    ...(pod.spec?.containers ?? []).map(
      (container) => (container.readinessProbe?.initialDelaySeconds ?? 0) * 1000,
    ),
  );
}

function nextInitStep(pod: Pod, record: PodRecord, nowMs: number): number {
  const passed = Math.floor((nowMs - record.seenMs) / INIT_STEP_MS) + 1;
  return Math.min(record.seenMs + passed * INIT_STEP_MS, record.seenMs + startDelayMs(pod));
}

function text(ms: number): string {
  return formatTime(ms);
}

interface ConditionValue {
  readonly type: string;
  readonly value: boolean;
  readonly reason?: string;
  readonly message?: string;
  readonly nowMs: number;
}

function condition(pod: Pod, { type, value, reason, message, nowMs }: ConditionValue): PodCondition {
  const status = value ? 'True' : 'False';
  const before = pod.status?.conditions?.find((other) => other.type === type);
  return {
    type,
    status,
    lastTransitionTime: before?.status === status ? (before.lastTransitionTime ?? text(nowMs)) : text(nowMs),
    ...(pod.metadata?.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    ...(reason ? { reason } : {}),
    ...(message ? { message } : {}),
  } as PodCondition;
}

interface Situation {
  readonly nowMs: number;
  readonly phase: string;
  readonly initialized: boolean;
  readonly ready: boolean;
  readonly reason?: string;
}

function conditions(pod: Pod, { nowMs, initialized, ready, phase, reason }: Situation): PodCondition[] {
  const gates = pod.spec?.readinessGates ?? [];
  const gatesOpen = gates.every((gate) =>
    pod.status?.conditions?.some((other) => other.type === gate.conditionType && other.status === 'True'),
  );
  const why = reason ?? 'ContainersNotReady';
  const names = (pod.spec?.containers ?? []).map((container) => container.name).join(' ');
  const message = `containers with unready status: [${names}]`;
  const notReady = ready ? {} : phase === 'Succeeded' ? { reason: 'PodCompleted' } : { reason: why, message };
  const own = [
    condition(pod, {
      type: 'PodReadyToStartContainers',
      value: phase !== 'Succeeded' && phase !== 'Failed',
      nowMs,
    }),
    condition(pod, {
      type: 'Initialized',
      value: initialized,
      nowMs,
      ...(initialized
        ? {}
        : { reason: 'ContainersNotInitialized', message: 'containers with incomplete status' }),
    }),
    condition(pod, {
      type: 'Ready',
      value: ready && gatesOpen,
      nowMs,
      ...(ready && !gatesOpen ? { reason: 'ReadinessGatesNotReady' } : notReady),
    }),
    condition(pod, { type: 'ContainersReady', value: ready, nowMs, ...notReady }),
    condition(pod, { type: 'PodScheduled', value: true, nowMs }),
  ];
  const ours = new Set(own.map((one) => one.type));
  return [...own, ...(pod.status?.conditions ?? []).filter((other) => !ours.has(other.type))];
}

function base(pod: Pod, record: PodRecord, situation: Situation): PodStatus {
  return {
    ...(pod.metadata?.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    phase: situation.phase,
    conditions: conditions(pod, situation),
    hostIP: record.hostIP,
    hostIPs: [{ ip: record.hostIP }],
    ...(situation.initialized
      ? { podIP: record.podIPs[0], podIPs: record.podIPs.map((ip) => ({ ip })) }
      : {}),
    startTime: pod.status?.startTime ?? text(record.seenMs),
    qosClass: pod.status?.qosClass ?? 'BestEffort',
  } as PodStatus;
}

type StateOf = (container: Container) => Pick<ContainerStatus, 'state' | 'ready' | 'started'> & {
  readonly lastState?: ContainerStatus['lastState'];
};

interface ForStatuses {
  readonly pod: Pod;
  readonly restarts: number;
  readonly lastEnd?: ContainerEnd | undefined;
  readonly stateOf: StateOf;
}

function statuses(
  containers: readonly Container[] | undefined,
  { pod, restarts, lastEnd, stateOf }: ForStatuses,
): ContainerStatus[] {
  return (containers ?? []).map(
    (container) =>
      ({
        name: container.name,
        lastState: lastEnd ? { terminated: lastEnd } : {},
        ...stateOf(container),
        restartCount: restarts,
        image: container.image ?? '',
        imageID: `simulated://${container.image ?? ''}`,
        containerID: `simulated://${pod.metadata?.uid ?? ''}-${container.name}-${restarts}`,
      }) as ContainerStatus,
  );
}

function initStatuses(
  pod: Pod,
  record: PodRecord,
  nowMs: number,
): { initContainerStatuses?: ContainerStatus[] } {
  if (!pod.spec?.initContainers?.length) return {};
  let endMs = record.seenMs;
  return {
    initContainerStatuses: statuses(pod.spec.initContainers, {
      pod,
      restarts: 0,
      stateOf: (container) => {
        const startMs = endMs;
        if (isSidecar(container))
          return { state: { running: { startedAt: text(startMs) } }, ready: true, started: true };
        endMs += INIT_STEP_MS;
        if (nowMs >= endMs)
          return {
            state: {
              terminated: {
                exitCode: 0,
                reason: 'Completed',
                startedAt: text(startMs),
                finishedAt: text(endMs),
              },
            },
            ready: true,
            started: false,
          };
        if (nowMs >= startMs)
          return { state: { running: { startedAt: text(startMs) } }, ready: false, started: true };
        return { state: { waiting: { reason: 'PodInitializing' } }, ready: false, started: false };
      },
    }),
  };
}

function pendingStatus(pod: Pod, record: PodRecord, nowMs: number): PodStatus {
  const reason = pod.spec?.initContainers?.length ? 'PodInitializing' : 'ContainerCreating';
  return {
    ...base(pod, record, {
      nowMs,
      phase: 'Pending',
      initialized: !pod.spec?.initContainers?.length,
      ready: false,
    }),
    ...initStatuses(pod, record, nowMs),
    containerStatuses: statuses(pod.spec?.containers, {
      pod,
      restarts: record.restarts,
      stateOf: () => ({ state: { waiting: { reason } }, ready: false, started: false }),
    }).map(({ containerID: _none, ...rest }) => ({ ...rest, imageID: '' })),
  };
}

function runningStatus(
  pod: Pod,
  record: PodRecord,
  { nowMs, ready }: { readonly nowMs: number; readonly ready: boolean },
): PodStatus {
  return {
    ...base(pod, record, { nowMs, phase: 'Running', initialized: true, ready }),
    ...initStatuses(pod, record, nowMs),
    containerStatuses: statuses(pod.spec?.containers, {
      pod,
      restarts: record.restarts,
      lastEnd: record.lastEnd,
      stateOf: () => ({ state: { running: { startedAt: text(record.runStartMs) } }, ready, started: true }),
    }),
    ...ephemeralStatuses(pod, nowMs),
  };
}

/** They run from when they are first seen, and for as long as their pod. */
function ephemeralStatuses(pod: Pod, nowMs: number): { ephemeralContainerStatuses?: ContainerStatus[] } {
  const { ephemeralContainers } = pod.spec ?? {};
  if (!ephemeralContainers?.length) return {};
  const known = new Map(
    (pod.status?.ephemeralContainerStatuses ?? []).map(({ name, state }) => [
      name,
      state?.running?.startedAt,
    ]),
  );
  return {
    ephemeralContainerStatuses: statuses(ephemeralContainers as Container[], {
      pod,
      restarts: 0,
      stateOf: ({ name }) => ({
        state: { running: { startedAt: known.get(name) ?? text(nowMs) } },
        ready: false,
        started: true,
      }),
    }),
  };
}

/** The first restart is immediate; before further ones the container reports its backoff. */
function waitingStatus(
  pod: Pod,
  record: PodRecord,
  { nowMs, ended }: { readonly nowMs: number; readonly ended: ContainerEnd },
): PodStatus {
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  const backoff = formatGoDuration(BigInt(backoffMs(record.restarts)) * 1_000_000n);
  const stateOf: StateOf =
    record.restarts === 0
      ? () => ({ state: { terminated: ended }, lastState: {}, ready: false, started: false })
      : (container) => ({
          state: {
            waiting: {
              reason: 'CrashLoopBackOff',
              message: `back-off ${backoff} restarting failed container=${container.name} pod=${name}_${namespace}(${uid})`,
            },
          },
          lastState: { terminated: ended },
          ready: false,
          started: false,
        });
  return {
    ...base(pod, record, { nowMs, phase: 'Running', initialized: true, ready: false }),
    ...initStatuses(pod, record, nowMs),
    containerStatuses: statuses(pod.spec?.containers, { pod, restarts: record.restarts, stateOf }),
  };
}

function finishedStatus(
  pod: Pod,
  record: PodRecord,
  { nowMs, exitCode }: { readonly nowMs: number; readonly exitCode: number },
): PodStatus {
  const failed = exitCode !== 0;
  return {
    ...base(pod, record, {
      nowMs,
      phase: failed ? 'Failed' : 'Succeeded',
      initialized: true,
      ready: false,
      ...(failed ? { reason: 'PodFailed' } : {}),
    }),
    ...initStatuses(pod, record, nowMs),
    containerStatuses: statuses(pod.spec?.containers, {
      pod,
      restarts: record.restarts,
      lastEnd: record.lastEnd,
      stateOf: () => ({
        state: {
          terminated: {
            exitCode,
            reason: failed ? 'Error' : 'Completed',
            startedAt: text(record.runStartMs),
            finishedAt: text(nowMs),
          },
        },
        ready: false,
        started: false,
      }),
    }),
  };
}
