/**
 * A resource listed once page by page and then watched, of which only what matters is kept: a gate looks every second, and a cluster may have 100,000 pods.
 * While the watch is away it says why, so that nobody decides by what is old.
 */
import type { Client, ResourceRef } from '#client/client.ts';
import { objectKey, type KubeObject, type Stored } from '#machinery/object.ts';
import { realClock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';

const PAGE = 500;
const WATCH_SECONDS = 30;
const WATCH_LIMIT_MS = 40_000;
const RETRY_MS = 500;

interface FollowedOptions<T extends KubeObject, Kept> {
  readonly ref: ResourceRef<T>;
  /** Undefined: the object is not kept. */
  keep(object: Stored<T>): Kept | undefined;
}

export class Followed<T extends KubeObject, Kept> {
  readonly #api: Client;
  readonly #options: FollowedOptions<T, Kept>;
  readonly #stop = new AbortController();
  readonly #kept = new Map<string, Kept>();
  #problem: string | undefined = 'it was not listed yet';
  #resourceVersion: string | undefined;
  #following: Promise<void> | undefined;

  constructor(api: Client, options: FollowedOptions<T, Kept>) {
    this.#api = api;
    this.#options = options;
  }

  /** What is kept, by 'namespace/name' or 'name'. */
  get kept(): ReadonlyMap<string, Kept> {
    return this.#kept;
  }

  /** Why kept may be old. Undefined: it is not. */
  get problem(): string | undefined {
    return this.#problem && `${this.#options.ref.plural} cannot be watched: ${this.#problem}`;
  }

  /** Lists, then follows until stop. Rejects where it cannot be listed; may be called again. */
  async start(): Promise<void> {
    if (this.#following) return;
    await this.#list();
    this.#following = this.#follow();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#following;
  }

  async #list(): Promise<void> {
    const found = new Map<string, Kept>();
    let token: string | undefined;
    let resourceVersion: string | undefined;
    do {
      const page = await this.#api.list(this.#options.ref, {
        limit: PAGE,
        ...(token ? { continue: token } : {}),
      });
      for (const object of page.items) this.#note(found, object);
      resourceVersion = page.metadata?.resourceVersion;
      token = page.metadata?.continue || undefined;
    } while (token !== undefined);
    this.#kept.clear();
    for (const [key, kept] of found) this.#kept.set(key, kept);
    this.#resourceVersion = resourceVersion;
    this.#problem = undefined;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        if (this.#resourceVersion === undefined) await this.#list();
        await this.#watch(signal);
      } catch (error) {
        if (signal.aborted) return;
        // Listed anew: that it was listed is the only word that the server is there again, where no event comes.
        this.#resourceVersion = undefined;
        this.#problem = errorMessage(error);
        await realClock.sleep(RETRY_MS, signal).catch(() => {});
      }
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const events = this.#api.watch(this.#options.ref, {
      resourceVersion: this.#resourceVersion ?? '',
      // One that died without a word ends too.
      signal: AbortSignal.any([signal, AbortSignal.timeout(WATCH_LIMIT_MS)]),
      allowWatchBookmarks: true,
      timeoutSeconds: WATCH_SECONDS,
    });
    for await (const { type, object } of events) {
      this.#resourceVersion = object.metadata?.resourceVersion ?? this.#resourceVersion;
      if (type === 'DELETED') this.#kept.delete(objectKey(object));
      else if (type !== 'BOOKMARK') this.#note(this.#kept, object as Stored<T>);
    }
  }

  #note(into: Map<string, Kept>, object: Stored<T>): void {
    const kept = this.#options.keep(object);
    if (kept === undefined) into.delete(objectKey(object));
    else into.set(objectKey(object), kept);
  }
}
