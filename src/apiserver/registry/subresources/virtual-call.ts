/** A request for a kind that is not stored. */
import type { RequestContext } from '../../context.ts';
import type { ServerCore } from '../../server-core.ts';
import type { Endpoint } from '../endpoints.ts';

export interface Call {
  readonly endpoint: Endpoint;
  readonly context: RequestContext;
  readonly core: ServerCore;
}
