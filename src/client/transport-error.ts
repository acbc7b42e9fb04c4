/** The error of every transport when there is no HTTP status. Responses with an error status are StatusErrors. */

type TransportErrorCode =
  /** Connection refused, or the name does not resolve: the request was certainly not processed. */
  | 'refused'
  /** The connection broke after the request may have been sent: it may have been processed. */
  | 'reset'
  /** No response in time: the request may have been processed. */
  | 'timeout'
  /** TLS verification of the server's or our certificate failed: a retry does not help. */
  | 'tls'
  /** The transport was closed by its owner. */
  | 'closed'
  /** The response could not be parsed. */
  | 'protocol';

export class TransportError extends Error {
  readonly code: TransportErrorCode;
  constructor(code: TransportErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'TransportError';
    this.code = code;
  }
}

export function isTransportError(error: unknown, code?: TransportErrorCode): error is TransportError {
  return error instanceof TransportError && (code === undefined || error.code === code);
}

/** The reason of an aborted signal as an Error. */
export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error
    ? signal.reason
    : new DOMException('This operation was aborted', 'AbortError');
}
