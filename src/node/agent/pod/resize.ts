/**
 * In-place pod resize: allocates the requested resources when they fit on the node, then applies them to running containers and the pod's cgroup.
 * Containers with that policy are restarted instead. The pod's status records the allocation, so that a new agent continues from it.
 *
 *   spec differs ──fits──► allocated ──cgroup up, containers, cgroup down──► actuated      PodResizeInProgress meanwhile, with reason Error after a failure
 *        '──does not fit──► PodResizePending: Deferred (now) or Infeasible (ever) on this node ──others leave──► retried
 */
import type { Container, Pod, PodCondition, ResourceRequirements } from '#api/types.ts';
import { tryParseQuantity } from '#machinery/quantity.ts';
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import type { CriClient } from '../../cri/client.ts';
import { isCriError } from '../../cri/errors.ts';
import type { Cgroups } from '../cgroups.ts';
import type { CriInput, LinuxContainerResources } from '../../cri/types.ts';
import { linuxResources, podCgroup, withoutZeros, type PodCgroup } from '../config/resources.ts';
import { runtimeErrorText } from '../cri-text.ts';
import { latestContainer, type PodRuntime, type RuntimeContainer } from '../runtime-view.ts';

/** By container name; '' is the pod's own. */
type Resources = ReadonlyMap<string, ResourceRequirements>;

/** Why a resize has to wait, or will not be. */
export interface ResizeRefusal {
  readonly reason: 'Deferred' | 'Infeasible';
  readonly message: string;
}

interface Progress {
  readonly reason?: 'Error';
  readonly message?: string;
}

/** Resources of a running container; id undefined: just started and not observed yet. */
interface Actual {
  readonly id: string | undefined;
  /** Its own, as its pod's spec had them; undefined: not known to this agent. */
  readonly resources: ResourceRequirements | undefined;
  /** A copy with the pod's limits where it has none. */
  readonly effective: ResourceRequirements | undefined;
}

const RESIZABLE = ['cpu', 'memory'] as const;
const RETRY_MS = 10_000;

export interface PodResizeDependencies {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly events: EventRecorder;
  readonly cgroups: Cgroups;
  readonly cgroupRoot: string;
  readonly machineMemoryBytes: number;
  /** Why the requested resources do not fit beside the other pods; undefined: they do. */
  resizeRefusal(pod: Pod): ResizeRefusal | undefined;
}

export class PodResize {
  readonly #dependencies: PodResizeDependencies;
  #allocated: Resources;
  #pending: ResizeRefusal | undefined;
  #progress: Progress | undefined;
  readonly #actual = new Map<string, Actual>();
  /** The resources last set on the pod's cgroup; undefined: unknown to this agent. */
  #cgroup: PodCgroup | undefined;

  constructor(dependencies: PodResizeDependencies, pod: Pod) {
    this.#dependencies = dependencies;
    this.#allocated = allocatedBefore(pod);
    if (pod.status?.conditions?.some(({ type }) => type === 'PodResizeInProgress')) this.#progress = {};
  }

