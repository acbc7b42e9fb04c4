/** DELETE of one object, and the options of both ways to delete. */
import { fieldErrors, statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { RequestContext } from '../context.ts';
import { decodeBody } from '../http/codecs.ts';
import type { ApiResponse } from '../http/request.ts';
import { isTrue, queryValues } from '../http/request-info.ts';
import { successStatus } from '../http/response.ts';
import type { DeleteRequest } from '../registry/deletion.ts';
import type { Endpoint } from '../registry/endpoints.ts';
import { respondEncoded, respondWithObject, viewOptions } from '../registry/transform.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { bodyEncoding, MAX_BODY_BYTES, readBytes } from '../registry/body.ts';
import { writeRequest, type WriteCall } from '../registry/write-call.ts';
import { checkDryRun } from '../registry/verb-options.ts';

interface DeleteOptions extends DeleteRequest {
  readonly dryRun: boolean;
}

export async function remove(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core, target } = call;
  const view = viewOptions(context, core.clock.now(), endpoint);
  const options = await readDeleteOptions(context);
  warnOfDefault(endpoint, options, context);
  const request = writeRequest(endpoint, call, {
    dryRun: options.dryRun,
    options: deleteOptionsObject(options),
  });
  const deleted = await core.registry.delete(endpoint, options, request);
  if (!deleted.removed || endpoint.served.returnsDeleted) {
    const status = !deleted.removed && options.orphanDependents === false ? 202 : 200;
    return respondWithObject(endpoint, deleted, { status, options: view });
  }
  const { group, resource } = endpoint.groupResource;
  const status = successStatus({
    name: target.name,
    ...(group ? { group } : {}),
    kind: resource,
    uid: deleted.object.metadata?.uid ?? '',
  });
  delete (status as { code?: number }).code;
  return respondEncoded(status as unknown as KubeObject, {
    status: 200,
    options: { ...view, accepted: { ...view.accepted, view: 'object' } },
  });
}

/** The default propagation policy. */
export function warnOfDefault(
  { resource }: Endpoint,
  { propagationPolicy, orphanDependents }: DeleteOptions,
  context: RequestContext,
): void {
  const { deleteWarning } = resource.behaviour;
  if (deleteWarning !== undefined && propagationPolicy === undefined && orphanDependents === undefined)
    context.warnings.push(deleteWarning);
}

export function deleteOptionsObject({
  dryRun,
  gracePeriodSeconds,
  propagationPolicy,
  orphanDependents,
  preconditions,
}: DeleteOptions): Record<string, unknown> {
  return {
    kind: 'DeleteOptions',
    apiVersion: 'meta.k8s.io/v1',
    ...(dryRun ? { dryRun: ['All'] } : {}),
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
    ...(orphanDependents === undefined ? {} : { orphanDependents }),
    ...(preconditions ? { preconditions } : {}),
  };
}

export async function readDeleteOptions(context: RequestContext): Promise<DeleteOptions> {
  const bytes = await context.request.body(MAX_BODY_BYTES);
  const raw = bytes.length === 0 ? queryDeleteOptions(context) : await bodyDeleteOptions(bytes, context);
  if (bytes.length > 0) context.audit?.received(raw as KubeObject);
  const { gracePeriodSeconds, propagationPolicy, orphanDependents, preconditions, dryRun } = raw as Record<
    string,
    never
  >;
  const options = {
    gracePeriodSeconds: gracePeriodSeconds as number | undefined,
    propagationPolicy: propagationPolicy as string | undefined,
    orphanDependents: orphanDependents as boolean | undefined,
    preconditions: preconditions as DeleteRequest['preconditions'],
  };
  const errors = [];
  if (options.propagationPolicy !== undefined && options.orphanDependents !== undefined) {
    errors.push(
      fieldErrors.invalid(
        'propagationPolicy',
        options.propagationPolicy,
        'orphanDependents and deletionPropagation cannot be both set',
      ),
    );
  }
  if (
    options.propagationPolicy !== undefined &&
    !['Orphan', 'Background', 'Foreground'].includes(options.propagationPolicy)
  ) {
    errors.push(
      fieldErrors.notSupported('propagationPolicy', options.propagationPolicy, [
        'Foreground',
        'Background',
        'Orphan',
        'nil',
      ]),
    );
  }
  const dry = (dryRun ?? []) as readonly string[];
  errors.push(...checkDryRun(dry));
  if (errors.length > 0)
    throw statusErrors.invalid({ group: 'meta.k8s.io', kind: 'DeleteOptions', name: '' }, errors);
  return {
    ...options,
    propagationPolicy: options.propagationPolicy as DeleteRequest['propagationPolicy'],
    dryRun: dry.length > 0,
  };
}

function queryDeleteOptions({ request, info: { query } }: RequestContext): Record<string, unknown> {
  const { gracePeriodSeconds, propagationPolicy, orphanDependents, dryRun, resourceVersion, uid } = query;
  const preconditions = {
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(uid === undefined ? {} : { uid }),
  };
  if (gracePeriodSeconds !== undefined && !/^-?[0-9]+$/.test(gracePeriodSeconds))
    throw statusErrors.badRequest(
      `strconv.ParseInt: parsing ${JSON.stringify(gracePeriodSeconds)}: invalid syntax`,
    );
  return {
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: Number(gracePeriodSeconds) }),
    ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
    ...(orphanDependents === undefined ? {} : { orphanDependents: isTrue(orphanDependents) }),
    ...(dryRun === undefined ? {} : { dryRun: queryValues(request.query, 'dryRun') }),
    ...(Object.keys(preconditions).length > 0 ? { preconditions } : {}),
  };
}

async function bodyDeleteOptions(bytes: Buffer, context: RequestContext): Promise<KubeObject> {
  const body = await readBytes(bytes, bodyEncoding(context));
  const gvk = { group: '', version: 'v1', kind: 'DeleteOptions' };
  const schema = schemaForKind(gvk)!;
  return decodeBody({ gvk, schema, isOptions: true }, { ...body, mode: 'ignore', warn: () => {} });
}
