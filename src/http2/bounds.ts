/**
 * Every bound of an HTTP/2 connection and the effect beyond it. docs/http2.md lists them; attacks.test.ts tests each one. Bounds that depend on
 * the server (streams, header bytes, idle time) are options of Http2Connection.
 */

/** Request body bytes buffered before the reader has read any. Beyond: the stream is reset with FLOW_CONTROL_ERROR. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
/** Body bytes in flight of all streams together. Beyond: GOAWAY with FLOW_CONTROL_ERROR. */
export const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;

/** Handed to the socket at most, before it has written some. Beyond: DATA waits in its stream. */
export const SOCKET_HIGH_BYTES = 1024 * 1024;
/** Not yet written by the socket, of frames that do not wait (headers, resets, acknowledgements). Beyond: the client's frames are not read. */
export const PAUSE_BYTES = 2 * SOCKET_HIGH_BYTES;

/** CONTINUATION frames of one header block. Beyond: GOAWAY with ENHANCE_YOUR_CALM. */
export const MAX_CONTINUATIONS = 64;
/**
 * A decoded header list above the limit gets 431; one above this multiple of it ends the connection with ENHANCE_YOUR_CALM: a block of one-byte
 * references would otherwise decode to thousands of times its size.
 */
export const MAX_HEADER_LIST_FACTOR = 4;
/** Dynamic table size updates at the start of a header block (RFC 7541, section 4.2). Beyond: COMPRESSION_ERROR. */
export const MAX_TABLE_SIZE_UPDATES = 2;

/** Settings in one SETTINGS frame, as Go's server. Beyond, or when one is repeated: PROTOCOL_ERROR. */
export const MAX_SETTINGS = 100;
/**
 * Frames that cost work without serving a request (PING, SETTINGS, PRIORITY, empty DATA, frames on closed streams, refused streams, needless window
 * updates, windows that force tiny DATA frames): burst and rate per second. Beyond: GOAWAY with ENHANCE_YOUR_CALM.
 */
export const MAX_UNPRODUCTIVE_FRAMES = 10_000;
export const UNPRODUCTIVE_FRAMES_PER_SECOND = 100;
/** Clients return windows in pieces of about this size, or once for a DATA frame. */
export const LEAST_WINDOW_BYTES = 1024;
/** Requests that the client resets or that it makes the server reset: at once, and per second. Beyond: GOAWAY with ENHANCE_YOUR_CALM. */
export const MAX_RESETS = 1000;
export const RESETS_PER_SECOND = 50;
/** Streams the server has reset, whose late frames are not the client's fault. Beyond: the oldest is forgotten. */
export const MAX_REMEMBERED_RESETS = 100;
/** Ranges of stream numbers that were skipped; only the error code of a later use depends on it. Beyond: the oldest is forgotten. */
export const MAX_REMEMBERED_GAPS = 16;

/** After its response, the rest of a request may come for so long (as much as its window has room for). Beyond: RST_STREAM with NO_ERROR. */
export const UNWANTED_REST_MS = 250;

/** Of one stream and of the connection, where we are the client: pages of lists are some MiB. Beyond: FLOW_CONTROL_ERROR. */
export const CLIENT_STREAM_WINDOW_BYTES = 4 * 1024 * 1024;
export const CLIENT_CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024;
/** Header block of a response, encoded and decoded. Beyond: ENHANCE_YOUR_CALM. */
export const MAX_RESPONSE_HEADER_BYTES = 64 * 1024;
/** Of requests that wait for a window or for their turn. Beyond: requests are refused. */
export const MAX_CLIENT_QUEUED_BYTES = 256 * 1024 * 1024;

/** How long a client may take. */
export interface Http2Patience {
  /** From the connection to its preface and SETTINGS. Beyond: closed. */
  readonly startMs: number;
  /** From the first byte of a frame to its last; of a header block to its end. Beyond: GOAWAY with ENHANCE_YOUR_CALM. */
  readonly frameMs: number;
  /** Time in which the client must read stallBytes (or the rest) of a whole response. Beyond: the stream is reset with CANCEL. */
  readonly stallMs: number;
  readonly stallBytes: number;
  /** To close its side, after the server has closed its own. Beyond: closed. */
  readonly lingerMs: number;
}

export const PATIENCE: Http2Patience = {
  startMs: 10_000,
  frameMs: 30_000,
  stallMs: 120_000,
  stallBytes: 64 * 1024,
  lingerMs: 5000,
};

/** A token bucket: for actions that a client may perform occasionally. */
export class Allowance {
  #left: number;
  #atMs = performance.now();
  readonly #most: number;
  readonly #perSecond: number;

  constructor({ most, perSecond }: { readonly most: number; readonly perSecond: number }) {
    this.#left = this.#most = most;
    this.#perSecond = perSecond;
  }

  /** False when it is used up. */
  take(): boolean {
    if (--this.#left >= 0) return true;
    const nowMs = performance.now();
    this.#left = Math.min(this.#most, this.#left + ((nowMs - this.#atMs) / 1000) * this.#perSecond);
    this.#atMs = nowMs;
    return this.#left >= 0;
  }
}
