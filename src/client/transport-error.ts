/** Why a request got no answer: the one error every transport throws when there is no HTTP status. Answers with a status are StatusErrors. */

type TransportErrorCode =
  /** Nothing listens there, or the name does not resolve: the request was certainly not processed. */
  | 'refused'
  /** The connection broke after the request may have been sent: it may have been processed. */
  | 'reset'
  /** No answer in time: it may have been processed. */
  | 'timeout'
  /** The server's certificate, or ours, was not accepted: retrying does not help. */
  | 'tls'
  /** The transport was closed by its owner. */
  | 'closed'
  /** The answer could not be understood. */
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
