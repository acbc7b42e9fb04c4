/** CREATE: a body in, a stored object out. */
import { statusErrors } from '#machinery/errors.ts';
import type { ApiResponse } from '../http/request.ts';
import { respondWithObject, viewOptions } from '../registry/transform.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { readObject, toStorage } from '../registry/body.ts';
import { NOT_THIS_NAMESPACE, optionsObject, writeRequest, type WriteCall } from '../registry/write-call.ts';
import { parseMutationOptions } from '../registry/verb-options.ts';

export async function create(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core, target } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const view = viewOptions(context, core.clock.now(), endpoint);
  const object = await readObject(endpoint, context, options.fieldValidation);
  const meta = (object.metadata ??= {});
  if (endpoint.resource.namespaced && meta.namespace && meta.namespace !== target.namespace)
    throw statusErrors.badRequest(NOT_THIS_NAMESPACE);
  const request = writeRequest(endpoint, call, {
    dryRun: options.dryRun,
    options: optionsObject('CreateOptions', options),
  });
  const written = await core.registry.create(endpoint, toStorage(endpoint, object), { request });
  return respondWithObject(endpoint, written, { status: 201, options: view });
}
