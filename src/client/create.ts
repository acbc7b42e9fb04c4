/**
 * The client: converts verbs to requests over a transport, and responses to objects or StatusErrors.
 * Retries only when the server asks for it (429 and 5xx with Retry-After), and reads over refused connections where configured.
 * Not here: caches (informer.ts), connections (https.ts, port.ts, direct.ts).
 */
import type { KubeList, KubeObject, Stored } from '#machinery/object.ts';
import { formatApiVersion } from '#machinery/object.ts';
import { StatusError } from '#machinery/errors.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { silentLogger, type Logger } from '#stdx/log.ts';
import { realRandom, type Random } from '#stdx/random.ts';
import type {
  Client,
  DeleteOptions,
  Informer,
  ObjectName,
  PatchType,
  ResourceRef,
  SelectOptions,
  WatchEvent,
} from './client.ts';
import { createInformer, type StoppableInformer } from './informer.ts';
import { objectPath, queryString, resourcePath } from './paths.ts';
import { readStatusError } from './status-error.ts';
import type { Transport, TransportRequest, TransportResponse } from './transport.ts';
import { TransportError, isTransportError } from './transport-error.ts';
import { decodeWatch } from './watch-decoder.ts';

export interface ClientOptions {
  /** 'kube-scheduler/v1.36.0': the server also takes the default field manager from it. */
  readonly userAgent: string;
  readonly clock?: Clock;
  readonly log?: Logger;
  /** In [0, 1); for jitter. */
  readonly random?: Random;
  /** Maximum number of retries of a request that the server asks to retry. Default 10. */
  readonly maxRetries?: number;
  /** Maximum number of retries of a read, a second apart, while the connection is refused. Default 0: the caller decides. */
  readonly refusedRetries?: number;
  /** Timeout of one request (not of a watch). Default 60 s. */
  readonly timeoutMs?: number;
}

interface InnerOptions extends ClientOptions {
  /** Has the informers, and is closed with this one. */
  readonly base?: Client;
}

const CONTENT_TYPES: Readonly<Record<PatchType, string>> = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
};

const MAX_RETRY_AFTER_MS = 60_000;

export function createClient(transport: Transport, options: ClientOptions): Client {
  return new ApiClient(transport, options);
}

class ApiClient implements Client {
  readonly transport: Transport;
  readonly #options: InnerOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: Random;
  readonly #maxRetries: number;
  readonly #refusedRetries: number;
  readonly #timeoutMs: number;
  readonly #readHeaders: Readonly<Record<string, string>>;
  readonly #metadataHeaders: Readonly<Record<string, string>>;
  readonly #writeHeaders: Readonly<Record<string, string>>;
  readonly #patchHeaders: Readonly<Record<PatchType, Readonly<Record<string, string>>>>;
  readonly #informers = new Map<string, StoppableInformer<KubeObject>>();
  #closed = false;

