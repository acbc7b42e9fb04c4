/**
 * For tests only: a small in-memory API with list, watch, optimistic concurrency and merge patches, for any path of the form
 * /api(s)/…/[namespaces/ns/]plural[/name[/subresource]]. No validation, admission, defaulting or field selectors except metadata.name:
 * behaviour of the real server is tested against the real server.
 */
import type { KubeObject } from '#machinery/object.ts';
import { statusErrors, StatusError } from '#machinery/errors.ts';
import type { DirectHandler, DirectRequest, DirectResponse, DirectSink } from '../direct.ts';

interface Stored {
  readonly path: string;
  readonly namespace: string;
  readonly object: KubeObject;
}
interface LogEntry {
  readonly revision: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly stored: Stored;
}
interface Watcher {
  readonly path: string;
  readonly namespace: string;
  readonly selector: string;
  readonly sink: DirectSink;
}
interface Target {
  readonly path: string;
  readonly plural: string;
  readonly namespace: string;
  readonly name: string;
  readonly subresource: string;
}

export interface FakeApi {
  readonly handler: DirectHandler;
  /** All received requests: 'GET /api/v1/pods?limit=500'. */
  readonly requests: readonly string[];
  /** While set, it answers requests instead of the API; undefined passes the request on. */
  intercept: ((request: DirectRequest) => DirectResponse | StatusError | undefined) | undefined;
  readonly revision: number;
  /** Watches and lists from earlier revisions get 410. */
  compact(): void;
  /** Ends all open watches, as a server does on timeout. */
  endWatches(): void;
  sendBookmarks(): void;
  readonly openWatches: number;
}

export function createFakeApi(): FakeApi {
  const objects = new Map<string, Stored>();
  const log: LogEntry[] = [];
  const watchers = new Set<Watcher>();
  const requests: string[] = [];
  let revision = 1;
  let compacted = 0;

  function put(type: LogEntry['type'], stored: Stored): KubeObject {
    revision += 1;
    const object = {
      ...stored.object,
      metadata: { ...stored.object.metadata, resourceVersion: String(revision) },
    };
    const entry: LogEntry = { revision, type, stored: { ...stored, object } };
    const key = keyOf(stored.path, object.metadata);
    if (type === 'DELETED') objects.delete(key);
    else objects.set(key, entry.stored);
    log.push(entry);
    for (const watcher of watchers) send(watcher, entry);
    return object;
  }

  function find(target: Target): Stored {
    const stored = objects.get(keyOf(target.path, target));
    if (!stored) throw statusErrors.notFound(resourceName(target));
    return stored;
  }

  function list(target: Target, query: URLSearchParams): DirectResponse {
    const all = [...objects.values()].filter((stored) =>
      matches(stored, {
        path: target.path,
        namespace: target.namespace,
        selector: query.get('labelSelector') ?? '',
      }),
    );
    all.sort((a, b) => (keyOf('', a.object.metadata!) < keyOf('', b.object.metadata!) ? -1 : 1));
    const from = Number(query.get('continue') ?? 0);
    const limit = Number(query.get('limit') ?? 0) || Infinity;
    if (Number(query.get('resourceVersion') || 0) > revision)
      throw statusErrors.timeout('Too large resource version');
    const more = from + limit < all.length;
    // As on the wire, items of a list have no kind and apiVersion.
    const items = all
      .slice(from, from + limit)
      .map(({ object: { apiVersion: _a, kind: _k, ...rest } }) => rest);
    return json(200, {
      kind: 'List',
      apiVersion: 'v1',
      metadata: { resourceVersion: String(revision), ...(more ? { continue: String(from + limit) } : {}) },
      items,
    });
  }

  function watch(target: Target, query: URLSearchParams): DirectResponse {
    const from = Number(query.get('resourceVersion') || revision);
    if (from < compacted) {
      const error = statusErrors.expired(`too old resource version: ${from} (${compacted})`);
      return {
        status: 200,
        headers: { 'content-type': 'application/json' },
        body: Buffer.from(`${JSON.stringify({ type: 'ERROR', object: error.status })}\n`),
      };
    }
    return {
      status: 200,
      headers: { 'content-type': 'application/json' },
      body(sink) {
        const watcher: Watcher = {
          path: target.path,
          namespace: target.namespace,
          selector: query.get('labelSelector') ?? '',
          sink,
        };
        for (const entry of log) if (entry.revision > from) send(watcher, entry);
        watchers.add(watcher);
        sink.onClose(() => watchers.delete(watcher));
      },
    };
  }

  function create(target: Target, object: KubeObject): DirectResponse {
    if (target.subresource) return json(201, object);
    const name =
      object.metadata?.name ??
      `${object.metadata?.generateName ?? ''}${revision.toString(36).padStart(5, '0')}`;
    const metadata = {
      ...object.metadata,
      name,
      ...(target.namespace ? { namespace: target.namespace } : {}),
      uid: `uid-${revision}`,
    };
    if (objects.has(keyOf(target.path, metadata)))
      throw statusErrors.alreadyExists({ ...resourceName(target), name });
    return json(
      201,
      put('ADDED', { path: target.path, namespace: target.namespace, object: { ...object, metadata } }),
    );
  }

  function update(target: Target, change: (current: KubeObject) => KubeObject): DirectResponse {
    const stored = find(target);
    const object = change(stored.object);
    const expected = object.metadata?.resourceVersion;
    if (expected && expected !== stored.object.metadata?.resourceVersion)
      throw statusErrors.conflict(resourceName(target));
    return json(
      200,
      put('MODIFIED', {
        ...stored,
        object: { ...object, metadata: { ...object.metadata, uid: stored.object.metadata!.uid! } },
      }),
    );
  }

  function remove(target: Target): DirectResponse {
    const stored = find(target);
    put('DELETED', stored);
    return json(200, { kind: 'Status', apiVersion: 'v1', status: 'Success' });
  }

  async function answer(request: DirectRequest): Promise<DirectResponse> {
    const target = parse(request.path);
    const query = new URLSearchParams(request.query);
    const body = async (): Promise<KubeObject> =>
      JSON.parse((await request.body(3_000_000)).toString()) as KubeObject;
    switch (request.method) {
      case 'GET':
        if (target.name) return json(200, find(target).object);
        return query.get('watch') === 'true' ? watch(target, query) : list(target, query);
      case 'POST':
        return create(target, await body());
      case 'PUT': {
        const object = await body();
        return update(target, (current) =>
          target.subresource === 'status' ? { ...object, spec: current['spec'] } : object,
        );
      }
      case 'PATCH': {
        const patch = await body();
        return update(target, (current) => merge(current, patch) as KubeObject);
      }
      case 'DELETE':
        return remove(target);
      default:
        throw statusErrors.methodNotAllowed({ group: '', resource: target.plural }, request.method);
    }
  }

  const api: FakeApi = {
    requests,
    intercept: undefined,
    get revision() {
      return revision;
    },
    get openWatches() {
      return watchers.size;
    },
    compact() {
      compacted = revision + 1;
      revision += 1;
    },
    endWatches() {
      for (const watcher of watchers) {
        watchers.delete(watcher);
        watcher.sink.end();
      }
    },
    sendBookmarks() {
      for (const { sink } of watchers)
        sink.write(line({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(revision) } } }));
    },
    async handler(request) {
      requests.push(`${request.method} ${request.path}${request.query ? `?${request.query}` : ''}`);
      try {
        const instead = api.intercept?.(request);
        if (instead instanceof StatusError) throw instead;
        return instead ?? (await answer(request));
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        const { retryAfterSeconds } = error.status.details ?? {};
        return json(
          error.code,
          error.status,
          retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) },
        );
      }
    },
  };
  return api;
}

