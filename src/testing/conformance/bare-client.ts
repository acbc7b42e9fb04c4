/** A bare HTTPS client for the tests of conformance behaviours: paths, JSON, status codes, watches. It knows no Kubernetes, so that it shares no mistake with the server. */
import assert from 'node:assert/strict';
import { Agent, request, type RequestOptions } from 'node:https';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { until } from '../cluster.ts';

/** JSON of the wire, looked into by assertions. */
// oxlint-disable-next-line no-explicit-any
export type Json = any;

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly body: Json;
}

type PatchKind = 'json' | 'merge' | 'strategic' | 'apply';

const PATCH_TYPES: Readonly<Record<PatchKind, string>> = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
};

export interface SendOptions {
  /** A string is sent as it is. */
  readonly body?: Json;
  readonly headers?: Readonly<Record<string, string>>;
}

interface WatchedEvent {
  readonly type: string;
  readonly object: Json;
}

interface WatchStream {
  /** All that came, oldest first. */
  readonly events: readonly WatchedEvent[];
  /** The first event of this type whose object passes, now or later. */
  seen(type: string, check?: (object: Json) => boolean): Promise<WatchedEvent>;
  /** 'TYPE name' of all that came. */
  readonly words: readonly string[];
  close(): void;
}

export interface BareClient {
  /** 'https://127.0.0.1:PORT' */
  readonly url: string;
  /** 'GET /api/v1/namespaces'; any answer. */
  send(target: string, options?: SendOptions): Promise<Answer>;
  get(path: string): Promise<Json>;
  post(path: string, body: Json): Promise<Json>;
  put(path: string, body: Json): Promise<Json>;
  /** By default a merge patch. */
  patch(path: string, body: Json, kind?: PatchKind): Promise<Json>;
  del(path: string, body?: Json): Promise<Json>;
  /** The Status the request must be refused with. */
  refused(code: number, target: string, options?: SendOptions): Promise<Json>;
  /** The collection's watch, with these further query words. */
  watch(path: string, query?: string): Promise<WatchStream>;
  /** Makes a namespace and answers its name. */
  namespace(labels?: Readonly<Record<string, string>>): Promise<string>;
  /** Waits for the object at the path to pass. */
  reaches(path: string, check: (object: Json) => boolean | undefined): Promise<Json>;
  /** Waits for 404. */
  gone(path: string): Promise<void>;
  /** Ends watches and connections. */
  disconnect(): void;
}

interface BareClientOptions {
  readonly url: string;
  readonly caPem: string;
  readonly certificatePem: string;
  readonly keyPem: string;
  /** Default true: namespace() waits for the default service account, which controllers make. */
  readonly controllers?: boolean;
}

export function createBareClient({
  url,
  caPem,
  certificatePem,
  keyPem,
  controllers = true,
}: BareClientOptions): BareClient {
  const agent = new Agent({ keepAlive: true, ca: caPem, cert: certificatePem, key: keyPem });
  const watches = new Set<WatchStream>();
  const open = (target: string, { body, headers = {} }: SendOptions): Promise<IncomingMessage> => {
    const [method = 'GET', path = '/'] = target.split(' ');
    const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
    const settings: RequestOptions = {
      method,
      agent,
      headers: {
        ...(text === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
        ...headers,
      },
    };
    return new Promise((resolve, reject) => {
      const outgoing = request(url + path, settings, resolve);
      outgoing.on('error', reject);
      outgoing.end(text);
    });
  };
  const send = async (target: string, more: SendOptions = {}): Promise<Answer> => {
    const response = await open(target, more);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      text,
      get body() {
        return JSON.parse(text) as Json;
      },
    };
  };
  const must = async (target: string, more: SendOptions = {}): Promise<Json> => {
    const answer = await send(target, more);
    assert.ok(answer.status >= 200 && answer.status < 300, `${target}: ${answer.status} ${answer.text}`);
    return answer.body;
  };
  const client: BareClient = {
    url,
    send,
    get: (path) => must(`GET ${path}`),
    post: (path, body) => must(`POST ${path}`, { body }),
    put: (path, body) => must(`PUT ${path}`, { body }),
    patch: (path, body, kind = 'merge') =>
      must(`PATCH ${path}`, { body, headers: { 'content-type': PATCH_TYPES[kind] } }),
    del: (path, body) => must(`DELETE ${path}`, body === undefined ? {} : { body }),
    async refused(code, target, more) {
      const answer = await send(target, more);
      assert.equal(answer.status, code, `${target}: ${answer.status} ${answer.text}`);
      assert.equal(answer.body.kind, 'Status');
      assert.equal(answer.body.code, code);
      return answer.body;
    },
    async watch(path, query = '') {
      const response = await open(`GET ${path}?watch=true${query && '&'}${query}`, {});
      assert.equal(response.statusCode, 200, `watch of ${path}`);
      const stream = streamOf(response);
      watches.add(stream);
      return stream;
    },
    async namespace(labels = {}) {
      const made = await client.post('/api/v1/namespaces', {
        metadata: { generateName: 'conformance-', labels },
      });
      const { name } = made.metadata as { name: string };
      await until(
        'the default service account',
        async () =>
          (await send(`GET /api/v1/namespaces/${name}/serviceaccounts/default`)).status === 200 ||
          !controllers,
      );
      return name;
    },
    reaches: (path, check) =>
      until(`${path}: ${check.toString()}`, async () => {
        const object = await client.get(path);
        return check(object) ? (object as unknown) : undefined;
      }),
    async gone(path) {
      await until(`${path} to be gone`, async () => (await send(`GET ${path}`)).status === 404);
    },
    disconnect() {
      for (const stream of watches) stream.close();
      agent.destroy();
    },
  };
  return client;
}

function streamOf(response: IncomingMessage): WatchStream {
  const events: WatchedEvent[] = [];
  let rest = '';
  response
    .setEncoding('utf8')
    .on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      events.push(...lines.map((line) => JSON.parse(line) as WatchedEvent));
    })
    .on('error', () => {});
  return {
    events,
    get words() {
      return events.map(({ type, object }) => `${type} ${object.metadata?.name}`);
    },
    seen: (type, check = () => true) =>
      until(`a watch event ${type} ${check.toString()}`, () =>
        events.find((event) => event.type === type && check(event.object)),
      ),
    close: () => void response.destroy(),
  };
}
