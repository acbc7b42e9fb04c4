/** Shared by subresources with a body of another kind: its namespace, preconditions, admission, and the response "created". */
import { statusErrors } from '#machinery/errors.ts';
import { parseApiVersion, type KubeObject, type ObjectMeta } from '#machinery/object.ts';
import { NOT_THIS_NAMESPACE, optionsObject, writeRequest, type WriteCall } from '../write-call.ts';
import type { MutationOptions } from '../verb-options.ts';
import type { ApiResponse } from '../../http/request.ts';
import { successStatus } from '../../http/response.ts';
import type { Endpoint } from '../endpoints.ts';
import { respondEncoded, viewOptions } from '../transform.ts';

/** Responds with a Status of code 201. */
export function created({ context, core }: WriteCall): ApiResponse {
  const status = { ...successStatus(undefined), code: 201 };
  return respondEncoded(status as unknown as KubeObject, {
    status: 201,
    options: viewOptions(context, core.clock.now()),
  });
}

/** A body may leave its namespace to the URL. */
export function requireNamespace({ metadata }: KubeObject, namespace: string): void {
  if (metadata?.namespace && metadata.namespace !== namespace)
    throw statusErrors.badRequest(NOT_THIS_NAMESPACE);
}

/** A uid or resourceVersion in the body is a precondition; without one the write is unconditional. */
export function takePreconditions(meta: ObjectMeta, given: ObjectMeta | undefined): void {
  if (given?.resourceVersion) meta.resourceVersion = given.resourceVersion;
  if (given?.uid) meta.uid = given.uid;
}

interface AdmittedBody {
  readonly subresource: string;
  readonly body: KubeObject;
  readonly options: MutationOptions;
}

/** Admission of a body that is never stored. */
export async function admitBody(
  endpoint: Pick<Endpoint, 'gvr' | 'gvk' | 'resource'>,
  call: WriteCall,
  { subresource, body, options }: AdmittedBody,
): Promise<void> {
  const { admission, clock } = call.core;
  const request = writeRequest(endpoint, call, {
    dryRun: options.dryRun,
    subresource,
    options: optionsObject('CreateOptions', options),
  });
  request.begin({
    operation: 'CREATE',
    nowMs: clock.now(),
    object: body,
    oldObject: undefined,
    gvk: { ...parseApiVersion(body.apiVersion ?? ''), kind: body.kind ?? '' },
  });
  await admission.admit(request);
  await admission.validate(request);
}
