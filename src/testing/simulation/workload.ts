/** The clients of one world: writers, readers and reflectors that work as client-go does, and record what they saw. */
import type { Revision } from '#storage/store.ts';
import { ApiClient, NoAnswer, type SimAnswer } from './api-client.ts';
import type { EtcdState } from './etcd-state.ts';
import { PREFIX, seenObject, type History, type ListRecord, type WriteRecord } from './history.ts';
import type { SimNode, World } from './world.ts';

export const MAPS = '/api/v1/namespaces/default/configmaps';
/** Some are written more often than others, by several at a time. */
const NAMES = ['a', 'a', 'a', 'a', 'b', 'b', 'c', 'd', 'e', 'f'];
const PAUSE_MS = { low: 5, high: 150 };
/** After which the next connection goes to another server. */
const RECONNECT_CHANCE = 0.05;
const MAX_PAGES = 20;
const METHODS = { create: 'POST', update: 'PUT', patch: 'PATCH', delete: 'DELETE' };
/** Refusals that a right request may get; a 500 is none. */
const EXPECTED: ReadonlySet<number> = new Set([404, 409, 410, 429, 503, 504]);

export interface Workers {
  readonly node: SimNode;
  readonly client: ApiClient;
  readonly history: History;
  readonly state: EtcdState;
  readonly isOver: () => boolean;
}

export abstract class Worker {
  readonly node: SimNode;
  readonly client: ApiClient;
  readonly history: History;
  readonly #state: EtcdState;
  readonly #isOver: () => boolean;

  constructor({ node, client, history, state, isOver }: Workers) {
    this.node = node;
    this.client = client;
    this.history = history;
    this.#state = state;
    this.#isOver = isOver;
  }

  get world(): World {
    return this.node.world;
  }

  /** Newest revision that was decided. */
  get decided(): Revision {
    return this.#state.revision;
  }

  run(): void {
    this.#loop().catch((error: unknown) =>
      this.history.faults.push(
        `${this.node.name} failed: ${error instanceof Error ? error.stack : String(error)}`,
      ),
    );
  }

  async #loop(): Promise<void> {
    while (!this.#isOver()) {
      if (this.world.chance(RECONNECT_CHANCE)) this.client.disconnect();
      await this.node.clock.sleep(this.world.between(PAUSE_MS.low, PAUSE_MS.high));
      await this.turn();
    }
  }

  protected abstract turn(): Promise<void>;

  /** Undefined: no answer, or one that is none. */
  protected async ask(path: string, query = ''): Promise<SimAnswer | undefined> {
    const answer = await this.client.request({ method: 'GET', path, query }).catch(noAnswer);
    if (answer) this.checkStatus(answer, `GET ${path}?${query}`);
    return answer && answer.status < 500 ? answer : undefined;
  }

  /** What is wrong with the server is no answer to a request that is right. */
  protected checkStatus({ status, body, server }: SimAnswer, what: string): void {
    const isExpected = status < 400 || EXPECTED.has(status);
    if (!isExpected) this.history.faults.push(`${server}: ${what}: ${status} ${JSON.stringify(body)}`);
  }
}

function noAnswer(error: unknown): undefined {
  if (!(error instanceof NoAnswer)) throw error;
}

export class Writer extends Worker {
  /** As last seen by this client. */
  readonly #known = new Map<string, Revision>();
  #made = 0;

  protected async turn(): Promise<void> {
    const name = this.world.pick(NAMES);
    const known = this.#known.get(name);
    const chance = this.world.random();
    if (known === undefined) return chance < 0.6 ? this.#create(name) : this.#learn(name);
    if (chance < 0.2) return this.#remove(name, this.world.chance(0.5) ? known : undefined);
    if (chance < 0.35) return this.#patch(name);
    return this.#update(name, chance < 0.5 ? undefined : known);
  }

  async #learn(name: string): Promise<void> {
    const answer = await this.ask(`${MAPS}/${name}`, 'resourceVersion=0');
    if (answer?.status === 200) this.#known.set(name, Number(answer.body.metadata.resourceVersion));
  }

  #create(name: string): Promise<void> {
    return this.#write({ verb: 'create', name, expected: undefined });
  }

  #update(name: string, expected: Revision | undefined): Promise<void> {
    return this.#write({ verb: 'update', name, expected });
  }

  #patch(name: string): Promise<void> {
    return this.#write({ verb: 'patch', name, expected: undefined });
  }

  #remove(name: string, expected: Revision | undefined): Promise<void> {
    return this.#write({ verb: 'delete', name, expected });
  }

  async #write({
    verb,
    name,
    expected,
  }: {
    readonly verb: WriteRecord['verb'];
    readonly name: string;
    readonly expected: Revision | undefined;
  }): Promise<void> {
    const startMs = this.world.nowMs;
    const { decided } = this;
    const value = verb === 'delete' ? undefined : `${this.node.name}.${++this.#made}`;
    const path = verb === 'create' ? MAPS : `${MAPS}/${name}`;
    const method = METHODS[verb];
    const body = this.#body(verb, { name, value, expected });
    const contentType = verb === 'patch' ? 'application/merge-patch+json' : undefined;
    const what = `${this.node.name} ${verb} ${name} ${value ?? ''} expecting ${expected}`;
    let outcome: WriteRecord['outcome'] = { kind: 'unknown' };
    try {
      const answer = await this.client.request({ method, path, query: '', body, contentType });
      this.checkStatus(answer, what);
      outcome = outcomeOf(answer);
      if (outcome.kind === 'done' && outcome.revision !== undefined) this.#known.set(name, outcome.revision);
      else this.#known.delete(name);
    } catch (error) {
      noAnswer(error);
      this.#known.delete(name);
      if ((error as NoAnswer).unsent) return;
    }
    const endMs = outcome.kind === 'unknown' ? Infinity : this.world.nowMs;
    this.history.writes.push({
      key: PREFIX + name,
      verb,
      value,
      expected,
      outcome,
      what,
      startMs,
      endMs,
      decided,
    });
  }

  #body(
    verb: WriteRecord['verb'],
    {
      name,
      value,
      expected,
    }: {
      readonly name: string;
      readonly value: string | undefined;
      readonly expected: Revision | undefined;
    },
  ): object | undefined {
    if (value === undefined) return deleteOptions(expected);
    // The label stays as the server finds it.
    return verb === 'patch' ? { data: { v: value } } : this.#object({ name, value, expected });
  }

  #object({
    name,
    value,
    expected,
  }: {
    readonly name: string;
    readonly value: string;
    readonly expected: Revision | undefined;
  }): object {
    return {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        labels: { on: this.world.chance(0.5) ? 'yes' : 'no' },
        ...(expected === undefined ? {} : { resourceVersion: String(expected) }),
      },
      data: { v: value },
    };
  }
}

