/** How a component reaches an API server: over HTTPS (https.ts), or through a message port / direct call inside one process (port.ts, direct.ts). */

export interface TransportRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string | undefined;
  readonly signal?: AbortSignal;
}

export interface TransportResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The whole body. */
  bytes(): Promise<Buffer>;
  /** The body in chunks; use it for watches. Ends when the server ends it, throws when the connection breaks. */
  stream(): AsyncIterable<Buffer>;
}

export interface Transport {
  request(request: TransportRequest): Promise<TransportResponse>;
  close(): Promise<void>;
}
