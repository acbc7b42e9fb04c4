/**
 * The static pods of this node: follows their directory, reports added and removed pods to the agent, and maintains their mirror pods. A changed
 * manifest is another pod: the previous one ends first. An unreadable manifest runs nothing and is logged.
 *
 *   directory ──change, or every 20 s──► manifests ──difference──► removed(pod), added(pod)
 *                                            └──────► mirror pods
 */
import { watch, type FSWatcher } from 'node:fs';
import type { Node, Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { CONFIG_SEEN } from '#component-helpers/static-pods.ts';
import { objectKey } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { SerialRunner } from '../serial-runner.ts';
import { readManifests, type DecodePod } from './manifests.ts';
import { MirrorPods } from './mirror-pods.ts';

interface StaticPodsOptions {
  /** A directory of manifests, or one file. */
  readonly path: string;
  readonly decode: DecodePod;
  readonly nodeName: string;
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly node: () => Node | undefined;
  readonly added: (pod: Pod) => void;
  readonly removed: (pod: Pod) => void;
  /** The file check frequency. Default 20 s, as upstream. */
  readonly everyMs?: number | undefined;
}

const EVERY_MS = 20_000;
/** Writers take several steps. */
const SETTLE_MS = 100;

/** Problems of one log line; the others are counted. */
const MAX_PROBLEMS = 20;

export class StaticPods {
  readonly mirrors: MirrorPods;
  readonly #options: StaticPodsOptions;
  readonly #runner: SerialRunner;
  #pods: ReadonlyMap<string, Pod> | undefined;
  #problems = '';
  #watcher: FSWatcher | undefined;
  #next: Timer | undefined;

  constructor(options: StaticPodsOptions) {
    this.#options = options;
    this.#runner = new SerialRunner({ clock: options.clock, work: () => this.#look() });
    this.mirrors = new MirrorPods({ ...options, wanted: () => this.#pods });
  }

  /** Resolves once the manifests were read, so that their pods are known before others are treated as orphans. */
  async start(): Promise<void> {
    this.#watch();
    await this.#read();
    this.#lookAfter(this.#everyMs);
  }

  async stop(): Promise<void> {
    this.#watcher?.close();
    await this.#runner.stop();
    this.#next?.cancel();
    await this.mirrors.stop();
  }

  async #look(): Promise<undefined> {
    await this.#read();
    this.#lookAfter(this.#everyMs);
  }

  get #everyMs(): number {
    return this.#options.everyMs ?? EVERY_MS;
  }

  #lookAfter(ms: number): void {
    this.#next?.cancel();
    this.#next = this.#options.clock.after(ms, () => this.#runner.wake());
  }

  async #read(): Promise<void> {
    const { path, log } = this.#options;
    try {
      const { pods, problems } = await readManifests(path, this.#options);
      const texts = problems.slice(0, MAX_PROBLEMS).map(({ file, message }) => `${file}: ${message}`),
        more = problems.length - texts.length;
      this.#report([...texts, ...(more > 0 ? [`and ${more} more`] : [])].join('; '));
      this.#replace(new Map(pods.map((pod) => [objectKey(pod), pod])));
    } catch (error) {
      log.error('error reading static pods, keeping the known ones', { path, error: errorMessage(error) });
    }
  }

  /** Once, until it changes. */
  #report(problems: string): void {
    if (problems !== '' && problems !== this.#problems)
      this.#options.log.error('static pods were not accepted', { problems });
    this.#problems = problems;
  }

  #replace(found: ReadonlyMap<string, Pod>): void {
    const { added, removed, clock } = this.#options;
    const before = this.#pods ?? new Map<string, Pod>();
    const next = new Map(
      [...found].map(([key, pod]) => {
        const known = before.get(key);
        return [key, known?.metadata?.uid === pod.metadata?.uid ? known! : seenAt(pod, clock.now())] as const;
      }),
    );
    this.#pods = next;
    for (const [key, pod] of before) if (next.get(key) !== pod) removed(pod);
    for (const [key, pod] of next) if (before.get(key) !== pod) added(pod);
    this.mirrors.wake();
  }

  /** A directory that does not exist yet is polled every 20 s. */
  #watch(): void {
    try {
      this.#watcher = watch(this.#options.path, () => this.#lookAfter(SETTLE_MS));
      this.#watcher.on('error', () => this.#watcher?.close());
      this.#watcher.unref();
    } catch {
      this.#watcher = undefined;
    }
  }
}

function seenAt(pod: Pod, nowMs: number): Pod {
  const annotations = { ...pod.metadata?.annotations, [CONFIG_SEEN]: formatTime(nowMs) };
  return { ...pod, metadata: { ...pod.metadata, creationTimestamp: formatTime(nowMs), annotations } };
}
