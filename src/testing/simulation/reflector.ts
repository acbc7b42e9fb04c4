/**
 * A client that keeps itself current, as client-go's reflector does: it lists (in one of the ways in which clients do) and watches from there, resumes at whichever
 * server it finds from the newest revision that it was told, and lists anew after 410.
 *
 *   list ─▶ watch from its revision ─▶ stream ended ─▶ watch from the newest revision ─▶ …
 *     ▲                                  └── 410 ─┐
 *     └───────────────────────────────────────────┘
 */
import type { Revision } from '#storage/store.ts';
import { NoAnswer, type SimWatchEvent } from './api-client.ts';
import { PREFIX, seenObject, type SeenObject, type StreamEntry } from './history.ts';
import { listMaps, MAPS, Worker, type Workers } from './workload.ts';
import type { SimAnswer } from './api-client.ts';

const BACKOFF_MS = 300;
const TIMEOUT_S = { low: 2, high: 40 };

interface OpenStream {
  readonly name: string;
  server: string;
  readonly after: Revision;
  readonly entries: StreamEntry[];
}

export class Reflector extends Worker {
  readonly #labelled: boolean;
  readonly #floor: () => Revision;
  #resumeAt: Revision | undefined;
  #streams = 0;
  #open: OpenStream | undefined;

  constructor(
    workers: Workers,
    { labelled, floor }: { readonly labelled: boolean; readonly floor: () => Revision },
  ) {
    super(workers);
    this.#labelled = labelled;
    this.#floor = floor;
  }

  /** The world ends: what is open must have been told everything. */
  finish(upTo: Revision): void {
    if (this.#open) this.#record(this.#open, { upTo });
    this.#open = undefined;
  }

  get isWatching(): boolean {
    return this.#open !== undefined;
  }

  get(query: string): Promise<SimAnswer | undefined> {
    return this.ask(MAPS, query);
  }

  protected async turn(): Promise<void> {
    if (this.#resumeAt !== undefined) await this.#watchFrom(this.#resumeAt);
    else if (this.world.chance(0.3)) await this.#watchList();
    else await this.#list();
    await this.node.clock.sleep(this.world.between(1, BACKOFF_MS));
  }

  async #list(): Promise<void> {
    const kind = this.world.chance(0.4) ? ('any' as const) : ('consistent' as const);
    const found = await listMaps(this, {
      kind,
      asked: kind === 'any' ? 0 : undefined,
      labelled: this.#labelled,
      limit: this.world.chance(0.5) ? 2 : 0,
    });
    if (!found) return;
    this.history.lists.push(found);
    this.#resumeAt = found.revision;
  }

  #query(more: Record<string, string>): string {
    const seconds = Math.round(this.world.between(TIMEOUT_S.low, TIMEOUT_S.high));
    return new URLSearchParams({
      watch: '1',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(seconds),
      ...(this.#labelled ? { labelSelector: 'on=yes' } : {}),
      ...more,
    }).toString();
  }

  #stream(after: Revision): OpenStream {
    return { name: `${this.node.name} stream ${++this.#streams}`, server: '', after, entries: [] };
  }

  async #watchFrom(after: Revision): Promise<void> {
    const stream = this.#stream(after);
    await this.#follow(stream, {
      query: this.#query({ resourceVersion: String(after) }),
      onEvent: (event) => this.#take(stream, event),
    });
  }

  async #watchList(): Promise<void> {
    const startMs = this.world.nowMs;
    const { decided } = this;
    const initial: SeenObject[] = [];
    let stream: OpenStream | undefined;
    const began = { server: '' };
    await this.#follow(began, {
      query: this.#query({ sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }),
      onEvent: (event) => {
        if (stream) return this.#take(stream, event);
        if (event.type === 'ADDED') return void initial.push(seenObject(event.object));
        if (event.type === 'ERROR') return;
        const revision = Number(event.object.metadata.resourceVersion);
        const isEnd = event.object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true';
        if (event.type !== 'BOOKMARK' || !isEnd)
          return void this.history.faults.push(
            `${this.node.name}: ${event.type} at ${revision} before the initial events ended`,
          );
        stream = this.#open = { ...this.#stream(revision), server: began.server };
        this.#resumeAt = revision;
        this.history.lists.push({
          what: `${stream.name}: initial events at ${began.server}`,
          kind: 'initial-events',
          asked: undefined,
          labelled: this.#labelled,
          server: began.server,
          revision,
          pages: [revision],
          items: initial,
          startMs,
          endMs: this.world.nowMs,
          decided,
        });
      },
    });
  }

  async #follow(
    stream: OpenStream | { server: string },
    { query, onEvent }: { readonly query: string; readonly onEvent: (event: SimWatchEvent) => void },
  ): Promise<void> {
    const isOpen = 'entries' in stream;
    try {
      await this.client.watch(
        { method: 'GET', path: MAPS, query },
        {
          onBegin: (server) => {
            stream.server = server;
            if (isOpen) this.#open = stream;
          },
          onEvent,
        },
      );
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
    }
    if (this.#open) this.#record(this.#open);
    this.#open = undefined;
  }

  #take(stream: OpenStream, { type, object }: SimWatchEvent): void {
    if (type === 'ERROR') {
      if (object.code !== 410) return;
      this.#record(stream, { expired: { floor: this.#floor() } });
      this.#open = undefined;
      this.#resumeAt = undefined;
      return;
    }
    const revision = Number(object.metadata.resourceVersion);
    this.#resumeAt = Math.max(this.#resumeAt ?? 0, revision);
    if (type === 'BOOKMARK') stream.entries.push({ kind: 'bookmark', revision });
    else
      stream.entries.push({
        kind: 'event',
        type: type as 'ADDED' | 'MODIFIED' | 'DELETED',
        object: seenObject(object),
      });
  }

  #record(
    { name, server, after, entries }: OpenStream,
    end: { readonly upTo?: Revision; readonly expired?: { readonly floor: Revision } } = {},
  ): void {
    this.history.streams.push({
      name: `${name} of ${server}`,
      server,
      prefix: PREFIX,
      labelled: this.#labelled,
      after,
      entries,
      ...end,
    });
  }
}
