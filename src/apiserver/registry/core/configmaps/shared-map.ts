/** Small facts that every API server on one store should know, in the data of one ConfigMap of kube-system. Bounded: what ends first is dropped. */
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import type { GroupResource, InternalApi } from '../../loopback-client.ts';

const CONFIG_MAPS: GroupResource = { group: '', resource: 'configmaps' };
const NAMESPACE = 'kube-system';
const MAX_ENTRIES = 2000;
/** Changes queued behind the one in flight; further ones are dropped, and the server that made them keeps them in memory. */
const MAX_WAITING = 1000;

interface Entry {
  readonly value: string;
  readonly endMs: number;
}

interface SharedMapOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export class SharedMap {
  readonly #options: SharedMapOptions;
  readonly #waiting = new Map<string, Entry | undefined>();
  #internal: InternalApi | undefined;
  #isWriting = false;

  constructor(options: SharedMapOptions) {
    this.#options = options;
  }

  attach(internal: InternalApi): void {
    this.#internal = internal;
  }

  /** From this server's cache; undefined: absent, or closed. */
  get(key: string): string | undefined {
    const map = this.#internal?.get(CONFIG_MAPS, { namespace: NAMESPACE, name: this.#options.name });
    const text = (map?.['data'] as Readonly<Record<string, string>> | undefined)?.[key];
    const entry = text === undefined ? undefined : parse(text);
    return entry && entry.endMs > this.#options.clock.now() ? entry.value : undefined;
  }

  /** Written soon; a failure is logged. Undefined: forgotten. */
  set(key: string, entry: Entry | undefined): void {
    if (!this.#internal || (this.#waiting.size >= MAX_WAITING && !this.#waiting.has(key))) return;
    this.#waiting.set(key, entry);
    if (!this.#isWriting) void this.#write(this.#internal);
  }

  async #write(internal: InternalApi): Promise<void> {
    const { name, log } = this.#options;
    this.#isWriting = true;
    while (this.#waiting.size > 0) {
      const changes = new Map(this.#waiting);
      this.#waiting.clear();
      try {
        await this.#merge(internal, changes);
      } catch (error) {
        log.warn('error writing the state shared by API servers', {
          configMap: name,
          error: errorMessage(error),
        });
      }
    }
    this.#isWriting = false;
  }

  async #merge(internal: InternalApi, changes: ReadonlyMap<string, Entry | undefined>): Promise<void> {
    const at = { namespace: NAMESPACE, name: this.#options.name };
    if (!internal.get(CONFIG_MAPS, at)) {
      try {
        await internal.create(CONFIG_MAPS, { apiVersion: 'v1', kind: 'ConfigMap', metadata: at });
      } catch (error) {
        // Another server was faster.
        if (!isStatusError(error, 'AlreadyExists')) throw error;
      }
    }
    await internal.modify(CONFIG_MAPS, at, (map) => this.#change(map, changes));
  }

  #change(map: KubeObject, changes: ReadonlyMap<string, Entry | undefined>): void {
    const entries = new Map<string, Entry>();
    for (const [key, text] of Object.entries((map['data'] ?? {}) as Record<string, string>)) {
      const entry = parse(text);
      if (entry && entry.endMs > this.#options.clock.now()) entries.set(key, entry);
    }
    for (const [key, entry] of changes) {
      if (entry) entries.set(key, entry);
      else entries.delete(key);
    }
    const kept = [...entries]
      .toSorted(([, left], [, right]) => right.endMs - left.endMs)
      .slice(0, MAX_ENTRIES);
    map['data'] = Object.fromEntries(kept.map(([key, { value, endMs }]) => [key, `${endMs} ${value}`]));
  }
}

function parse(text: string): Entry | undefined {
  const [, endMs, value] = /^(\d+) (.*)$/s.exec(text) ?? [];
  return endMs === undefined ? undefined : { endMs: Number(endMs), value: value! };
}
