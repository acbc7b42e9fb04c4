/**
 * The config maps and secrets that this node's pods reference, each cached by a list and watch of its own (a node may read no others), shared between
 * pods and released with the last of them. Bound: the references in the pods' specs.
 */
import type { ConfigMap, Pod, Secret } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { configMaps, secrets } from '#client/refs.ts';
import { isStatusError, StatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { backoffMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { allContainers } from './pod/restart-policy.ts';
import type { ObjectReader } from './config/environment.ts';

type Kind = 'configMap' | 'secret';

interface Entry {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  readonly pods: Set<string>;
  readonly stop: AbortController;
  object: KubeObject | undefined;
  /** Settles with the first response; recreated after a failure. */
  first: PromiseWithResolvers<void>;
}

const REFS: Readonly<Record<Kind, ResourceRef<KubeObject>>> = {
  configMap: configMaps as ResourceRef<KubeObject>,
  secret: secrets as ResourceRef<KubeObject>,
};
const RETRY = { initialMs: 200, maximumMs: 15_000 };
/** Refusals that were not reported yet. */
const PATIENCE = 3;
/** Minimum interval between the starts of a watch. */
const SHORT_WATCH_MS = 1_000;

interface ReferencedObjectsOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  /** An object that a pod refers to was added, changed or deleted. */
  readonly onChange: (uid: string) => void;
}

export class ReferencedObjects implements ObjectReader {
  readonly #options: ReferencedObjectsOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: ReferencedObjectsOptions) {
    this.#options = options;
  }

  /** Keeps the pod's references until release. Idempotent; follows changes of the pod. */
  retain(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const namespace = pod.metadata?.namespace ?? '';
    const wanted = new Set(references(pod).map(({ kind, name }) => `${kind}/${namespace}/${name}`));
    for (const key of wanted) this.#entry(key).pods.add(uid);
    for (const [key, entry] of this.#entries) if (!wanted.has(key)) this.#drop(key, entry, uid);
  }

  release(uid: string): void {
    for (const [key, entry] of this.#entries) this.#drop(key, entry, uid);
  }

  /** undefined: it does not exist. Throws StatusError while the API is unavailable. The object is shared: do not mutate it. */
  async configMap(namespace: string, name: string): Promise<ConfigMap | undefined> {
    return this.#get('configMap', namespace, name) as Promise<ConfigMap | undefined>;
  }

  async secret(namespace: string, name: string): Promise<Secret | undefined> {
    return this.#get('secret', namespace, name) as Promise<Secret | undefined>;
  }

  stop(): void {
    for (const { stop } of this.#entries.values()) stop.abort(new Error('node agent stopped'));
    this.#entries.clear();
  }

  async #get(kind: Kind, namespace: string, name: string): Promise<KubeObject | undefined> {
    const entry = this.#entries.get(`${kind}/${namespace}/${name}`);
    if (entry) {
      await entry.first.promise;
      return entry.object;
    }
    // Not found by podReferences: read once.
    return this.#options.api.get(REFS[kind], { namespace, name }).catch((error: unknown) => {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    });
  }

  #entry(key: string): Entry {
    const known = this.#entries.get(key);
    if (known) return known;
    const [kind, namespace = '', name = ''] = key.split('/') as [Kind, string, string];
    const entry: Entry = {
      kind,
      namespace,
      name,
      pods: new Set(),
      stop: new AbortController(),
      object: undefined,
      first: newPromise(),
    };
    this.#entries.set(key, entry);
    void this.#follow(entry);
    return entry;
  }

  #drop(key: string, entry: Entry, uid: string): void {
    if (!entry.pods.delete(uid) || entry.pods.size > 0) return;
    entry.stop.abort(new Error('no pod refers to it any more'));
    this.#entries.delete(key);
  }

  async #follow(entry: Entry): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = entry.stop;
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        const startedMs = clock.monotonic();
        await this.#listAndWatch(entry);
        failures = -1;
        if (clock.monotonic() - startedMs < SHORT_WATCH_MS) await clock.sleep(SHORT_WATCH_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof StatusError && error.code === 410) continue;
        log.debug('error watching an object', {
          kind: entry.kind,
          namespace: entry.namespace,
          name: entry.name,
          error: errorMessage(error),
        });
        // The node authorizer learns of a pod on this node slightly later than the node does.
        if (failures >= PATIENCE || !isStatusError(error, 'Forbidden')) entry.first.reject(error);
        await clock.sleep(backoffMs(failures, RETRY), signal).catch(() => {});
        if (!entry.object && (failures >= PATIENCE || !isStatusError(error, 'Forbidden')))
          entry.first = newPromise();
      }
    }
  }

  async #listAndWatch(entry: Entry): Promise<void> {
    const { api } = this.#options;
    const ref = REFS[entry.kind];
    const select = { namespace: entry.namespace, fieldSelector: `metadata.name=${entry.name}` };
    const list = await api.list(ref, select);
    this.#set(
      entry,
      list.items.find((object) => object.metadata?.name === entry.name),
    );
    entry.first.resolve();
    for await (const event of api.watch(ref, {
      ...select,
      resourceVersion: list.metadata?.resourceVersion ?? '',
      signal: entry.stop.signal,
      allowWatchBookmarks: true,
    })) {
      if (event.type === 'BOOKMARK' || event.object.metadata?.name !== entry.name) continue;
      this.#set(entry, event.type === 'DELETED' ? undefined : event.object);
    }
  }

  #set(entry: Entry, object: KubeObject | undefined): void {
    const changed = entry.object?.metadata?.resourceVersion !== object?.metadata?.resourceVersion;
    entry.object = object;
    if (changed) for (const uid of entry.pods) this.#options.onChange(uid);
  }
}

function newPromise(): PromiseWithResolvers<void> {
  const made = Promise.withResolvers<void>();
  // The promise may have no consumer.
  made.promise.catch(() => {});
  return made;
}

interface Reference {
  readonly kind: Kind;
  readonly name: string;
}

/** Every config map and secret a pod's spec names. */
function references(pod: Pod): Reference[] {
  const found: Reference[] = [];
  const add = (kind: Kind, name: string | undefined): void => {
    if (name) found.push({ kind, name });
  };
  for (const { name } of pod.spec?.imagePullSecrets ?? []) add('secret', name);
  for (const container of allContainers(pod)) {
    for (const { configMapRef, secretRef } of container.envFrom ?? []) {
      add('configMap', configMapRef?.name);
      add('secret', secretRef?.name);
    }
    for (const { valueFrom } of container.env ?? []) {
      add('configMap', valueFrom?.configMapKeyRef?.name);
      add('secret', valueFrom?.secretKeyRef?.name);
    }
  }
  for (const volume of pod.spec?.volumes ?? []) {
    add('configMap', volume.configMap?.name);
    add('secret', volume.secret?.secretName);
    for (const { configMap, secret } of volume.projected?.sources ?? []) {
      add('configMap', configMap?.name);
      add('secret', secret?.name);
    }
  }
  return found;
}