  constructor(transport: Transport, options: InnerOptions) {
    this.transport = transport;
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    this.#log = options.log ?? silentLogger;
    this.#random = options.random ?? realRandom;
    this.#maxRetries = options.maxRetries ?? 10;
    this.#refusedRetries = options.refusedRetries ?? 0;
    this.#timeoutMs = options.timeoutMs ?? 60_000;
    const common = { accept: 'application/json', 'user-agent': options.userAgent };
    const withType = (type: string): Readonly<Record<string, string>> =>
      Object.freeze({ ...common, 'content-type': type });
    this.#readHeaders = Object.freeze(common);
    this.#metadataHeaders = Object.freeze({
      ...common,
      accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1',
    });
    this.#writeHeaders = withType('application/json');
    this.#patchHeaders = {
      json: withType(CONTENT_TYPES.json),
      merge: withType(CONTENT_TYPES.merge),
      strategic: withType(CONTENT_TYPES.strategic),
      apply: withType(CONTENT_TYPES.apply),
    };
  }

  async get<T extends KubeObject>(ref: ResourceRef<T>, name: ObjectName): Promise<Stored<T>> {
    return this.#read<Stored<T>>(objectPath(ref, { name }));
  }

  async getSubresource<T extends KubeObject>(
    ref: ResourceRef,
    name: ObjectName,
    subresource: string,
  ): Promise<Stored<T>> {
    return this.#read<Stored<T>>(objectPath(ref, { name, subresource }));
  }

  async list<T extends KubeObject>(
    ref: ResourceRef<T>,
    options: SelectOptions & { limit?: number; continue?: string; resourceVersion?: string } = {},
  ): Promise<KubeList<Stored<T>>> {
    const { namespace, ...query } = options;
    const list = await this.#read<KubeList<Stored<T>>>(resourcePath(ref, { namespace }) + queryString(query));
    // Items of a list have no kind and apiVersion on the wire; they are set, because callers expect them.
    const apiVersion = formatApiVersion(ref);
    list.items ??= [];
    for (const item of list.items) {
      item.apiVersion ??= apiVersion;
      item.kind ??= ref.kind;
    }
    return list;
  }

  async listMetadata(
    ref: ResourceRef,
    options: SelectOptions & { limit?: number; continue?: string } = {},
  ): Promise<KubeList<Stored>> {
    const { namespace, ...query } = options;
    const list = await this.#read<KubeList<Stored>>(
      resourcePath(ref, { namespace }) + queryString(query),
      this.#metadataHeaders,
    );
    list.items ??= [];
    return list;
  }

  async create<T extends KubeObject>(ref: ResourceRef<T>, object: T): Promise<Stored<T>> {
    const namespace = object.metadata?.namespace;
    if (ref.namespaced && !namespace)
      throw new TypeError(
        `${ref.plural} "${object.metadata?.name ?? ''}": an object of a namespaced resource needs a namespace`,
      );
    return this.#write<Stored<T>>({
      method: 'POST',
      path: resourcePath(ref, { namespace }),
      body: JSON.stringify(typed(ref, object)),
    });
  }

  async update<T extends KubeObject>(ref: ResourceRef<T>, object: T): Promise<Stored<T>> {
    return this.#write<Stored<T>>({
      method: 'PUT',
      path: objectPath(ref, { name: nameOf(object) }),
      body: JSON.stringify(typed(ref, object)),
    });
  }

  async updateStatus<T extends KubeObject>(ref: ResourceRef<T>, object: T): Promise<Stored<T>> {
    return this.updateSubresource(ref, object, 'status');
  }

  async updateSubresource<T extends KubeObject>(
    ref: ResourceRef<T>,
    object: T,
    subresource: string,
  ): Promise<Stored<T>> {
    return this.#write<Stored<T>>({
      method: 'PUT',
      path: objectPath(ref, { name: nameOf(object), subresource }),
      body: JSON.stringify(typed(ref, object)),
    });
  }

  async patch<T extends KubeObject>(
    ref: ResourceRef<T>,
    name: ObjectName,
    options: {
      type: PatchType;
      patch: unknown;
      subresource?: string;
      fieldManager?: string;
      force?: boolean;
    },
  ): Promise<Stored<T>> {
    const { type, patch, subresource, fieldManager, force } = options;
    return this.#write<Stored<T>>({
      method: 'PATCH',
      path: objectPath(ref, { name, subresource }) + queryString({ fieldManager, force }),
      headers: this.#patchHeaders[type],
      body: JSON.stringify(patch),
    });
  }

  async delete(ref: ResourceRef, name: ObjectName, options?: DeleteOptions): Promise<void> {
    await this.#write({ method: 'DELETE', path: objectPath(ref, { name }), ...deleteBody(options) });
  }

  async deleteCollection(ref: ResourceRef, options: SelectOptions & DeleteOptions): Promise<void> {
    const { namespace, labelSelector, fieldSelector, ...rest } = options;
    await this.#write({
      method: 'DELETE',
      path: resourcePath(ref, { namespace }) + queryString({ labelSelector, fieldSelector }),
      ...deleteBody(rest),
    });
  }

  async createSubresource(
    ref: ResourceRef,
    name: ObjectName,
    options: { subresource: string; body: KubeObject; maxRetries?: number },
  ): Promise<KubeObject> {
    const request = {
      method: 'POST',
      path: objectPath(ref, { name, subresource: options.subresource }),
      body: JSON.stringify(options.body),
      headers: this.#writeHeaders,
    };
    return this.#send<KubeObject>(request, options.maxRetries);
  }

  async *watch<T extends KubeObject>(
    ref: ResourceRef<T>,
    options: SelectOptions & {
      resourceVersion: string;
      signal: AbortSignal;
      allowWatchBookmarks?: boolean;
      timeoutSeconds?: number;
    },
  ): AsyncGenerator<WatchEvent<T>, void, void> {
    for await (const events of this.#watchBatches(ref, options)) yield* events;
  }

  async *#watchBatches<T extends KubeObject>(
    ref: ResourceRef<T>,
    options: SelectOptions & {
      resourceVersion: string;
      signal: AbortSignal;
      allowWatchBookmarks?: boolean;
      timeoutSeconds?: number;
    },
  ): AsyncGenerator<WatchEvent<Stored<T>>[], void, void> {
    const { namespace, signal, ...query } = options;
    const response = await this.transport.request({
      method: 'GET',
      path: resourcePath(ref, { namespace }) + queryString({ watch: true, ...query }),
      headers: this.#readHeaders,
      signal,
    });
    if (response.status >= 300) throw await errorOf(response);
    yield* decodeWatch<Stored<T>>(response.stream());
  }

  informer<T extends KubeObject>(ref: ResourceRef<T>, options: SelectOptions = {}): Informer<T> {
    if (this.#options.base) return this.#options.base.informer(ref, options);
    if (this.#closed) throw new TypeError(`informer of ${ref.plural}: the client is closed`);
    const id = [
      ref.group,
      ref.version,
      ref.plural,
      options.namespace ?? '',
      options.labelSelector ?? '',
      options.fieldSelector ?? '',
    ].join('|');
    let informer = this.#informers.get(id);
    if (!informer) {
      informer = createInformer<KubeObject>({
        ref,
        select: options,
        list: (query) => this.list(ref, query),
        watch: (query) => this.#watchBatches(ref, query),
        clock: this.#clock,
        log: this.#log,
        random: this.#random,
      });
      this.#informers.set(id, informer);
    }
    return informer as unknown as Informer<T>;
  }

  over(wrap: (transport: Transport) => Transport): Client {
    return new ApiClient(wrap(this.transport), { ...this.#options, base: this.#options.base ?? this });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#options.base) return this.#options.base.close();
    await Promise.all([...this.#informers.values()].map((informer) => informer.stop()));
    await this.transport.close();
  }

  async #read<T>(path: string, headers = this.#readHeaders): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#send<T>({ method: 'GET', path, headers });
      } catch (error) {
        if (!isTransportError(error, 'refused') || attempt >= this.#refusedRetries || this.#closed)
          throw error;
        await this.#clock.sleep(1_000);
      }
    }
  }

  #write<T>(request: TransportRequest): Promise<T> {
    return this.#send<T>(request.headers ? request : { ...request, headers: this.#writeHeaders });
  }

  async #send<T>(request: TransportRequest, maxRetries = this.#maxRetries): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      const response = await this.#bounded(request);
      if (response.status < 300) return parseBody<T>(response.body);
      const waitMs = attempt < maxRetries ? retryAfterMs(response) : undefined;
      if (waitMs === undefined || this.#closed) throw readStatusError(response.status, response.body);
      this.#log.debug('server asked to retry', {
        method: request.method,
        path: request.path,
        status: response.status,
        waitMs,
      });
      await this.#clock.sleep(waitMs, request.signal);
    }
  }

  /** The whole response within the timeout. */
  async #bounded(
    request: TransportRequest,
  ): Promise<{ status: number; headers: TransportResponse['headers']; body: Buffer }> {
    const abort = new AbortController();
    const timer = this.#clock.after(this.#timeoutMs, () =>
      abort.abort(
        new TransportError(
          'timeout',
          `${request.method} ${request.path}: no answer within ${this.#timeoutMs} ms`,
        ),
      ),
    );
    try {
      const response = await this.transport.request({ ...request, signal: abort.signal });
      return { status: response.status, headers: response.headers, body: await response.bytes() };
    } finally {
      timer.cancel();
    }
  }
}

