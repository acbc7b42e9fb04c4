/** CREATE, UPDATE, DELETE and DELETECOLLECTION: bodies and options in, objects written, answers out. */
import { isStatusError, fieldErrors, statusErrors } from '#machinery/errors.ts';
import { decodeObject } from '#machinery/decode.ts';
import { isJsonObject } from '#machinery/json.ts';
import { apiVersionOf, type KubeObject, type ObjectMeta } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { Endpoint } from '../registry/endpoints.ts';
import type { RequestContext, ServerCore } from '../context.ts';
import { decodeBody, type DecodeRequest } from '../http/codecs.ts';
import { readYaml } from '../http/yaml-reader.ts';
import { DEFAULT_REQUEST_TIMEOUT_MS, requestTimeoutMs } from '../flowcontrol/request-timeout.ts';
import type { ApiResponse } from '../http/request.ts';
import { encodingOfContentType, unsupportedMediaType, type Encoding } from '../http/negotiation.ts';
import {
  Objects,
  type DeleteRequest,
  type StoredEndpoint,
  type Target,
  type UpdateRequest,
  type WriteContext,
} from '../registry/store.ts';
import { isTrue, queryValues } from '../http/request-info.ts';
import { successStatus } from '../http/response.ts';
import { notOfThisShape, respondEncoded, respondWithObject, viewOptions } from '../registry/transform.ts';
import { requireRevision } from './get.ts';
import { metadataOfPage, renderList, selectPage } from './list.ts';
import {
  checkDryRun,
  managerOf,
  parseListOptions,
  parseMutationOptions,
  type MutationOptions,
} from './options.ts';

/** Upstream's limit on request bodies. */
export const MAX_BODY_BYTES = 3 * 1024 * 1024;

export const NOT_THIS_NAMESPACE =
  'the namespace of the provided object does not match the namespace sent on the request';

export interface WriteCall {
  readonly context: RequestContext;
  readonly core: ServerCore;
  readonly objects: Objects;
  readonly target: Target;
}

export function writeContext(
  context: RequestContext,
  {
    dryRun,
    subresource = '',
    options,
    admission = true,
  }: {
    readonly dryRun: boolean;
    readonly subresource?: string;
    readonly options: Readonly<Record<string, unknown>>;
    /** false: it was admitted by another body. */ readonly admission?: boolean;
  },
): WriteContext {
  const { user, warnings, annotate } = context;
  return {
    user,
    dryRun,
    admission,
    subresource,
    options,
    annotate,
    timeoutMs: timeoutOf(context),
    onAbort: (callback) => context.request.onAbort(callback),
    warn: (message) => void warnings.push(message),
    manager: managerOf(context, typeof options['fieldManager'] === 'string' ? options['fieldManager'] : ''),
  };
}

/** What the client asked for by ?timeout=. */
export function timeoutOf({ info: { query } }: RequestContext): number | undefined {
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

function bodyEncoding({ request }: RequestContext): Encoding {
  const encoding = encodingOfContentType(request.headers['content-type']);
  if (!encoding) throw unsupportedMediaType();
  return encoding;
}

/** What decodeBody needs of a body. */
type Body = Pick<DecodeRequest, 'bytes' | 'encoding' | 'yaml'>;

async function readBody(context: RequestContext): Promise<Body> {
  const encoding = bodyEncoding(context);
  return readBytes(await context.request.body(MAX_BODY_BYTES), encoding);
}

async function readBytes(bytes: Buffer, encoding: Encoding): Promise<Body> {
  return encoding === 'yaml'
    ? { bytes, encoding, yaml: await readYaml(bytes.toString()) }
    : { bytes, encoding };
}

/** The body as an object of the endpoint's kind and version. */
export async function readObject(
  endpoint: Pick<Endpoint, 'gvk' | 'schema' | 'decode' | 'isStorageVersion' | 'resource'>,
  context: RequestContext,
  mode: MutationOptions['fieldValidation'],
): Promise<KubeObject> {
  const body = await readBody(context);
  const object = decodeBody(
    { gvk: endpoint.gvk, schema: endpoint.schema!, decode: endpoint.decode },
    { ...body, mode, warn: (message) => void context.warnings.push(message) },
  );
  context.audit?.received(object, defaultsOf(endpoint));
  return object;
}

/** Known for the version that is stored: other versions are completed after their conversion. */
function defaultsOf({
  isStorageVersion,
  resource,
}: Pick<Endpoint, 'isStorageVersion' | 'resource'>): ((object: KubeObject) => void) | undefined {
  return isStorageVersion ? (object) => resource.applyDefaults(object) : undefined;
}

/** In the version that is stored, with the zero values that this version always writes, which the other one may not have. */
export function toStorage(endpoint: Endpoint, object: KubeObject): KubeObject {
  if (endpoint.isStorageVersion) return object;
  const converted = endpoint.resource.convert(object, apiVersionOf(endpoint.storageGvk)),
    schema = schemaForKind(endpoint.storageGvk);
  return schema ? (decodeObject(schema, converted, 'ignore').object as KubeObject) : converted;
}

export async function create(
  endpoint: StoredEndpoint,
  { context, core, objects, target }: WriteCall,
): Promise<ApiResponse> {
  const options = parseMutationOptions(context, 'CreateOptions');
  const view = viewOptions(context, core.clock.now(), endpoint);
  const object = await readObject(endpoint, context, options.fieldValidation);
  const meta = (object.metadata ??= {});
  if (endpoint.resource.namespaced && meta.namespace && meta.namespace !== target.namespace) {
    throw statusErrors.badRequest(NOT_THIS_NAMESPACE);
  }
  const written = await objects.create(endpoint, toStorage(endpoint, object), {
    target,
    context: writeContext(context, {
      dryRun: options.dryRun,
      options: optionsObject('CreateOptions', options),
    }),
  });
  return respondWithObject(endpoint, written, { status: 201, options: view });
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
    throw statusErrors.badRequest(
      'the namespace of the provided object does not match the namespace sent on the request',
    );
  }
}

