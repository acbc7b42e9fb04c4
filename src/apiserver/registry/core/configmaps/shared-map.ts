/** Small facts that every API server on one store should know, in the data of one ConfigMap of kube-system. Bounded: what ends first is dropped. */
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import type { GroupResource, InternalApi } from '../../loopback-client.ts';

const CONFIG_MAPS: GroupResource = { group: '', resource: 'configmaps' };
const NAMESPACE = 'kube-system';
const MAX_ENTRIES = 2000;
/** Changes queued behind the one in flight; further ones are dropped, and the server that made them keeps them in memory. */
const MAX_WAITING = 1000;
/** Numbers that are added to are written at most this often: whoever can cause them must not cause a write each. */
const ADD_EVERY_MS = 1000;

interface Entry {
  readonly value: string;
  readonly endMs: number;
}

/** To be added to what is there. */
interface Addition {
  readonly by: number;
  readonly endMs: number;
}

type Change = Entry | Addition | undefined;

interface SharedMapOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export class SharedMap {
  readonly #options: SharedMapOptions;
  readonly #waiting = new Map<string, Change>();
  #internal: InternalApi | undefined;
  #isWriting = false;
  /** Whether what waits should be written now. */
  #isDue = false;
  #addedAtMs = -Infinity;
  #timer: Timer | undefined;

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
    this.#queue(key, entry);
    this.#flush();
  }

  /** Adds to the number that all servers have there, within a second. */
  add(key: string, addition: Addition): void {
    if (!this.#internal) return;
    this.#queue(key, this.#waiting.has(key) ? together(this.#waiting.get(key), addition) : addition);
    if (this.#timer) return;
    const { clock } = this.#options;
    const waitMs = this.#addedAtMs + ADD_EVERY_MS - clock.monotonic();
    this.#timer = clock.after(Math.max(0, waitMs), () => {
      this.#timer = undefined;
      this.#addedAtMs = clock.monotonic();
      this.#flush();
    });
  }

  #queue(key: string, change: Change): void {
    if (!this.#internal || (this.#waiting.size >= MAX_WAITING && !this.#waiting.has(key))) return;
    this.#waiting.set(key, change);
  }

  #flush(): void {
    this.#isDue = true;
    if (this.#internal && !this.#isWriting) void this.#write(this.#internal);
  }

  async #write(internal: InternalApi): Promise<void> {
    const { name, log } = this.#options;
    this.#isWriting = true;
    while (this.#isDue) {
      this.#isDue = false;
      const changes = new Map(this.#waiting);
      this.#waiting.clear();
      // An entry took the additions along.
      if (changes.size === 0) continue;
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

  async #merge(internal: InternalApi, changes: ReadonlyMap<string, Change>): Promise<void> {
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

  #change(map: KubeObject, changes: ReadonlyMap<string, Change>): void {
    const entries = new Map<string, Entry>();
    for (const [key, text] of Object.entries((map['data'] ?? {}) as Record<string, string>)) {
      const entry = parse(text);
      if (entry && entry.endMs > this.#options.clock.now()) entries.set(key, entry);
    }
    for (const [key, change] of changes) {
      const next = entryAfter(entries.get(key), change);
      if (next) entries.set(key, next);
      else entries.delete(key);
    }
    const kept = [...entries]
      .toSorted(([, left], [, right]) => right.endMs - left.endMs)
      .slice(0, MAX_ENTRIES);
    map['data'] = Object.fromEntries(kept.map(([key, { value, endMs }]) => [key, `${endMs} ${value}`]));
  }
}

/** Of one key: first what waits, then the addition. */
function together(before: Change, addition: Addition): Change {
  if (before && 'by' in before) return { by: before.by + addition.by, endMs: addition.endMs };
  return entryAfter(before, addition);
}

function entryAfter(before: Entry | undefined, change: Change): Entry | undefined {
  if (!change || !('by' in change)) return change;
  const number = Number(before?.value ?? 0);
  return { value: String((Number.isFinite(number) ? number : 0) + change.by), endMs: change.endMs };
}

function parse(text: string): Entry | undefined {
  const [, endMs, value] = /^(\d+) (.*)$/s.exec(text) ?? [];
  return endMs === undefined ? undefined : { endMs: Number(endMs), value: value! };
}
