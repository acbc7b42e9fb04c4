/** GET of one object. */
import { statusErrors } from '#machinery/errors.ts';
import { refuseUnreadable } from '../watchcache/unreadable.ts';
import type { RequestContext } from '../context.ts';
import type { ServerCore } from '../server-core.ts';
import type { ApiResponse } from '../http/request.ts';
import type { StoredEndpoint, Target } from '../registry/write-request.ts';
import { respondWithObject, storedOf, viewOptions } from '../registry/transform.ts';
import { parseResourceVersion } from '../registry/verb-options.ts';

export function get(
  endpoint: StoredEndpoint,
  {
    context,
    core,
    target,
  }: { readonly context: RequestContext; readonly core: ServerCore; readonly target: Target },
): ApiResponse | Promise<ApiResponse> {
  const options = viewOptions(context, core.clock.now(), endpoint);
  requireRevision(core, parseResourceVersion(context.info.query['resourceVersion']));
  const entry = endpoint.cache.entries.get(endpoint.cache.key(target));
  if (!entry) {
    refuseUnreadable(endpoint.cache, endpoint.cache.key(target));
    throw statusErrors.notFound({ ...endpoint.groupResource, name: target.name });
  }
  const waiting = endpoint.codec?.ready([entry]);
  if (waiting)
    return waiting.then(() =>
      respondWithObject(endpoint, storedOf(endpoint, entry), { status: 200, options }),
    );
  return respondWithObject(endpoint, storedOf(endpoint, entry), { status: 200, options });
}

/** The cache is never behind; a newer revision than the store's is from another life of it. */
export function requireRevision(core: ServerCore, wanted: number | undefined): void {
  const current = core.cache.revision;
  if (wanted === undefined || wanted <= current) return;
  const error = statusErrors.timeout(`Too large resource version: ${BigInt(wanted)}, current: ${current}`, 1);
  error.status.details = {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  };
  throw error;
}
