/** Converts a container's runtime status to its entry in the pod's status. Pure; follows upstream's convertToAPIContainerStatuses. */
import type {
  Container,
  ContainerState,
  ContainerStateTerminated,
  ContainerStatus,
  Pod,
  ResourceRequirements,
  VolumeMountStatus,
} from '#api/types.ts';
import { formatTime } from '#machinery/time.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import type { PodRuntime, RuntimeContainer } from '../runtime-view.ts';
import { initRestartsAfter, restartsAfter, type AnyContainer } from './restart-policy.ts';

export interface WaitingReason {
  readonly reason: string;
  readonly message?: string;
}

export interface StatusFacts {
  readonly pod: Pod;
  readonly runtime: PodRuntime;
  /** Why a container does not run now, by its name: an error of its last start, or its backoff. */
  readonly waiting: ReadonlyMap<string, WaitingReason>;
  /** Termination messages, by container id. */
  readonly messages: ReadonlyMap<string, string>;
  /** By container id; of running containers only. */
  readonly isReady: (container: RuntimeContainer) => boolean;
  readonly isStarted: (container: RuntimeContainer) => boolean;
  /** Nothing of the pod will run any more. */
  readonly terminal: boolean;
  /** Resources of a running container, by name; undefined: the pod's, which are allocated. */
  readonly actualResources?: (name: string) => ResourceRequirements | undefined;
}

/** As containerd's ids are shown: 'containerd://<id>'. */
export const RUNTIME_NAME = 'containerd';
/** Status of a container that the runtime no longer has. */
const LOST: ContainerStateTerminated = {
  exitCode: 137,
  reason: 'ContainerStatusUnknown',
  message: 'The container could not be located when the pod was terminated',
};

export function containerStatuses(
  facts: StatusFacts,
  containers: readonly AnyContainer[],
  kind: 'init' | 'container' | 'ephemeral',
): ContainerStatus[] {
  return containers.map((container) => containerStatus(facts, container, kind));
}

function containerStatus(
  facts: StatusFacts,
  container: AnyContainer,
  kind: 'init' | 'container' | 'ephemeral',
): ContainerStatus {
  const [latest, previous] = facts.runtime.containers.filter(({ name }) => name === container.name);
  const before = previousStatus(facts.pod, container.name, kind);
  if (!latest) return absentStatus(facts, { container, kind, before });
  const waiting = facts.waiting.get(container.name);
  const own = stateOf(facts, latest);
  // A container that will restart is waiting, and its exit is the last state.
  const restarting =
    own.terminated !== undefined &&
    waiting !== undefined &&
    !facts.terminal &&
    runsAgain(facts.pod, { container, kind, exitCode: own.terminated.exitCode });
  const state: ContainerState = restarting
    ? { waiting: { ...waiting } }
    : own.waiting
      ? { waiting: { ...defaultWaiting(facts, kind), ...waiting } }
      : own;
  const earlier = previous ? stateOf(facts, previous) : undefined;
  const lastState = restarting ? own : earlier?.terminated ? earlier : keptLastState(before, latest);
  const running = latest.phase === 'running';
  const started = running && facts.isStarted(latest);
  return {
    name: container.name,
    state,
    lastState,
    ready: isContainerReady(facts, { container, kind, latest, started }),
    restartCount: Math.max(latest.restartCount, before?.restartCount ?? 0),
    image: latest.image || (container.image ?? ''),
    imageID: latest.imageRef,
    containerID: `${RUNTIME_NAME}://${latest.id}`,
    started,
    ...resourcesOf(container, running ? facts.actualResources?.(container.name) : undefined),
    ...(running && latest.user
      ? {
          user: {
            linux: {
              uid: latest.user.uid,
              gid: latest.user.gid,
              supplementalGroups: [...latest.user.supplementalGroups],
            },
          },
        }
      : {}),
    ...volumeMountsOf(container),
  };
}

function runsAgain(
  pod: Pod,
  {
    container,
    kind,
    exitCode,
  }: { readonly container: AnyContainer; readonly kind: string; readonly exitCode: number },
): boolean {
  if (kind === 'ephemeral') return false;
  return kind === 'init'
    ? initRestartsAfter(pod, container, exitCode)
    : restartsAfter(pod, container, exitCode);
}

function isContainerReady(
  facts: StatusFacts,
  {
    container,
    kind,
    latest,
    started,
  }: {
    readonly container: AnyContainer;
    readonly kind: string;
    readonly latest: RuntimeContainer;
    readonly started: boolean;
  },
): boolean {
  if (kind === 'ephemeral') return false;
  if (kind === 'init' && !isSidecar(container)) return latest.phase === 'exited' && latest.exitCode === 0;
  return latest.phase === 'running' && started && facts.isReady(latest);
}

