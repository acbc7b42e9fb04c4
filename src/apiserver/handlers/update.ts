/** UPDATE: a whole object in place of the stored one, or one of its subresources. */
import { Turn } from '#stdx/turn.ts';
import type { KubeObject } from '#machinery/object.ts';
import { decodeBody } from '../http/codecs.ts';
import type { ApiResponse } from '../http/request.ts';
import { respondWithObject, viewOptions } from '../registry/transform.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { findDefaults, readBody, toStorage } from '../registry/body.ts';
import {
  checkName,
  optionsObject,
  WHOLE,
  writeRequest,
  type Part,
  type WriteCall,
} from '../registry/write-call.ts';
import { parseMutationOptions } from '../registry/verb-options.ts';

export async function update(
  endpoint: StoredEndpoint,
  call: WriteCall,
  { subresource, prepare }: Part = WHOLE,
): Promise<ApiResponse> {
  const { context, core, target } = call;
  const options = parseMutationOptions(context, 'UpdateOptions');
  const view = viewOptions(context, core.clock.now(), endpoint);
  const body = await readBody(context);
  let first = true;
  const read = (): KubeObject => {
    const warn = first ? (message: string) => void context.warnings.push(message) : () => {};
    const object = decodeBody(
      { gvk: endpoint.gvk, schema: endpoint.schema!, decode: endpoint.decode },
      { ...body, mode: options.fieldValidation, warn },
    );
    if (first) context.audit?.received(object, findDefaults(endpoint));
    first = false;
    checkName(object.metadata, target, endpoint.resource.namespaced);
    return toStorage(endpoint, object);
  };
  const turn = new Turn();
  const prepared = read();
  if (turn.isLong) await turn.pause();
  const written = await core.registry.update(
    endpoint,
    {
      change: once(prepared, read),
      prepare,
      mayCreate: subresource === '' && (endpoint.resource.behaviour.allowCreateOnUpdate ?? false),
      mustHaveResourceVersion: true,
      ignoresTimes: true,
    },
    writeRequest(endpoint, call, {
      dryRun: options.dryRun,
      subresource,
      options: optionsObject('UpdateOptions', options),
    }),
  );
  return respondWithObject(endpoint, written, { status: written.created ? 201 : 200, options: view });
}

/** The first call returns the decoded object; later calls decode again. */
function once(ready: KubeObject, again: () => KubeObject): () => KubeObject {
  let next: KubeObject | undefined = ready;
  return () => {
    const object = next ?? again();
    next = undefined;
    return object;
  };
}