/** How a subresource differs from its object. */
export interface Part {
  readonly subresource: string;
  readonly prepare?: UpdateRequest['prepare'];
}

export const WHOLE: Part = { subresource: '' };

export async function update(
  endpoint: StoredEndpoint,
  { context, core, objects, target }: WriteCall,
  { subresource, prepare }: Part = WHOLE,
): Promise<ApiResponse> {
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
    if (first) context.audit?.received(object, defaultsOf(endpoint));
    first = false;
    checkName(object.metadata, target, endpoint.resource.namespaced);
    return toStorage(endpoint, object);
  };
  const prepared = read();
  const written = await objects.update(
    endpoint,
    {
      change: once(prepared, read),
      ...(prepare ? { prepare } : {}),
      mayCreate: subresource === '' && (endpoint.resource.behaviour.allowCreateOnUpdate ?? false),
      mustHaveResourceVersion: true,
      ignoresTimes: true,
    },
    {
      target,
      context: writeContext(context, {
        dryRun: options.dryRun,
        subresource,
        options: optionsObject('UpdateOptions', options),
      }),
    },
  );
  return respondWithObject(endpoint, written, { status: written.created ? 201 : 200, options: view });
}

/** The first answer is ready, later ones are made anew. */
function once(ready: KubeObject, again: () => KubeObject): () => KubeObject {
  let next: KubeObject | undefined = ready;
  return () => {
    const object = next ?? again();
    next = undefined;
    return object;
  };
}

// ---------------------------------------------------------------------------------------------------------------- delete

interface DeleteOptions extends DeleteRequest {
  readonly dryRun: boolean;
}

export async function remove(
  endpoint: StoredEndpoint,
  { context, core, objects, target }: WriteCall,
): Promise<ApiResponse> {
  const view = viewOptions(context, core.clock.now(), endpoint);
  const options = await readDeleteOptions(context);
  warnOfDefault(endpoint, options, context);
  const deleted = await objects.delete(endpoint, options, {
    target,
    context: writeContext(context, { dryRun: options.dryRun, options: deleteOptionsObject(options) }),
  });
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

/** Of what becomes of dependents when the client does not say. */
function warnOfDefault(
  { resource }: Endpoint,
  { propagationPolicy, orphanDependents }: DeleteOptions,
  context: RequestContext,
): void {
  const { deleteWarning } = resource.behaviour;
  if (deleteWarning !== undefined && propagationPolicy === undefined && orphanDependents === undefined)
    context.warnings.push(deleteWarning);
}

function deleteOptionsObject({
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

async function readDeleteOptions(context: RequestContext): Promise<DeleteOptions> {
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

/** Deletions under way at once. The answer is the list of what was there before. */
const COLLECTION_WORKERS = 16;

/** Deletes one page of what is selected and answers that page, as it was before. */
export async function removeCollection(
  endpoint: StoredEndpoint,
  { context, core, objects, target }: WriteCall,
): Promise<ApiResponse> {
  const view = viewOptions(context, core.clock.now(), endpoint);
  const options = parseListOptions(endpoint, context.info.query);
  const deletion = await readDeleteOptions(context);
  warnOfDefault(endpoint, deletion, context);
  requireRevision(core, options.resourceVersion);
  const page = await selectPage(endpoint, { core, namespace: target.namespace, options });
  const write = writeContext(context, { dryRun: deletion.dryRun, options: deleteOptionsObject(deletion) });
  const queue = page.entries.values();
  const work = async (): Promise<void> => {
    for (const entry of queue) {
      const { name = '', namespace = '' } = endpoint.cache.parsed.of(entry).metadata ?? {};
      try {
        await objects.delete(endpoint, deletion, { target: { name, namespace }, context: write });
      } catch (error) {
        if (!isStatusError(error, 'NotFound')) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(COLLECTION_WORKERS, page.entries.length) }, work));
  if (view.accepted.view === 'metadata') throw notOfThisShape(endpoint, 'PartialObjectMetadata');
  return renderList(endpoint, { entries: page.entries, metadata: metadataOfPage(page), view });
}

/** A body of any kind, for subresources that take their own. */
export async function readKind(
  gvk: { readonly group: string; readonly version: string; readonly kind: string },
  context: RequestContext,
  options: {
    readonly mode: MutationOptions['fieldValidation'];
    readonly alsoAccepted?: readonly {
      readonly group: string;
      readonly version: string;
      readonly kind: string;
    }[];
  },
): Promise<KubeObject> {
  const body = await readBody(context);
  const object = decodeBody(
    { gvk, schema: schemaForKind(gvk)!, alsoAccepted: options.alsoAccepted ?? [] },
    { ...body, mode: options.mode, warn: (message) => void context.warnings.push(message) },
  );
  if (!isJsonObject(object.metadata)) object.metadata = {};
  context.audit?.received(object);
  return object;
}
