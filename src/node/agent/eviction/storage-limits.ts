/**
 * Evicts pods that exceed their disk limits: an emptyDir its sizeLimit, a container or the whole pod their ephemeral-storage limits (writable layers,
 * logs, emptyDirs). After upstream's localStorageEviction. Pods without such limits cost nothing; pressure on the node is eviction-manager.ts's.
 */
import type { AgentMetrics, LimitSignal } from '../agent-metrics.ts';
import type { Pod } from '#api/types.ts';
import { isCriticalPod } from '#component-helpers/static-pods.ts';
import { podLimits } from '#component-helpers/pod-resources.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { CriClient } from '../../cri/client.ts';
import type { ContainerStats } from '../../cri/types.ts';
import { Rounds } from '../rounds.ts';
import { EVICTED } from './message.ts';
import { sumOfUses } from './disk-use.ts';
import { diskVolumes, measureDisk, type PodUseDependencies } from './pod-use.ts';

/** What evictions need of pods' workers. */
export interface EvictablePod {
  readonly pod: Pod;
  /** Nothing of it runs. */
  readonly finished: boolean;
  /** It is being deleted. */
  readonly ending: boolean;
  /** It was failed already, and may still run. */
  readonly failing: boolean;
  fail(failure: {
    readonly reason: string;
    readonly message: string;
    readonly graceSeconds: number;
    readonly disrupted?: boolean;
  }): void;
}

/** In bytes; the first two by name. */
interface PodStorage {
  readonly volumes: ReadonlyMap<string, number>;
  readonly containers: ReadonlyMap<string, number>;
  readonly total: number;
}

export interface StorageLimitsOptions extends Pick<PodUseDependencies, 'volumes' | 'logsDir'> {
  readonly cri: Pick<CriClient, 'listContainerStats'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  readonly metrics: Pick<AgentMetrics, 'evicted'>;
  readonly workers: () => readonly EvictablePod[];
  /** Writable layers are on another file system than the pods' volumes and logs: as upstream, they do not count for a container's limit. */
  readonly dedicatedImages: () => boolean;
}

const PERIOD_MS = 10_000;
/** Maximum share of time for counting large trees. */
const REST_PER_WORK = 10;
/** Grace period of an eviction. As upstream: the data is deleted with the pod anyway. */
const GRACE_SECONDS = 1;
const STORAGE = 'ephemeral-storage';

export class StorageLimits {
  readonly #options: StorageLimitsOptions;
  readonly #rounds: Rounds;

  constructor(options: StorageLimitsOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options.clock);
  }

  start(): void {
    this.#rounds.start(() => this.#round(), { firstMs: PERIOD_MS });
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  async #round(): Promise<number> {
    const { clock, log } = this.#options;
    const beganMs = clock.monotonic();
    await this.check().catch((error: unknown) =>
      log.warn('error measuring disk usage', { error: errorMessage(error) }),
    );
    return Math.max(PERIOD_MS, (clock.monotonic() - beganMs) * REST_PER_WORK);
  }

  /** Checks all pods with limits once. */
  async check(): Promise<void> {
    const { cri, log, events, metrics, workers } = this.#options;
    const limited = workers().filter(
      ({ pod, finished, ending, failing }) =>
        !finished && !ending && !failing && hasLimits(pod) && !isCriticalPod(pod),
    );
    if (limited.length === 0) return;
    const { stats } = await cri.listContainerStats({});
    for (const worker of limited) {
      if (this.#rounds.stopped) return;
      const message = excess(worker.pod, await this.#use(worker.pod, stats));
      if (message === undefined || worker.finished || worker.ending || worker.failing) continue;
      log.info('pod evicted', {
        pod: `${worker.pod.metadata?.namespace}/${worker.pod.metadata?.name}`,
        message,
      });
      events.event(worker.pod, { type: 'Warning', reason: EVICTED, message });
      metrics.evicted(signalOf(message));
      worker.fail({ reason: EVICTED, message, graceSeconds: GRACE_SECONDS });
    }
  }

  async #use(pod: Pod, stats: readonly ContainerStats[]): Promise<PodStorage> {
    const { volumes, containers } = await measureDisk(pod, { ...this.#options, stats });
    const layers = this.#options.dedicatedImages() ? 0 : 1;
    return {
      volumes: new Map([...volumes].map(([name, { bytes }]) => [name, bytes])),
      containers: new Map(
        [...containers].map(([name, { rootfs, logs }]) => [name, layers * rootfs.bytes + logs.bytes]),
      ),
      total: sumOfUses([
        ...volumes.values(),
        ...[...containers.values()].flatMap(({ rootfs, logs }) => [rootfs, logs]),
      ]).bytes,
    };
  }
}

function hasLimits(pod: Pod): boolean {
  return (
    diskVolumes(pod).some(({ emptyDir }) => emptyDir?.sizeLimit !== undefined) ||
    storageLimit(pod) !== undefined
  );
}

function storageLimit(pod: Pod): Quantity | undefined {
  return podLimits(pod).get(STORAGE);
}

/** The eviction message, in upstream's words. */
export function excess(pod: Pod, { volumes, containers, total }: PodStorage): string | undefined {
  for (const { name, emptyDir } of diskVolumes(pod)) {
    const limit = emptyDir?.sizeLimit === undefined ? undefined : parseQuantity(emptyDir.sizeLimit);
    if (limit && limit.sign > 0 && exceeds(volumes.get(name), limit))
      return `Usage of EmptyDir volume "${name}" exceeds the limit "${limit.toString()}". `;
  }
  const limit = storageLimit(pod);
  if (limit && exceeds(total, limit))
    return `Pod ephemeral local storage usage exceeds the total limit of containers ${limit.toString()}. `;
  for (const { name, resources } of pod.spec?.containers ?? []) {
    const text = resources?.limits?.[STORAGE];
    const own = text === undefined ? undefined : parseQuantity(text);
    if (own && !own.isZero && exceeds(containers.get(name), own))
      return `Container ${name} exceeded its local ephemeral storage limit "${own.toString()}". `;
  }
  return undefined;
}

/** message: of excess(). */
function signalOf(message: string): LimitSignal {
  if (message.startsWith('Usage of EmptyDir')) return 'emptydirfs.limit';
  return message.startsWith('Container') ? 'ephemeralcontainerfs.limit' : 'ephemeralpodfs.limit';
}

function exceeds(bytes: number | undefined, limit: Quantity): boolean {
  return bytes !== undefined && parseQuantity(String(bytes)).compare(limit) > 0;
}
