/**
 * Evicts pods that exceed their disk limits: an emptyDir its sizeLimit, a container or the whole pod their ephemeral-storage limits (writable layers,
 * logs, emptyDirs). After upstream's localStorageEviction. Pods without such limits cost nothing; disk pressure of the node is handled
 * elsewhere.
 */
import type { AgentMetrics, EvictionSignal } from './agent-metrics.ts';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pod, Volume } from '#api/types.ts';
import { podLimits } from '#component-helpers/pod-resources.ts';
import { parseQuantity, Quantity } from '#machinery/quantity.ts';
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { CriClient } from '../cri/client.ts';
import type { ContainerStats } from '../cri/types.ts';
import { LABELS } from './labels.ts';
import { podLogDirectory } from './pod/pod-text.ts';
import { Rounds } from './rounds.ts';
import type { PodVolumes } from './volumes/pod-volumes.ts';

/** What this file needs of pods' workers. */
export interface LimitedPod {
  readonly pod: Pod;
  readonly finished: boolean;
  readonly ending: boolean;
  fail(failure: { readonly reason: string; readonly message: string; readonly graceSeconds: number }): void;
}

/** In bytes, by name. */
interface StorageUse {
  readonly volumes: ReadonlyMap<string, number>;
  readonly containers: ReadonlyMap<string, number>;
}

export interface StorageLimitsOptions {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  readonly metrics: Pick<AgentMetrics, 'evicted'>;
  readonly volumes: PodVolumes;
  /** Of pods' logs. */
  readonly logsDir: string;
  readonly workers: () => readonly LimitedPod[];
}

const PERIOD_MS = 10_000;
/** Maximum share of time for counting large trees. */
const REST_PER_WORK = 10;
/** Grace period of an eviction. As upstream: the data is deleted with the pod anyway. */
const GRACE_SECONDS = 1;
const STORAGE = 'ephemeral-storage';
const BLOCK_BYTES = 512;

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
    const limited = workers().filter(({ pod, finished, ending }) => !finished && !ending && hasLimits(pod));
    if (limited.length === 0) return;
    const { stats } = await cri.listContainerStats({});
    for (const worker of limited) {
      if (this.#rounds.stopped) return;
      const message = excess(worker.pod, await this.#use(worker.pod, stats));
      if (message === undefined || worker.finished || worker.ending) continue;
      log.info('pod evicted', {
        pod: `${worker.pod.metadata?.namespace}/${worker.pod.metadata?.name}`,
        message,
      });
      events.event(worker.pod, { type: 'Warning', reason: 'Evicted', message });
      metrics.evicted(signalOf(message));
      worker.fail({ reason: 'Evicted', message, graceSeconds: GRACE_SECONDS });
    }
  }

  async #use(pod: Pod, stats: readonly ContainerStats[]): Promise<StorageUse> {
    const { volumes, logsDir } = this.#options;
    const { uid = '' } = pod.metadata ?? {};
    const used = new Map<string, number>(),
      containers = new Map<string, number>();
    for (const { name } of diskVolumes(pod))
      used.set(name, await bytesBelow(volumes.emptyDirPath(uid, name)));
    for (const { name } of [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]) {
      const own = stats.filter(
        ({ attributes }) =>
          attributes?.labels[LABELS.podUID] === uid && attributes.labels[LABELS.containerName] === name,
      );
      const layers = own.reduce((sum, { writableLayer }) => sum + (writableLayer?.usedBytes?.value ?? 0), 0);
      containers.set(name, layers + (await bytesBelow(join(podLogDirectory(logsDir, pod), name))));
    }
    return { volumes: used, containers };
  }
}

/** Those in memory have their limit from the file system. */
function diskVolumes({ spec }: Pod): Volume[] {
  return (spec?.volumes ?? []).filter(({ emptyDir }) => emptyDir && emptyDir.medium !== 'Memory');
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
export function excess(pod: Pod, { volumes, containers }: StorageUse): string | undefined {
  for (const { name, emptyDir } of diskVolumes(pod)) {
    const limit = emptyDir?.sizeLimit === undefined ? undefined : parseQuantity(emptyDir.sizeLimit);
    if (limit && limit.sign > 0 && exceeds(volumes.get(name), limit))
      return `Usage of EmptyDir volume "${name}" exceeds the limit "${limit.toString()}". `;
  }
  const limit = storageLimit(pod);
  const total = [...volumes.values(), ...containers.values()].reduce((sum, bytes) => sum + bytes, 0);
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
function signalOf(message: string): EvictionSignal {
  if (message.startsWith('Usage of EmptyDir')) return 'emptydirfs.limit';
  return message.startsWith('Container') ? 'ephemeralcontainerfs.limit' : 'ephemeralpodfs.limit';
}

function exceeds(bytes: number | undefined, limit: Quantity): boolean {
  return bytes !== undefined && parseQuantity(String(bytes)).compare(limit) > 0;
}

/** Disk usage of a tree. Files removed meanwhile count nothing; links are not followed. */
export async function bytesBelow(folder: string): Promise<number> {
  let bytes = 0;
  const entries = await opendir(folder).catch(() => undefined);
  if (!entries) return 0;
  for await (const entry of entries) {
    const path = join(folder, entry.name);
    const facts = await lstat(path).catch(() => undefined);
    bytes += (facts?.blocks ?? 0) * BLOCK_BYTES + (entry.isDirectory() ? await bytesBelow(path) : 0);
  }
  return bytes;
}