function nameOf(object: KubeObject): ObjectName {
  return { name: object.metadata?.name ?? '', namespace: object.metadata?.namespace };
}

/** Sets the apiVersion and kind that a server requires, where they are missing. */
function typed<T extends KubeObject>(ref: ResourceRef<T>, object: T): T {
  return object.apiVersion && object.kind
    ? object
    : { ...object, apiVersion: formatApiVersion(ref), kind: ref.kind };
}

function deleteBody(options: DeleteOptions = {}): { body?: string } {
  return Object.keys(options).length === 0
    ? {}
    : { body: JSON.stringify({ apiVersion: 'v1', kind: 'DeleteOptions', ...options }) };
}

function parseBody<T>(body: Buffer): T {
  if (body.length === 0) return {} as T;
  try {
    return JSON.parse(body.toString('utf8')) as T;
  } catch (error) {
    throw new TransportError('protocol', 'the answer is not valid JSON', error);
  }
}

/** Undefined when the server did not ask to retry. */
function retryAfterMs({
  status,
  headers,
}: {
  readonly status: number;
  readonly headers: TransportResponse['headers'];
}): number | undefined {
  if (status !== 429 && status < 500) return undefined;
  const seconds = Number(headers['retry-after'] || undefined);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds * 1000, MAX_RETRY_AFTER_MS) : undefined;
}

async function errorOf(response: TransportResponse): Promise<StatusError> {
  return readStatusError(response.status, await response.bytes());
}
