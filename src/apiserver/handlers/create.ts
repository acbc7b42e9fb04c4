/** CREATE: a body in, a stored object out. */
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ApiResponse } from '../http/request.ts';
import { statusOf } from '../http/response.ts';
import { respondWithObject, viewOptions } from '../registry/transform.ts';
import type { Written } from '../registry/object-writer.ts';
import type { StoredEndpoint, WriteRequest } from '../registry/write-request.ts';
import { decodeObjectBody, readBody, toStorage } from '../registry/body.ts';
import { NOT_THIS_NAMESPACE, optionsObject, writeRequest, type WriteCall } from '../registry/write-call.ts';
import { parseMutationOptions } from '../registry/verb-options.ts';

export async function create(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const view = viewOptions(context, core.clock.now(), endpoint);
  const body = await readBody(context);
  const decoded = (): Promise<KubeObject> =>
    decodeObjectBody(endpoint, context, { body, mode: options.fieldValidation });
  const request = (): WriteRequest =>
    writeRequest(endpoint, call, {
      dryRun: options.dryRun,
      options: optionsObject('CreateOptions', options),
    });
  const warnings = context.warnings.length;
  const first = request();
  let written: Written;
  try {
    written = await createOnce(endpoint, call, { object: await decoded(), request: first });
  } catch (error) {
    if (!core.cache.isShared || first.isDecided || !isRefusal(error)) throw error;
    // By what this server knew, which may be older than what another has acknowledged: a namespace, a service account, room in a quota.
    await core.cache.caughtUp();
    context.warnings.length = warnings;
    written = await createOnce(endpoint, call, { object: await decoded(), request: request() });
  }
  return respondWithObject(endpoint, written, { status: 201, options: view });
}

function createOnce(
  endpoint: StoredEndpoint,
  { core, target }: WriteCall,
  { object, request }: { readonly object: KubeObject; readonly request: WriteRequest },
): Promise<Written> {
  const meta = (object.metadata ??= {});
  if (endpoint.resource.namespaced && meta.namespace && meta.namespace !== target.namespace)
    throw statusErrors.badRequest(NOT_THIS_NAMESPACE);
  return core.registry.create(endpoint, toStorage(endpoint, object), { request });
}

/** 403, 404 or 422, which may depend on what else there is: an address that is free again, say. */
function isRefusal(error: unknown): boolean {
  const code = statusOf(error)?.code;
  return code === 403 || code === 404 || code === 422;
}
