/** What every handler of a write is given, and the write it makes of it. */
import { statusErrors } from '#machinery/errors.ts';
import type { ObjectMeta } from '#machinery/object.ts';
import type { RequestContext } from '../context.ts';
import type { ServerCore } from '../server-core.ts';
import { DEFAULT_REQUEST_TIMEOUT_MS, requestTimeoutMs } from '../http/timeout-parameter.ts';
import type { Endpoint } from './endpoints.ts';
import { WriteRequest, type Change, type Target } from './write-request.ts';
import { parseManager, type MutationOptions } from './verb-options.ts';

export const NOT_THIS_NAMESPACE =
  'the namespace of the provided object does not match the namespace sent on the request';

export interface WriteCall {
  readonly context: RequestContext;
  readonly core: ServerCore;
  readonly target: Target;
}

interface WriteRequestOptions {
  readonly dryRun: boolean;
  /** '' = the object itself. */
  readonly subresource?: string;
  /** The verb's options as JSON. */
  readonly options: Readonly<Record<string, unknown>>;
  /** false: it was admitted by another body. */
  readonly admitted?: boolean;
}

export function writeRequest(
  endpoint: Pick<Endpoint, 'gvr' | 'gvk' | 'resource'>,
  { context, core, target }: WriteCall,
  { dryRun, subresource = '', options, admitted = true }: WriteRequestOptions,
): WriteRequest {
  const { request, user, impersonator, warnings, annotate } = context;
  const { fieldManager } = options;
  return new WriteRequest({
    endpoint,
    target,
    user,
    impersonator: impersonator?.user.name,
    internal: core.internal,
    dryRun,
    admitted,
    subresource,
    options,
    annotate,
    timeoutMs: timeoutOf(context),
    onAbort: (callback) => request.onAbort(callback),
    warn: (message) => void warnings.push(message),
    manager: parseManager(context, typeof fieldManager === 'string' ? fieldManager : ''),
  });
}

/** From ?timeout=. */
function timeoutOf({ info: { query } }: RequestContext): number | undefined {
  return query['timeout'] === undefined
    ? undefined
    : requestTimeoutMs(query['timeout'], DEFAULT_REQUEST_TIMEOUT_MS);
}

export function optionsObject(
  kind: string,
  { dryRun, fieldManager, fieldValidation }: MutationOptions,
): Record<string, unknown> {
  return {
    kind,
    apiVersion: 'meta.k8s.io/v1',
    ...(dryRun ? { dryRun: ['All'] } : {}),
    ...(fieldManager ? { fieldManager } : {}),
    ...(fieldValidation === 'warn'
      ? {}
      : { fieldValidation: fieldValidation === 'strict' ? 'Strict' : 'Ignore' }),
  };
}

export function checkName(
  meta: ObjectMeta | undefined,
  { name, namespace }: Target,
  namespaced: boolean,
): void {
  if (!meta?.name)
    throw statusErrors.badRequest(
      `the name of the object (${name} based on URL) was undeterminable: name must be provided`,
    );
  if (meta.name !== name)
    throw statusErrors.badRequest(
      `the name of the object (${meta.name}) does not match the name on the URL (${name})`,
    );
  if (namespaced && meta.namespace && meta.namespace !== namespace) {
    throw statusErrors.badRequest(NOT_THIS_NAMESPACE);
  }
}

/** How a subresource differs from its object. */
export interface Part {
  readonly subresource: string;
  readonly prepare?: Change['prepare'];
}

export const WHOLE: Part = { subresource: '' };
