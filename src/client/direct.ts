/**
 * A transport that calls an API handler in the same thread, without sockets and copies. The types below are structurally those of the API
 * server's http.ts (which this room may not import), so its ApiHandler can be passed directly.
 */
import type { UserInfo } from '#machinery/object.ts';
import { statusErrors } from '#machinery/errors.ts';
import { ChunkStream, collect } from './chunk-stream.ts';
import type { Transport, TransportRequest, TransportResponse } from './transport.ts';
import { TransportError, abortReason } from './transport-error.ts';

export interface DirectRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  body(limitBytes: number): Promise<Buffer>;
  onAbort(callback: () => void): void;
  readonly remoteAddress: string;
  readonly clientCertificate?: {
    readonly commonName: string;
    readonly organizations: readonly string[];
    readonly fingerprint: string;
  };
  readonly user?: UserInfo | undefined;
}

export interface DirectSink {
  write(chunk: Buffer): boolean;
  drained(): Promise<void>;
  readonly bufferedBytes: number;
  end(): void;
  readonly closed: boolean;
  onClose(callback: () => void): void;
}

export interface DirectResponse {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer | readonly Buffer[] | ((sink: DirectSink) => void);
}

export type DirectHandler = (request: DirectRequest) => Promise<DirectResponse>;

interface DirectOptions {
  /** The user of the requests; the handler accepts it without authentication. Default: anonymous. */
  readonly user?: UserInfo;
  readonly remoteAddress?: string;
}

/** The transport owns nothing: close() aborts its open requests and rejects further ones. */
export function createDirectTransport(handler: DirectHandler, options: DirectOptions = {}): Transport {
  const cancels = new Set<(error: Error) => void>();
  let closed = false;
  return {
    request(request) {
      if (closed) return Promise.reject(new TransportError('closed', 'transport is closed'));
      return call(handler, { request, options, cancels });
    },
    close() {
      closed = true;
      for (const cancel of cancels) cancel(new TransportError('closed', 'transport is closed'));
      return Promise.resolve();
    },
  };
}

interface Call {
  readonly request: TransportRequest;
  readonly options: DirectOptions;
  readonly cancels: Set<(error: Error) => void>;
}

function call(handler: DirectHandler, { request, options, cancels }: Call): Promise<TransportResponse> {
  const { signal } = request;
  if (signal?.aborted) return Promise.reject(abortReason(signal));
  return new Promise((resolve, reject) => {
    const aborts = new AbortCallbacks();
    let stream: ChunkStream | undefined;
    const settle = (): void => {
      cancels.delete(cancel);
      signal?.removeEventListener('abort', onAbort);
    };
    const cancel = (error: Error): void => {
      settle();
      reject(error);
      stream?.fail(error);
      aborts.fire();
    };
    const onAbort = (): void => cancel(abortReason(signal!));
    cancels.add(cancel);
    signal?.addEventListener('abort', onAbort, { once: true });

    handler(
      directRequest(request, {
        user: options.user,
        remoteAddress: options.remoteAddress ?? '127.0.0.1',
        aborts,
      }),
    ).then(
      (response) => {
        if (typeof response.body !== 'function') {
          settle();
          resolve(wholeResponse(response.status, { headers: response.headers, body: joined(response.body) }));
          return;
        }
        stream = new ChunkStream();
        stream.onClose(settle);
        if (aborts.fired) stream.cancel();
        response.body(sinkOf(stream));
        resolve(streamResponse(response.status, { headers: response.headers, stream }));
      },
      (error: unknown) => {
        settle();
        reject(error instanceof Error ? error : new TransportError('protocol', String(error)));
      },
    );
  });
}

/** The onAbort callbacks of one request; called at most once. */
export class AbortCallbacks {
  #callbacks: (() => void)[] | undefined = [];
  get fired(): boolean {
    return this.#callbacks === undefined;
  }
  add(callback: () => void): void {
    if (this.#callbacks) this.#callbacks.push(callback);
    else callback();
  }
  fire(): void {
    const callbacks = this.#callbacks ?? [];
    this.#callbacks = undefined;
    for (const callback of callbacks) callback();
  }
}

const EMPTY = Buffer.alloc(0);

interface Caller {
  readonly user: UserInfo | undefined;
  readonly remoteAddress: string;
  readonly aborts: AbortCallbacks;
}

/** Converts a transport request for the handler. Header names must be lower case already. */
export function directRequest(
  request: Pick<TransportRequest, 'method' | 'path' | 'headers' | 'body'>,
  { user, remoteAddress, aborts }: Caller,
): DirectRequest {
  const mark = request.path.indexOf('?');
  return {
    method: request.method,
    path: mark < 0 ? request.path : request.path.slice(0, mark),
    query: mark < 0 ? '' : request.path.slice(mark + 1),
    headers: request.headers ?? {},
    body(limitBytes) {
      const body =
        request.body === undefined
          ? EMPTY
          : typeof request.body === 'string'
            ? Buffer.from(request.body)
            : request.body;
      return body.length > limitBytes
        ? Promise.reject(statusErrors.requestEntityTooLarge(`limit is ${limitBytes}`))
        : Promise.resolve(body);
    },
    onAbort: (callback) => aborts.add(callback),
    remoteAddress,
    user,
  };
}

function joined(body: Buffer | readonly Buffer[]): Buffer {
  if (Buffer.isBuffer(body)) return body;
  const pieces = body as readonly Buffer[];
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces as Buffer[]);
}

function sinkOf(stream: ChunkStream): DirectSink {
  return {
    write: (chunk) => stream.push(chunk),
    drained: () => stream.drained(),
    get bufferedBytes() {
      return stream.bufferedBytes;
    },
    end: () => stream.end(),
    get closed() {
      return stream.closed;
    },
    onClose: (callback) => stream.onClose(callback),
  };
}

export function wholeResponse(
  status: number,
  { headers, body }: { readonly headers: TransportResponse['headers']; readonly body: Buffer },
): TransportResponse {
  return { status, headers, bytes: () => Promise.resolve(body), stream: () => once(body) };
}

async function* once(body: Buffer): AsyncGenerator<Buffer, void, void> {
  if (body.length > 0) yield body;
}

export function streamResponse(
  status: number,
  { headers, stream }: { readonly headers: TransportResponse['headers']; readonly stream: ChunkStream },
): TransportResponse {
  return { status, headers, bytes: () => collect(stream), stream: () => stream };
}
