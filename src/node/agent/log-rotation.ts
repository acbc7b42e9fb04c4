/**
 * Rotates containers' logs: a file above 10 MiB is renamed and the runtime opens a new one; five files of a run are kept, including the newest.
 * After upstream's kubelet/logs/container_log_manager, but without compression, so that `kubectl logs` reads all of them.
 */
import { rename, rm, stat } from 'node:fs/promises';
import { isoTime } from '#stdx/dates.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { CriClient } from '../cri/client.ts';
import { Rounds } from './rounds.ts';
import { logFiles } from './server/log-file.ts';

export interface LogRotationLimits {
  /** Default 10 MiB. */
  readonly maximumBytes?: number;
  /** Default 5. */
  readonly maximumFiles?: number;
  /** Default 10 s. */
  readonly periodMs?: number;
}

interface LogRotationOptions extends LogRotationLimits {
  readonly cri: Pick<CriClient, 'listContainers' | 'containerStatus' | 'reopenContainerLog'>;
  readonly clock: Clock;
  readonly log: Logger;
}

const PERIOD_MS = 10_000;
const MAXIMUM_BYTES = 10 * 1024 * 1024;
const MAXIMUM_FILES = 5;

export class LogRotation {
  readonly #options: LogRotationOptions;
  readonly #rounds: Rounds;
  /** A container's path does not change. */
  readonly #paths = new Map<string, string>();

  constructor(options: LogRotationOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options.clock);
  }

  start(): void {
    this.#rounds.start(() => this.#round(), { firstMs: this.#options.periodMs ?? PERIOD_MS });
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  async #round(): Promise<number> {
    await this.rotate().catch((error: unknown) =>
      this.#options.log.warn('error rotating container logs', { error: errorMessage(error) }),
    );
    return this.#options.periodMs ?? PERIOD_MS;
  }

  /** Checks all running containers once. */
  async rotate(): Promise<void> {
    const { cri, log, maximumBytes = MAXIMUM_BYTES } = this.#options;
    const { containers } = await cri.listContainers({ filter: { state: { state: 'CONTAINER_RUNNING' } } });
    const ids = new Set(containers.map(({ id }) => id));
    for (const id of this.#paths.keys()) if (!ids.has(id)) this.#paths.delete(id);
    for (const { id } of containers) {
      const path = await this.#path(id);
      const size =
        path === ''
          ? 0
          : await stat(path).then(
              (stats) => stats.size,
              () => 0,
            );
      if (size > maximumBytes)
        await this.#rotateOne(id, path).catch((error: unknown) =>
          log.warn('error rotating a container log', { path, error: errorMessage(error) }),
        );
    }
  }

  async #path(id: string): Promise<string> {
    const known = this.#paths.get(id);
    if (known !== undefined) return known;
    const path = (await this.#options.cri.containerStatus({ containerId: id }))?.status?.logPath ?? '';
    this.#paths.set(id, path);
    return path;
  }

  async #rotateOne(id: string, path: string): Promise<void> {
    const { cri, clock, maximumFiles = MAXIMUM_FILES } = this.#options;
    const rotated = (await logFiles(path)).slice(0, -1);
    // Rename the current file and let the runtime open a new one.
    for (const old of rotated.slice(0, Math.max(0, rotated.length + 2 - maximumFiles)))
      await rm(old, { force: true });
    const name = `${path}.${isoTime(clock.now()).slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}`;
    await rename(path, name);
    try {
      await cri.reopenContainerLog({ containerId: id });
    } catch (error) {
      // The runtime still writes into the renamed file: restore its name.
      await rename(name, path);
      throw error;
    }
  }
}
