/**
 * One request and one response as the API pipeline sees them, whatever carried them: HTTP/2 or HTTP/1.1 over TLS, a message port
 * from another thread, or a direct call. Not a web framework: listeners are in listener.ts, the pipeline in pipeline.ts.
 */
import type { Readable } from 'node:stream';
import type { UserInfo } from '#machinery/object.ts';
import type { ResponseSink } from '#stdx/response-sink.ts';

export type { ResponseSink } from '#stdx/response-sink.ts';

export interface ApiRequest {
  /** Upper case. */
  readonly method: string;
  /** Path as sent (still percent-encoded), without the query. */
  readonly path: string;
  /** Query without '?', '' when there is none. */
  readonly query: string;
  /** Lower-case names; repeated headers joined by ', '. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Reads the whole body; a StatusError 413 above limitBytes. */
  body(limitBytes: number): Promise<Buffer>;
  /** The body as it comes, for those who send it on; absent in listeners that have it whole. In place of body(). */
  bodyStream?(): Readable;
  /** A header's values line by line, where repeated headers differ from one with commas. Absent: the listener joins them. */
  headerValues?(name: string): readonly string[];
  /** Registers a callback for when the client went away. */
  onAbort(callback: () => void): void;
  /** Registers a callback, called once, when the whole response was passed to the operating system or the client is gone. Absent: the listener cannot tell, or completes at once. */
  onSent?(callback: () => void): void;
  readonly remoteAddress: string;
  /** Subject (CN and O values) of the verified client certificate. */
  readonly clientCertificate?:
    | {
        readonly commonName: string;
        readonly organizations: readonly string[];
        readonly fingerprint: string;
        readonly notAfterMs?: number;
        readonly uid?: string;
      }
    | undefined;
  /** Why a presented client certificate was rejected: the response must be 401 unless another credential is valid. */
  readonly clientCertificateError?: string | undefined;
  /** A rejected client certificate that is a node's, with nothing wrong but that it has expired. */
  readonly expiredNode?:
    | { readonly nodeName: string; readonly notAfterMs: number; readonly fingerprint: string }
    | undefined;
  /** The same for a certificate of the front-proxy (request header) CA: its X-Remote-* headers are trusted. */
  readonly frontProxyCertificate?: { readonly commonName: string; readonly notAfterMs?: number } | undefined;
  /** Set only by in-process listeners, which are trusted: authentication uses this user. */
  readonly user?: UserInfo | undefined;
}

export interface ApiResponse {
  readonly status: number;
  readonly headers: Record<string, string>;
  /** Headers sent as several lines, one for each value; they must not occur in `headers`. */
  repeated?: Readonly<Record<string, readonly string[]>> | undefined;
  /** Whole bytes, a concatenation of ready pieces (sent without copying them together first), or a stream. */
  readonly body: Buffer | readonly Buffer[] | ((sink: ResponseSink) => void);
  /** The same whole body as gzip, from parts that may be compressed already. */
  readonly gzipped?: () => Promise<readonly Buffer[]>;
}

export type ApiHandler = (request: ApiRequest) => Promise<ApiResponse>;
