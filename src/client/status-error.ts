/** The error of an answer that is none of the 2xx. */
import { StatusError, type Status } from '#machinery/errors.ts';

const MAX_MESSAGE = 1024;
const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  406: 'NotAcceptable',
  409: 'Conflict',
  410: 'Gone',
  413: 'RequestEntityTooLarge',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/** The Status of the response; created from the code when a proxy answered. */
export function readStatusError(code: number, body: Buffer): StatusError {
  const text = body.toString('utf8');
  try {
    const status = JSON.parse(text) as Status;
    if (status.kind === 'Status') return new StatusError({ ...status, code: status.code ?? code });
  } catch {
    // Not JSON: a proxy's page, or empty. The text is used as the message.
  }
  const message = isUnknownPath(code, text)
    ? 'the server could not find the requested resource'
    : text.trim().slice(0, MAX_MESSAGE) || `the server answered with status ${code}`;
  return new StatusError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason: REASONS[code] ?? 'Unknown',
    code,
  });
}

/** API servers answer so for an API that they do not serve. */
function isUnknownPath(code: number, text: string): boolean {
  return code === 404 && text.trim() === '404 page not found';
}
