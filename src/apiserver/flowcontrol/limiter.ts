/** What the pipeline's limit stage asks: may this request run now? Implemented by flow-controller.ts and in-flight.ts. */
import { StatusError, statusErrors, type Status } from '#machinery/errors.ts';
import { CONNECTED } from '../http/request-info.ts';
import type { RequestContext } from '../context.ts';
import type { RequestInfo } from '../http/request-info.ts';

export interface RequestLimiter {
  /**
   * Returns at once when there is room, and sets context.release, which gives it back. A promise: the request waits for its turn. Throws or
   * rejects with 429.
   */
  admit(context: RequestContext): void | Promise<void>;
}

const LONG_RUNNING = new Set(['attach', 'exec', 'proxy', 'log', 'portforward']);

/** Profiles take as long as they are asked to. */
const PROFILES = '/debug/pprof/';

/** Requests without end of their own: no time limit, no seat but for a watch's beginning. */
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

/** Refused before anything was made of the request: answered as a plain text, as upstream's is, which takes no negotiation. */
export class Overloaded extends StatusError {
  constructor(status: Status) {
    super(status);
    this.name = 'Overloaded';
  }
}

export function tooManyRequests(): Overloaded {
  return new Overloaded(statusErrors.tooManyRequests('Too many requests, please try again later.', 1).status);
}