function deleteOptions(expected: Revision | undefined): object | undefined {
  if (expected === undefined) return undefined;
  return {
    apiVersion: 'v1',
    kind: 'DeleteOptions',
    preconditions: { resourceVersion: String(expected) },
  };
}

function outcomeOf({ status, body }: SimAnswer): WriteRecord['outcome'] {
  if (status === 200 || status === 201) {
    const revision = body.metadata?.resourceVersion;
    return { kind: 'done', revision: revision === undefined ? undefined : Number(revision) };
  }
  if (status === 404) return { kind: 'absent' };
  if (status === 409) return { kind: body.reason === 'AlreadyExists' ? 'exists' : 'conflict' };
  return { kind: 'unknown' };
}

/** Reads by name, and lists of each kind. */
export class Reader extends Worker {
  #seen: Revision = 0;

  protected turn(): Promise<void> {
    return this.world.chance(0.6) ? this.#get() : this.#list();
  }

  async #get(): Promise<void> {
    const key = this.world.pick(NAMES);
    const asked = this.world.chance(0.6) ? undefined : this.world.chance(0.5) ? 0 : this.#seen || undefined;
    const begun = { startMs: this.world.nowMs, decided: this.decided };
    const answer = await this.ask(`${MAPS}/${key}`, asked === undefined ? '' : `resourceVersion=${asked}`);
    if (!answer || (answer.status !== 200 && answer.status !== 404)) return;
    const found = answer.status === 200 ? seenObject(answer.body) : undefined;
    this.#seen = Math.max(this.#seen, found?.revision ?? 0);
    const what = `${this.node.name} read ${key} at ${answer.server} (resourceVersion=${asked ?? ''})`;
    this.history.reads.push({
      ...begun,
      key: PREFIX + key,
      server: answer.server,
      asked,
      found,
      what,
      endMs: this.world.nowMs,
    });
  }

  async #list(): Promise<void> {
    const kind = this.world.pick(['consistent', 'consistent', 'any', 'exact', 'not-older'] as const);
    const asked = kind === 'consistent' ? undefined : kind === 'any' ? 0 : this.#seen;
    if (asked === 0 && kind !== 'any') return;
    const found = await listMaps(this, {
      kind,
      asked,
      labelled: this.world.chance(0.3),
      limit: this.world.chance(0.5) ? 2 : 0,
    });
    if (!found) return;
    this.#seen = Math.max(this.#seen, found.revision);
    this.history.lists.push(found);
  }

  /** For listMaps(). */
  get(query: string): Promise<SimAnswer | undefined> {
    return this.ask(MAPS, query);
  }
}

interface ListWanted extends Pick<ListRecord, 'asked' | 'labelled'> {
  readonly kind: Exclude<ListRecord['kind'], 'initial-events'>;
  readonly limit: number;
}

interface Lister {
  readonly node: SimNode;
  readonly world: World;
  readonly decided: Revision;
  get(query: string): Promise<SimAnswer | undefined>;
}

const MATCHES = { exact: 'Exact', 'not-older': 'NotOlderThan' };

/** All pages of one list, each asked of whichever server the connection leads to. Undefined where it came to no end. */
export async function listMaps(lister: Lister, wanted: ListWanted): Promise<ListRecord | undefined> {
  const { kind, asked, labelled, limit } = wanted;
  const query = new URLSearchParams();
  if (asked !== undefined) query.set('resourceVersion', String(asked));
  if (kind === 'exact' || kind === 'not-older') query.set('resourceVersionMatch', MATCHES[kind]);
  if (labelled) query.set('labelSelector', 'on=yes');
  if (limit > 0) query.set('limit', String(limit));
  const startMs = lister.world.nowMs;
  const { decided } = lister;
  const pages: Revision[] = [];
  const items: ListRecord['items'][number][] = [];
  let server = '';
  for (let page = 0; page < MAX_PAGES; page++) {
    const answer = await lister.get(query.toString());
    if (answer?.status !== 200) return undefined;
    server ||= answer.server;
    const { metadata } = answer.body;
    pages.push(Number(metadata.resourceVersion));
    items.push(...answer.body.items.map(seenObject));
    if (!metadata.continue) break;
    query.delete('resourceVersion');
    query.delete('resourceVersionMatch');
    query.set('continue', metadata.continue);
  }
  const what = `${lister.node.name} list ${kind} at ${server} (resourceVersion=${asked ?? ''}${labelled ? ', labelled' : ''}${limit > 0 ? ', pages' : ''})`;
  const endMs = lister.world.nowMs;
  return { server, kind, asked, labelled, revision: pages[0]!, pages, items, what, startMs, endMs, decided };
}
