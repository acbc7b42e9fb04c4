/**
 * A program of the chaos tests, run inside a machine: writers that each own some ConfigMaps, one that gives controllers and scheduler something to do, a reader, watchers of all of them, of the leases of leader
 * election and of the pods that nothing may disturb, all through one address. What each did and saw is printed, one JSON line each (history.ts). Words: KUBECONFIG SERVER NAME SEED.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from '#client/create.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { configMaps, pods, replicaSets } from '#client/refs.ts';
import { isTransportError } from '#client/transport-error.ts';
import { StatusError } from '#machinery/errors.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { PREFIX, type Lease, type Line } from './history.ts';
import { podState } from './pods.ts';

const WRITERS = 3;
const KEYS_OF_WRITER = 4;
const PAUSE_MS = 40;
/** A request that takes longer has failed for whoever waits for it. */
const REQUEST_TIMEOUT_MS = 5_000;
const DELETE_CHANCE = 0.1;
const [path = '', server = '', name = 'a', seed = '1'] = process.argv.slice(2);
const LEASES: ResourceRef<KubeObject & { spec?: Lease }> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};

const say = (line: Line): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** Nothing is sent twice: a second attempt would hide what came of the first. */
function client(): Client {
  const { options } = resolveContext(loadKubeconfig({ path }));
  const bounds = { timeoutMs: REQUEST_TIMEOUT_MS, connectTimeoutMs: 1_000 };
  const transport = createHttpsTransport({ ...options, server, ...bounds });
  return createClient(transport, {
    userAgent: `chaos-${name}`,
    maxRetries: 0,
    timeoutMs: REQUEST_TIMEOUT_MS,
  });
}

/** What the writer knows of its own key; undefined: it must look. */
interface Known {
  readonly revision: number;
}

class Writer {
  readonly #api = client();
  readonly #keys: readonly string[];
  /** revision 0: it is absent. */
  readonly #known = new Map<string, Known>();
  readonly #random: Random;
  readonly #number: number;
  #serial = 0;

  constructor(number: number) {
    this.#number = number;
    this.#random = seededRandom(Number(seed) + number);
    this.#keys = Array.from({ length: KEYS_OF_WRITER }, (_, key) => `${PREFIX}${name}-${number}-${key}`);
  }

  async run(): Promise<never> {
    for (;;) {
      const key = this.#keys[Math.floor(this.#random() * KEYS_OF_WRITER)]!;
      const known = this.#known.get(key) ?? (await this.#look(key));
      if (known && known.revision > 0 && this.#random() < DELETE_CHANCE)
        await this.#delete(key, known.revision);
      else if (known) await this.#put(key, known.revision);
      await sleep(PAUSE_MS);
    }
  }

  /** Of its own writes: what was acknowledged must be there. */
  async #look(key: string): Promise<Known | undefined> {
    const found = await read(this.#api, { key, by: `writer ${this.#number}` });
    if (!found) return undefined;
    this.#known.set(key, found);
    return found;
  }

  async #put(key: string, expected: number): Promise<void> {
    const value = `chaos-value-${name}-${this.#number}-${(this.#serial += 1)}`;
    const object = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name: key,
        namespace: 'default',
        ...(expected > 0 && { resourceVersion: String(expected) }),
      },
      data: { value },
    };
    const start = Date.now();
    this.#known.delete(key);
    const report = (outcome: number | 'refused' | 'unknown', error?: unknown): void =>
      say({
        kind: 'put',
        key,
        value,
        expected,
        start,
        end: Date.now(),
        outcome,
        ...(error !== undefined && { error: errorMessage(error) }),
      });
    try {
      const answered = await this.#api[expected > 0 ? 'update' : 'create'](configMaps, object);
      const revision = revisionOf(answered);
      this.#known.set(key, { revision });
      report(revision);
      if (this.#random() < 0.3) await this.#readOwn(key, { revision, value });
    } catch (error) {
      report(isRefusal(error) ? 'refused' : 'unknown', error);
    }
  }

  async #readOwn(key: string, { revision, value }: { revision: number; value: string }): Promise<void> {
    const found = await read(this.#api, { key, by: `writer ${this.#number}` });
    if (found && (found.revision !== revision || found.value !== value))
      say({
        kind: 'breach',
        what: `${name}: read own write: ${key} is ${found.value} at ${found.revision}, was written as ${value} at ${revision}`,
      });
  }

  /** Of this revision only: a delete whose answer was lost must not strike later. */
  async #delete(key: string, revision: number): Promise<void> {
    this.#known.delete(key);
    try {
      const preconditions = { resourceVersion: String(revision) };
      await this.#api.delete(configMaps, { name: key, namespace: 'default' }, { preconditions });
      this.#known.set(key, { revision: 0 });
    } catch (error) {
      say({ kind: 'delete-failed', key, error: errorMessage(error) });
    }
  }
}

interface Found extends Known {
  readonly value: string;
}

