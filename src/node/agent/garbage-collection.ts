/** Removes directories, cgroups and logs of pods that no longer exist (also those of earlier runs), and unused images when the disk fills up. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { CriClient } from '../cri/client.ts';
import type { Cgroups } from './cgroups.ts';
import { LABELS } from './labels.ts';
import { ImageGarbageCollector, type ImageGarbageThresholds } from '../images/garbage.ts';
import { removeDeadLinks } from './pod/container-log-links.ts';
import { Rounds } from './rounds.ts';
import type { PodVolumes } from './volumes/pod-volumes.ts';

interface GarbageCollectorOptions {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly volumes: PodVolumes;
  readonly cgroups: Cgroups;
  readonly cgroupRoot: string;
  /** Directory of pod logs. */
  readonly logsDir: string;
  /** Directory of links to containers' logs. */
  readonly containerLogsDir?: string | undefined;
  /** Whether the pod with this UID still exists or is being terminated. */
  readonly keeps: (uid: string) => boolean;
  /** Whether the pod with this UID exists, and nothing of it runs or will run. */
  readonly hasEnded: (uid: string) => boolean;
  /** References of images that are in use although no container runs them. */
  readonly imagesUsed: () => readonly string[];
  readonly images?: ImageGarbageThresholds | undefined;
}

const PERIOD_MS = 60_000;
const IMAGE_PERIOD_MS = 300_000;

export class GarbageCollector {
  readonly #options: GarbageCollectorOptions;
  readonly #rounds: Rounds;
  readonly #images: ImageGarbageCollector;
  #lastImagesMs: number;

  constructor(options: GarbageCollectorOptions) {
    this.#options = options;
    const { cri, clock, log } = options;
    this.#images = new ImageGarbageCollector({
      ...options.images,
      cri,
      clock,
      log,
      alsoUsed: options.imagesUsed,
    });
    this.#lastImagesMs = clock.monotonic();
    this.#rounds = new Rounds(clock);
  }

  start(): void {
    this.#rounds.start(() => this.#round());
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  /** Of pods that ended: the API still has them, and their statuses. Rejects with CriError. */
  async removeEndedContainers(): Promise<void> {
    const { cri, log, hasEnded } = this.#options;
    const [{ containers }, { items }] = await Promise.all([cri.listContainers({}), cri.listPodSandbox({})]);
    const ended = ({ labels }: { readonly labels: Readonly<Record<string, string>> }): boolean =>
      hasEnded(labels[LABELS.podUID] ?? '');
    const removed = containers.filter((one) => one.state === 'CONTAINER_EXITED' && ended(one));
    for (const { id } of removed) await cri.removeContainer({ containerId: id });
    for (const one of items)
      if (one.state === 'SANDBOX_NOTREADY' && ended(one))
        await cri.removePodSandbox({ podSandboxId: one.id });
    log.info('removed containers of ended pods', { containers: removed.length });
  }

  /** All that may go. Rejects with CriError. */
  async removeUnusedImages(): Promise<void> {
    await this.#images.free(Infinity);
  }

  async #round(): Promise<number> {
    const { clock, log } = this.#options;
    await this.#collectPods().catch((error: unknown) =>
      log.warn('error removing leftovers of deleted pods', { error: errorMessage(error) }),
    );
    if (clock.monotonic() - this.#lastImagesMs >= IMAGE_PERIOD_MS) {
      this.#lastImagesMs = clock.monotonic();
      await this.#images
        .collect()
        .catch((error: unknown) =>
          log.warn('error collecting unused images', { error: errorMessage(error) }),
        );
    }
    return PERIOD_MS;
  }

  async #collectPods(): Promise<void> {
    const { cri, volumes, cgroups, cgroupRoot, logsDir, keeps } = this.#options;
    const { items } = await cri.listPodSandbox({});
    const running = new Set(items.map(({ metadata }) => metadata?.uid));
    const gone = (uid: string): boolean => !keeps(uid) && !running.has(uid);
    for (const uid of (await volumes.leftovers()).filter(gone)) await volumes.remove(uid);
    for (const { path, uid } of await cgroups.list(cgroupRoot)) if (gone(uid)) await cgroups.remove(path);
    for (const name of await readdir(logsDir).catch((): string[] => [])) {
      const uid = name.split('_')[2] ?? '';
      if (gone(uid)) await rm(join(logsDir, name), { recursive: true, force: true });
    }
    await removeDeadLinks(this.#options);
  }
}
