/** A server in the test's own process over the memory store, everything allowed, and a small client of its handler. */
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { allowAll } from '../authz/authorizer.ts';
import type { ApiRequest, ResponseSink } from '../http/request.ts';
import { createApiServer, type ApiServer } from '../server.ts';
import { type ApiServerOptions } from '../options.ts';

export interface TestResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Buffer;
  readonly text: string;
  // oxlint-disable-next-line no-explicit-any
  readonly body: any;
}

export interface TestRequestOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly user?: UserInfo;
}

export const ADMIN: UserInfo = { name: 'admin', groups: ['system:masters', 'system:authenticated'] };

export interface TestServer {
  readonly server: ApiServer;
  readonly store: Store;
  /** 'GET /api/v1/namespaces?limit=1' */
  request(target: string, options?: TestRequestOptions): Promise<TestResponse>;
  watch(path: string, options?: TestRequestOptions): Promise<TestWatch>;
  stop(): Promise<void>;
}

export async function startTestServer(options: Partial<ApiServerOptions> = {}): Promise<TestServer> {
  const store = options.store ?? createMemoryStore();
  const server = await createApiServer({
    authentication: () => ({ authenticator: { authenticate: () => ({ user: ADMIN }) } }),
    authorization: () => allowAll,
    bootstrapObjects: false,
    ...options,
    store,
  });
  return {
    server,
    store,
    request: (target, request) => send(server, target, request ?? {}),
    watch: (path, request) => watchPath(server, path, request ?? {}),
    async stop() {
      await server.stop();
      await store.close();
    },
  };
}

function toRequest(
  target: string,
  { body, headers = {}, user }: TestRequestOptions,
  onAbort: (callback: () => void) => void = () => {},
): ApiRequest {
  const [method = 'GET', url = '/'] = target.split(' ');
  const mark = url.indexOf('?');
  const bytes =
    body === undefined
      ? Buffer.alloc(0)
      : Buffer.isBuffer(body)
        ? body
        : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return {
    method,
    path: mark < 0 ? url : url.slice(0, mark),
    query: mark < 0 ? '' : url.slice(mark + 1),
    headers,
    remoteAddress: '127.0.0.1',
    onAbort,
    body: () => Promise.resolve(bytes),
    user,
  };
}

async function send(server: ApiServer, target: string, options: TestRequestOptions): Promise<TestResponse> {
  const { status, headers: single, repeated, body } = await server.handler(toRequest(target, options));
  const headers = {
    ...single,
    ...Object.fromEntries(Object.entries(repeated ?? {}).map(([name, values]) => [name, values.join(', ')])),
  };
  if (typeof body === 'function') throw new Error(`${target} answered a stream`);
  const bytes = Buffer.isBuffer(body) ? body : Buffer.concat(body as Buffer[]);
  const text = bytes.toString();
  return {
    status,
    headers,
    bytes,
    text,
    get body() {
      return JSON.parse(text);
    },
  };
}

interface WatchEvent {
  readonly type: string;
  readonly object: KubeObject;
}

interface TestWatch {
  readonly status: number;
  /** The next event; waits for it. */
  next(): Promise<WatchEvent>;
  /** Events that are there already. */
  readonly pending: readonly WatchEvent[];
  /** Resolves when the server ended the stream. */
  readonly ended: Promise<void>;
  close(): void;
}

async function watchPath(server: ApiServer, path: string, options: TestRequestOptions): Promise<TestWatch> {
  const { status, body } = await server.handler(toRequest(`GET ${path}`, options));
  const events: WatchEvent[] = [];
  const waiting: ((event: WatchEvent) => void)[] = [];
  let buffered = '';
  const take = (chunk: Buffer): void => {
    buffered += chunk.toString();
    for (let end = buffered.indexOf('\n'); end >= 0; end = buffered.indexOf('\n')) {
      const event = JSON.parse(buffered.slice(0, end)) as WatchEvent;
      buffered = buffered.slice(end + 1);
      const waiter = waiting.shift();
      if (waiter) waiter(event);
      else events.push(event);
    }
  };
  let finish = (): void => {};
  const ended = new Promise<void>((resolve) => (finish = resolve));
  const closers: (() => void)[] = [];
  if (typeof body === 'function') body(new TestSink(take, { finish, closers }));
  else {
    take(Buffer.isBuffer(body) ? body : Buffer.concat(body as Buffer[]));
    finish();
  }
  return {
    status,
    ended,
    pending: events,
    next: () => {
      const event = events.shift();
      return event ? Promise.resolve(event) : new Promise((resolve) => waiting.push(resolve));
    },
    close: () => closers.forEach((close) => close()),
  };
}

class TestSink implements ResponseSink {
  closed = false;
  readonly bufferedBytes = 0;
  readonly #take: (chunk: Buffer) => void;
  readonly #finish: () => void;
  readonly #closers: (() => void)[];

  constructor(
    take: (chunk: Buffer) => void,
    { finish, closers }: { readonly finish: () => void; readonly closers: (() => void)[] },
  ) {
    this.#take = take;
    this.#finish = finish;
    this.#closers = closers;
  }

  write(chunk: Buffer): boolean {
    this.#take(chunk);
    return true;
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  end(): void {
    this.closed = true;
    this.#finish();
  }

  onClose(callback: () => void): void {
    this.#closers.push(() => {
      this.closed = true;
      callback();
    });
  }
}