/** Undefined: no answer. */
async function read(
  api: Client,
  { key, by }: { readonly key: string; readonly by: string },
): Promise<Found | undefined> {
  const start = Date.now();
  const done = (found: Found): Found => {
    say({ kind: 'get', by, key, revision: found.revision, start, end: Date.now(), ok: true });
    return found;
  };
  try {
    const found = await api.get(configMaps, { name: key, namespace: 'default' });
    return done({ revision: revisionOf(found), value: found.data?.['value'] ?? '' });
  } catch (error) {
    if (error instanceof StatusError && error.code === 404) return done({ revision: 0, value: '' });
    say({ kind: 'get', by, key, start, end: Date.now(), ok: false, error: errorMessage(error) });
    return undefined;
  }
}

/** Keys of all writers, of the other programs too: no answer may be older than one before. */
async function readOn(): Promise<never> {
  const api = client();
  let newest = 0;
  for (;;) {
    const start = Date.now();
    try {
      const list = await api.list(configMaps, { namespace: 'default' });
      const revision = Number(list.metadata?.resourceVersion);
      if (revision < newest)
        say({
          kind: 'breach',
          what: `${name}: monotonic reads: a list of ${revision} after one of ${newest}`,
        });
      newest = revision;
      say({ kind: 'get', by: 'reader', revision, start, end: Date.now(), ok: true });
    } catch (error) {
      say({ kind: 'get', by: 'reader', start, end: Date.now(), ok: false, error: errorMessage(error) });
    }
    await sleep(PAUSE_MS);
  }
}

/** From the first list on, resumed where it ended. */
async function watchOn<T extends KubeObject>(
  ref: ResourceRef<T>,
  {
    namespace,
    told = false,
    seen,
  }: {
    readonly namespace: string;
    /** Of what the first list has, too. */
    readonly told?: boolean;
    readonly seen: (type: string, object: T) => void;
  },
): Promise<never> {
  const api = client();
  const { metadata, items } = await api.list(ref, { namespace });
  let revision = metadata?.resourceVersion ?? '';
  if (told) for (const object of items) seen('ADDED', object);
  if (ref.plural === 'configmaps') say({ kind: 'watching', after: Number(revision) });
  for (;;) {
    try {
      const options = { namespace, resourceVersion: revision, allowWatchBookmarks: true };
      for await (const { type, object } of api.watch(ref, {
        ...options,
        signal: new AbortController().signal,
      })) {
        revision = object.metadata?.resourceVersion ?? revision;
        seen(type, object);
      }
    } catch (error) {
      say({ kind: 'watch-ended', plural: ref.plural, error: errorMessage(error) });
      if (error instanceof StatusError && error.code === 410)
        say({
          kind: 'breach',
          what: `${name}: a watch of ${ref.plural} could not be resumed after ${revision}`,
        });
    }
    await sleep(100);
  }
}

const SCALE_EVERY_MS = 1_000;
const MAX_REPLICAS = 3;

/** Keeps controllers and scheduler acting: pods come and go that no node may run. */
async function scaleOn(): Promise<never> {
  const api = client();
  const labels = { chaos: `scaled-${name}` };
  const object = { namespace: 'default', name: `scaled-${name}` };
  const template = {
    metadata: { labels },
    spec: { nodeSelector: { chaos: 'nowhere' }, containers: [{ name: 'c', image: 'capstan.test/none:1' }] },
  };
  for (let turn = 0; ; turn += 1) {
    const spec = { replicas: turn % (MAX_REPLICAS + 1), selector: { matchLabels: labels }, template };
    const patch = { apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata: object, spec };
    try {
      await api.patch(replicaSets, object, { type: 'apply', patch, fieldManager: 'chaos', force: true });
    } catch (error) {
      say({ kind: 'scale-failed', error: errorMessage(error) });
    }
    await sleep(SCALE_EVERY_MS);
  }
}

function revisionOf(object: Stored<KubeObject> | KubeObject): number {
  return Number(object.metadata?.resourceVersion);
}

/** The write has not happened and will not. */
function isRefusal(error: unknown): boolean {
  if (error instanceof StatusError) return error.code >= 400 && error.code < 500 && error.code !== 408;
  return isTransportError(error, 'refused');
}

await Promise.all([
  ...Array.from({ length: WRITERS }, (_, number) => new Writer(number).run()),
  readOn(),
  scaleOn(),
  watchOn(configMaps, {
    namespace: 'default',
    seen(type, object) {
      const value = object.data?.['value'];
      const key = object.metadata?.name ?? '';
      if (type === 'BOOKMARK') say({ kind: 'reached', revision: revisionOf(object) });
      else if (key.startsWith(PREFIX))
        say({
          kind: 'event',
          type,
          key,
          revision: revisionOf(object),
          ...(value !== undefined && { value }),
        });
    },
  }),
  watchOn(LEASES, {
    namespace: 'kube-system',
    seen(type, { metadata, spec }) {
      if (type !== 'BOOKMARK' && spec)
        say({
          kind: 'lease',
          name: metadata?.name ?? '',
          spec,
          seen: Date.now(),
          revision: revisionOf({ metadata } as KubeObject),
        });
    },
  }),
  watchOn(pods, {
    namespace: 'default',
    told: true,
    seen(type, pod) {
      if (type !== 'BOOKMARK' && pod.metadata?.labels?.['chaos'] === 'stays')
        say({ kind: 'pod', name: pod.metadata.name ?? '', ...podState(pod), deleted: type === 'DELETED' });
    },
  }),
]);