/** The runtime has nothing: it never ran, or what ran was cleaned up. */
function absentStatus(
  facts: StatusFacts,
  {
    container,
    kind,
    before,
  }: {
    readonly container: AnyContainer;
    readonly kind: 'init' | 'container' | 'ephemeral';
    readonly before: ContainerStatus | undefined;
  },
): ContainerStatus {
  const base = {
    name: container.name,
    image: container.image ?? '',
    imageID: '',
    lastState: {},
    restartCount: 0,
    ready: false,
    started: false,
    ...volumeMountsOf(container),
  };
  if (before?.state?.terminated)
    return { ...before, ready: kind === 'init' && before.state.terminated.exitCode === 0, started: false };
  if (facts.terminal && hadItsTurn(facts, { container, kind }))
    return { ...base, restartCount: before?.restartCount ?? 0, state: { terminated: LOST } };
  const waiting = { ...defaultWaiting(facts, kind), ...facts.waiting.get(container.name) };
  if (facts.terminal || !before?.state?.running)
    return {
      ...base,
      lastState: before?.lastState ?? {},
      restartCount: before?.restartCount ?? 0,
      state: { waiting },
    };
  const lost = {
    ...LOST,
    message: 'The container could not be located when the pod was deleted.  The container used to be Running',
    ...(before.containerID ? { containerID: before.containerID } : {}),
  };
  return {
    ...base,
    state: { waiting },
    lastState: { terminated: lost },
    restartCount: before.restartCount + 1,
  };
}

/** Whether the pod's start reached this container; containers after an init container that never completed stay waiting. */
function hadItsTurn(
  facts: StatusFacts,
  {
    container,
    kind,
  }: { readonly container: AnyContainer; readonly kind: 'init' | 'container' | 'ephemeral' },
): boolean {
  if (kind === 'ephemeral') return true;
  const { pod, runtime } = facts,
    init = pod.spec?.initContainers ?? [];
  const hasRun = ({ name }: AnyContainer): boolean =>
    runtime.containers.some((run) => run.name === name) ||
    isPast(previousStatus(pod, name, isInit(pod, name) ? 'init' : 'container'));
  if (kind === 'init') return init.indexOf(container as Container) <= Math.max(0, init.findLastIndex(hasRun));
  return init.length === 0 || (pod.spec?.containers ?? []).some(hasRun) || didItsPart(facts, init.at(-1)!);
}

function isPast(before: ContainerStatus | undefined): boolean {
  return (
    before?.lastState?.terminated !== undefined ||
    before?.state?.terminated !== undefined ||
    before?.state?.running !== undefined
  );
}

function isInit({ spec }: Pod, name: string): boolean {
  return spec?.initContainers?.some((container) => container.name === name) ?? false;
}

function didItsPart({ pod, runtime, isStarted }: StatusFacts, container: AnyContainer): boolean {
  const runs = runtime.containers.filter(({ name }) => name === container.name);
  if (isSidecar(container)) return runs.some((run) => run.phase === 'running' && isStarted(run));
  const before = previousStatus(pod, container.name, 'init');
  return (
    runs.some(({ phase, exitCode }) => phase === 'exited' && exitCode === 0) ||
    [before?.state, before?.lastState].some((state) => state?.terminated?.exitCode === 0)
  );
}

function defaultWaiting({ pod, runtime }: StatusFacts, kind: string): WaitingReason {
  const hasInit = (pod.spec?.initContainers ?? []).length > 0;
  const initialized = (pod.spec?.containers ?? []).some(({ name }) =>
    runtime.containers.some((container) => container.name === name),
  );
  return {
    reason: hasInit && !(kind === 'container' && initialized) ? 'PodInitializing' : 'ContainerCreating',
  };
}

function stateOf({ messages }: StatusFacts, container: RuntimeContainer): ContainerState {
  if (container.phase === 'running') return { running: { startedAt: time(container.startedAtMs) } };
  if (container.phase !== 'exited') return { waiting: {} };
  const message = messages.get(container.id) || container.message;
  return {
    terminated: {
      exitCode: container.exitCode,
      reason: container.reason || (container.exitCode === 0 ? 'Completed' : 'Error'),
      ...(message ? { message } : {}),
      // Go's zero time on the wire of this type is the epoch.
      startedAt: time(container.startedAtMs),
      finishedAt: time(container.finishedAtMs),
      containerID: `${RUNTIME_NAME}://${container.id}`,
    },
  };
}

function time(ms: number): string {
  return formatTime(Math.max(0, ms));
}

function keptLastState(before: ContainerStatus | undefined, latest: RuntimeContainer): ContainerState {
  // The end of another run than the latest: cleaned up meanwhile.
  const ended = before?.lastState?.terminated;
  return ended && ended.containerID !== `${RUNTIME_NAME}://${latest.id}` ? { terminated: ended } : {};
}

function previousStatus(
  pod: Pod,
  name: string,
  kind: 'init' | 'container' | 'ephemeral',
): ContainerStatus | undefined {
  const { initContainerStatuses, containerStatuses: regular, ephemeralContainerStatuses } = pod.status ?? {};
  return { init: initContainerStatuses, container: regular, ephemeral: ephemeralContainerStatuses }[
    kind
  ]?.find((status) => status.name === name);
}

function resourcesOf(
  { resources: allocated }: AnyContainer,
  actual: ResourceRequirements | undefined,
): Pick<ContainerStatus, 'allocatedResources' | 'resources'> {
  const { limits, requests } = actual ?? allocated ?? {};
  return {
    ...(allocated?.requests ? { allocatedResources: allocated.requests } : {}),
    resources: { ...(limits ? { limits } : {}), ...(requests ? { requests } : {}) },
  };
}

function volumeMountsOf(container: AnyContainer): { volumeMounts?: VolumeMountStatus[] } {
  const mounts = container.volumeMounts ?? [];
  if (mounts.length === 0) return {};
  return {
    volumeMounts: mounts.map(({ name, mountPath, readOnly }) => ({
      name,
      mountPath,
      ...(readOnly ? { readOnly, recursiveReadOnly: 'Disabled' } : {}),
    })),
  };
}