  /** The pod with its allocated resources. */
  allocated(pod: Pod): Pod {
    return withResources(pod, this.#allocated);
  }

  get deferred(): boolean {
    return this.#pending?.reason === 'Deferred';
  }

  conditions(): PodCondition[] {
    return [
      ...(this.#pending ? [{ type: 'PodResizePending', status: 'True', ...this.#pending }] : []),
      ...(this.#progress ? [{ type: 'PodResizeInProgress', status: 'True', ...this.#progress }] : []),
    ];
  }

  /** Resources of a running container; undefined: as allocated. */
  actual(name: string): ResourceRequirements | undefined {
    return this.#actual.get(name)?.resources;
  }

  /** A container was started with its allocated resources. */
  started(name: string): void {
    this.#actual.set(name, this.#allocatedTo(name, undefined));
  }

  #allocatedTo(name: string, id: string | undefined): Actual {
    const resources = this.#allocated.get(name) ?? {};
    return { id, resources, effective: effective(resources, this.#allocated.get('')) };
  }

  /** The pod's cgroup was created with its allocated resources. */
  cgroupMade(cgroup: PodCgroup): void {
    this.#cgroup = cgroup;
  }

  /** Allocates the requested resources if they fit on the node. True when the allocation changed. */
  consider(desired: Pod): boolean {
    const wanted = resourcesOf(desired);
    if (sameAll(wanted, this.#allocated)) {
      this.#allocated = wanted;
      this.#pending = undefined;
      return false;
    }
    const refusal = this.#dependencies.resizeRefusal(desired);
    if (refusal) {
      if (refusal.reason !== this.#pending?.reason)
        this.#event(`Resize${refusal.reason}`, desired, refusal.message);
      this.#pending = refusal;
      return false;
    }
    this.#pending = undefined;
    this.#allocated = wanted;
    this.#progress = {};
    this.#event('ResizeStarted', desired);
    return true;
  }

  /** Applies the allocation to running containers. Returns names of containers to restart for it, and when to retry. */
  async actuate(
    pod: Pod,
    runtime: PodRuntime,
  ): Promise<{ readonly restart: ReadonlySet<string>; readonly retryAtMs: number }> {
    const changes = this.#changes(pod, runtime);
    const restart = new Set(changes.filter(({ replace }) => replace).map(({ container }) => container.name));
    // An agent before this one was in the middle of it.
    if (changes.length > 0) this.#progress ??= {};
    if (!this.#progress) return { restart, retryAtMs: Infinity };
    try {
      await this.#checkMemory(changes);
      await this.#update(pod, changes);
      this.#progress = {};
    } catch (error) {
      const message = isCriError(error) ? runtimeErrorText(error) : (error as Error).message;
      if (this.#progress.message !== message) this.#event('ResizeError', pod, message);
      this.#progress = { reason: 'Error', message };
      return { restart: new Set(), retryAtMs: this.#dependencies.clock.now() + RETRY_MS };
    }
    if (restart.size === 0) {
      this.#progress = undefined;
      this.#event('ResizeCompleted', pod);
    }
    return { restart, retryAtMs: Infinity };
  }

  /** Running containers that have something else than is allocated. */
  #changes(pod: Pod, runtime: PodRuntime): Change[] {
    const changes: Change[] = [];
    for (const container of resizable(pod)) {
      const running = latestContainer(runtime, container.name);
      if (running?.phase !== 'running') continue;
      const wanted = this.#kernel(pod, container);
      const { effective: before } = this.#adopt(container, running, wanted);
      const after = effective(container.resources ?? {}, pod.spec?.resources);
      if (before && same(before, after)) continue;
      changes.push({
        container,
        running,
        wanted,
        before,
        replace: needsReplacement(container, { before, after }),
      });
    }
    return changes;
  }

  /** Resources of this running container: as last started or updated here, else as the runtime reports. */
  #adopt(container: Container, running: RuntimeContainer, wanted: CriInput<LinuxContainerResources>): Actual {
    const known = this.#actual.get(container.name);
    if (known?.id === running.id) return known;
    const unknown = running.resources && !sameKernel(running.resources, wanted);
    const adopted: Actual =
      known && known.id === undefined
        ? { ...known, id: running.id }
        : unknown
          ? { id: running.id, resources: undefined, effective: undefined }
          : this.#allocatedTo(container.name, running.id);
    this.#actual.set(container.name, adopted);
    return adopted;
  }

  #kernel(pod: Pod, container: Container): CriInput<LinuxContainerResources> {
    const { machineMemoryBytes, cgroups } = this.#dependencies;
    const { cpuShares, cpuPeriod, cpuQuota, memoryLimitInBytes } = linuxResources({
      spec: pod.spec ?? { containers: [] },
      container,
      machineMemoryBytes,
      cgroupVersion: cgroups.version,
    });
    return { cpuShares, cpuPeriod, cpuQuota, memoryLimitInBytes };
  }

  /** A limit below current usage would kill, or be refused by the kernel halfway. */
  async #checkMemory(changes: readonly Change[]): Promise<void> {
    const problems: string[] = [];
    for (const { container, running, wanted, before, replace } of changes) {
      const limit = wanted.memoryLimitInBytes ?? 0;
      if (replace || limit === 0 || limit >= bytes(before?.limits?.['memory'])) continue;
      const { stats } = await this.#dependencies.cri.containerStats({ containerId: running.id });
      const usage = stats?.memory?.usageBytes?.value ?? 0;
      if (usage >= limit)
        problems.push(
          `attempting to set container "${container.name}" memory limit (${limit}) below current usage (${usage})`,
        );
    }
    if (problems.length > 0) throw new Error(`cannot decrease memory limits: ${problems.join(', ')}`);
  }

  /** A container's limit is never above its pod's: the kernel refuses that. One to be restarted keeps its own until then. */
  async #update(pod: Pod, changes: readonly Change[]): Promise<void> {
    const { cri, cgroups, cgroupRoot } = this.#dependencies;
    const wanted = podCgroup(pod.spec ?? { containers: [] }, {
      root: cgroupRoot,
      uid: pod.metadata?.uid ?? '',
    });
    const larger = largerOf(this.#cgroup, wanted);
    await cgroups.update(larger);
    this.#cgroup = larger;
    for (const { container, running, wanted: linux, replace } of changes) {
      if (replace) continue;
      await cri.updateContainerResources({ containerId: running.id, linux });
      this.#actual.set(container.name, this.#allocatedTo(container.name, running.id));
    }
    if (changes.some(({ replace }) => replace)) return;
    await cgroups.update(wanted);
    this.#cgroup = wanted;
  }

  #event(reason: string, pod: Pod, error?: string): void {
    const summary = (containers: readonly Container[] = []): object[] =>
      containers.map(({ name, resources = {} }) => ({ name, resources }));
    const { initContainers = [], containers = [] } = pod.spec ?? {};
    const text = JSON.stringify({
      ...(initContainers.length > 0 ? { initContainers: summary(initContainers) } : {}),
      containers: summary(containers),
      generation: pod.metadata?.generation ?? 0,
      ...(error ? { error } : {}),
    });
    const title = {
      ResizeStarted: 'started',
      ResizeCompleted: 'completed',
      ResizeError: 'error',
      ResizeDeferred: 'Deferred',
      ResizeInfeasible: 'Infeasible',
    }[reason];
    this.#dependencies.events.event(pod, {
      type: reason === 'ResizeStarted' || reason === 'ResizeCompleted' ? 'Normal' : 'Warning',
      reason,
      message: `Pod resize ${title}: ${text}`,
    });
  }
}

interface Change {
  readonly container: Container;
  readonly running: RuntimeContainer;
  readonly wanted: CriInput<LinuxContainerResources>;
  readonly before: ResourceRequirements | undefined;
  readonly replace: boolean;
}

/** Init containers too, while they run. */
function resizable({ spec }: Pod): Container[] {
  return [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
}

function resourcesOf({ spec }: Pod): Map<string, ResourceRequirements> {
  const found = new Map(
    [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].map(({ name, resources = {} }) => [
      name,
      resources,
    ]),
  );
  if (spec?.resources) found.set('', spec.resources);
  return found;
}

function withResources(pod: Pod, resources: Resources): Pod {
  if (!pod.spec) return pod;
  const own = <T extends Container>(container: T): T => ({
    ...container,
    resources: resources.get(container.name) ?? container.resources ?? {},
  });
  const { initContainers, containers } = pod.spec;
  const ofPod = resources.get('');
  return {
    ...pod,
    spec: {
      ...pod.spec,
      ...(initContainers ? { initContainers: initContainers.map(own) } : {}),
      containers: containers.map(own),
      ...(ofPod ? { resources: ofPod } : {}),
    },
  };
}

/** For a pod of an earlier agent: its status contains the allocation. */
function allocatedBefore(pod: Pod): Resources {
  const resources = resourcesOf(pod);
  for (const { name, allocatedResources, resources: shown } of [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
  ]) {
    const desired = resources.get(name);
    if (!desired || !allocatedResources || sameAmounts(allocatedResources, desired.requests)) continue;
    resources.set(name, {
      ...desired,
      requests: allocatedResources,
      ...(shown?.limits ? { limits: shown.limits } : {}),
    });
  }
  return resources;
}

function sameAll(one: Resources, other: Resources): boolean {
  return (
    one.size === other.size && [...one].every(([name, resources]) => same(resources, other.get(name) ?? {}))
  );
}

function same(one: ResourceRequirements, other: ResourceRequirements): boolean {
  return sameAmounts(one.requests, other.requests) && sameAmounts(one.limits, other.limits);
}

type Amounts = Readonly<Record<string, string>> | undefined;

function sameAmounts(one: Amounts, other: Amounts): boolean {
  return RESIZABLE.every((name) => sameAmount(one?.[name], other?.[name]));
}

function sameAmount(one: string | undefined, other: string | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  const [left, right] = [tryParseQuantity(one), tryParseQuantity(other)];
  return left !== undefined && right !== undefined && left.equals(right);
}

/** As reported by the runtime, if it does. Absent amounts are zero. */
function sameKernel(one: LinuxContainerResources, other: CriInput<LinuxContainerResources>): boolean {
  return (['cpuShares', 'cpuQuota', 'memoryLimitInBytes'] as const).every(
    (field) => Math.max(0, one[field]) === (other[field] ?? 0),
  );
}

/** One of the resources that change may only change with a new container. */
function needsReplacement(
  { resizePolicy = [] }: Container,
  {
    before,
    after,
  }: { readonly before: ResourceRequirements | undefined; readonly after: ResourceRequirements },
): boolean {
  return resizePolicy.some(
    ({ resourceName, restartPolicy }) =>
      restartPolicy === 'RestartContainer' &&
      !(
        sameAmount(before?.requests?.[resourceName], after.requests?.[resourceName]) &&
        sameAmount(before?.limits?.[resourceName], after.limits?.[resourceName])
      ),
  );
}

/** A container without a limit is bounded by that of its pod. */
function effective(
  { requests, limits }: ResourceRequirements,
  ofPod: ResourceRequirements | undefined,
): ResourceRequirements {
  return {
    ...(requests ? { requests } : {}),
    limits: { ...ofPod?.limits, ...withoutZeros(limits) },
  };
}

/** No limit: more than every limit. */
function bytes(text: string | undefined): number {
  return text === undefined ? Infinity : (tryParseQuantity(text)?.value() ?? Infinity);
}

/** In each amount the larger one; 0 is no limit. Before is not known: no limits at all. */
function largerOf(before: PodCgroup | undefined, after: PodCgroup): PodCgroup {
  const limit = (one: number, other: number): number => (one === 0 || other === 0 ? 0 : Math.max(one, other));
  if (!before) return { ...after, cpuQuota: 0, memoryLimitBytes: 0 };
  return {
    ...after,
    cpuQuota: limit(before.cpuQuota, after.cpuQuota),
    memoryLimitBytes: limit(before.memoryLimitBytes, after.memoryLimitBytes),
  };
}
