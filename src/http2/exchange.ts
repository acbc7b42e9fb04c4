/** A request and its response as a user of this room sees them. It knows nothing of who the client is: that belongs to the socket. */
import type { Readable } from 'node:stream';
import type { ResponseSink } from '#stdx/response-sink.ts';

/** One request, from its header block on; the body may still be coming. */
export interface Http2Request {
  /** As sent; a token. */
  readonly method: string;
  /** Path as sent (still percent-encoded), without the query. */
  readonly path: string;
  /** Query without '?', '' when there is none. */
  readonly query: string;
  /** Lower-case names; repeated fields are joined by ', ' (cookie by '; '). */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** A field's values one by one. */
  headerValues(name: string): readonly string[];
  /** Reads the whole body; rejects with RequestBodyError. Called at most once, instead of bodyStream. */
  body(limitBytes: number): Promise<Buffer>;
  /** The body as it comes, of any length; destroyed with RequestBodyError 'incomplete' when the client goes away. */
  bodyStream(): Readable;
  /** Calls back when the client went away before the response was complete; at once when it has. */
  onAbort(callback: () => void): void;
  /** Calls back once the response was passed to the operating system, or the client is gone. */
  onSent(callback: () => void): void;
}

export interface Http2Response {
  readonly status: number;
  /** Lower-case names; values in Latin-1 without line ends. The connection adds date and content-length. */
  readonly headers: Record<string, string>;
  /** Fields sent once for each value; they must not occur in `headers`. */
  readonly repeated?: Readonly<Record<string, readonly string[]>> | undefined;
  /** Whole bytes, pieces that are sent one after the other (the list must not change any more), or a stream. */
  readonly body: Buffer | readonly Buffer[] | ((sink: ResponseSink) => void);
}

/** Never rejects because of the client; a rejection resets the stream with INTERNAL_ERROR and is logged. */
export type Http2Handler = (request: Http2Request) => Promise<Http2Response>;

/** Why a body cannot be read: longer than the reader's limit, or the client went away before its end. */
export class RequestBodyError extends Error {
  readonly code: 'too-large' | 'incomplete';

  constructor(code: 'too-large' | 'incomplete', message: string) {
    super(message);
    this.code = code;
  }
}