function parse(path: string): Target {
  const parts = path.split('/').slice(1).map(decodeURIComponent);
  const root = parts[0] === 'api' ? 2 : 3;
  const prefix = parts.slice(0, root).join('/');
  const rest = parts.slice(root);
  const scoped = rest[0] === 'namespaces' && rest.length > 2;
  const [plural = '', name = '', subresource = ''] = scoped ? rest.slice(2) : rest;
  return { path: `${prefix}/${plural}`, plural, namespace: scoped ? rest[1]! : '', name, subresource };
}

function keyOf(path: string, { namespace = '', name = '' }: { namespace?: string; name?: string }): string {
  return `${path}|${namespace}/${name}`;
}

function resourceName({ path, plural, name }: Target): { group: string; resource: string; name: string } {
  const parts = path.split('/');
  return { group: parts[0] === 'apis' ? parts[1]! : '', resource: plural, name };
}

function matches(
  stored: Stored,
  {
    path,
    namespace,
    selector,
  }: { readonly path: string; readonly namespace: string; readonly selector: string },
): boolean {
  if (stored.path !== path || (namespace !== '' && stored.namespace !== namespace)) return false;
  return selector.split(',').every((term) => {
    const [label = '', value] = term.split('=');
    return label === '' || stored.object.metadata?.labels?.[label] === value;
  });
}

function send(watcher: Watcher, { type, stored }: LogEntry): void {
  if (matches(stored, watcher)) watcher.sink.write(line({ type, object: stored.object }));
}

function line(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

function json(status: number, value: unknown, headers: Record<string, string> = {}): DirectResponse {
  return {
    status,
    headers: { 'content-type': 'application/json', ...headers },
    body: Buffer.from(JSON.stringify(value)),
  };
}

function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> =
    typeof target === 'object' && target !== null && !Array.isArray(target)
      ? { ...(target as Record<string, unknown>) }
      : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merge(result[key], value);
  }
  return result;
}
