/** The interface of the pipeline's limit stage. Implemented by flow-controller.ts and in-flight.ts. */
import { StatusError, statusErrors, type Status } from '#machinery/errors.ts';
import { CONNECTED } from '../http/request-info.ts';
import type { RequestContext } from '../context.ts';
import type { RequestInfo } from '../http/request-info.ts';

export interface RequestLimiter {
  /**
   * Returns at once when a seat is free, and sets context.release, which releases it. A promise: the request is queued. Throws or rejects with 429.
   */
  admit(context: RequestContext): void | Promise<void>;
}

const LONG_RUNNING = new Set(['attach', 'exec', 'proxy', 'log', 'portforward']);

/** The duration of a profile is set by its request. */
const PROFILES = '/debug/pprof/';

/** Long-running requests: no timeout, and a seat only for a watch's initialization. */
export function isLongRunning({
  verb,
  isResourceRequest,
  resource,
  subresource,
  path,
}: RequestInfo): boolean {
  return (
    verb === 'watch' ||
    verb === 'proxy' ||
    (!isResourceRequest && path.startsWith(PROFILES)) ||
    (isResourceRequest &&
      subresource !== '' &&
      (LONG_RUNNING.has(subresource) || CONNECTED.has(`${resource}/${subresource}`)))
  );
}

const READ_ONLY_VERBS = new Set(['get', 'list', 'watch', 'head', 'options']);

export function isMutating({ verb }: RequestInfo): boolean {
  return !READ_ONLY_VERBS.has(verb);
}

/** Refused before content negotiation: the response is plain text, as upstream's. */
export class Overloaded extends StatusError {
  constructor(status: Status) {
    super(status);
    this.name = 'Overloaded';
  }
}

export function tooManyRequests(): Overloaded {
  return new Overloaded(statusErrors.tooManyRequests('Too many requests, please try again later.', 1).status);
}
