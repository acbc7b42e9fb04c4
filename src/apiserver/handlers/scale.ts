/** The scale subresource: autoscaling/v1 Scale read from and written to an object's replica count, by update, patch and server-side apply. */
import { managedFieldsAfterUpdate } from '#machinery/apply/managed-fields.ts';
import {
  managedFieldsWithScale,
  scaleManagedFields,
  type ReplicasPaths,
} from '#machinery/apply/scale-fields.ts';
import { fieldErrors, statusErrors } from '#machinery/errors.ts';
import { deepClone } from '#machinery/json.ts';
import { formatApiVersion, type KubeObject } from '#machinery/object.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { schemaForKind } from '#api/schemas.ts';
import { SCALE_TABLE } from '#resources/autoscaling/scale-table.ts';
import { decodeTyped } from '../http/codecs.ts';
import type { ApiResponse } from '../http/request.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { kindVersions } from '../registry/field-manager.ts';
import {
  partialMetadata,
  objectOf,
  respondEncoded,
  tableWith,
  viewOptions,
  type ViewOptions,
} from '../registry/transform.ts';
import { applyIn, readApply } from './apply.ts';
import { parseMutationOptions, type MutationOptions } from '../registry/verb-options.ts';
import { isApply, readPatch } from './patch.ts';
import { applyPatch } from './read-patch.ts';
import { readKind } from '../registry/body.ts';
import { checkName, optionsObject, writeRequest, type WriteCall } from '../registry/write-call.ts';

const SCALE = { group: 'autoscaling', version: 'v1', kind: 'Scale' };

function scaleOf(endpoint: StoredEndpoint, object: KubeObject): KubeObject {
  const { specReplicas, statusReplicas, selector } = endpoint.resource.scale!.get(object);
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata ?? {};
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: {
      ...(name ? { name } : {}),
      ...(namespace ? { namespace } : {}),
      ...(uid ? { uid } : {}),
      ...(resourceVersion ? { resourceVersion } : {}),
      ...(creationTimestamp ? { creationTimestamp } : {}),
    },
    spec: specReplicas === 0 ? {} : { replicas: specReplicas },
    status: { replicas: statusReplicas, ...(selector ? { selector } : {}) },
  };
}

function respondWithScale(scale: KubeObject, options: ViewOptions): ApiResponse {
  const { view, viewVersion } = options.accepted;
  const metadata = { resourceVersion: scale.metadata?.resourceVersion ?? '' };
  const seen =
    view === 'table'
      ? tableWith(SCALE_TABLE, [scale], { metadata, options, show: (object) => object })
      : view === 'object'
        ? scale
        : partialMetadata(scale, viewVersion);
  return respondEncoded(seen, { status: 200, options });
}

export async function getScale(
  endpoint: StoredEndpoint,
  { context, core, target }: WriteCall,
): Promise<ApiResponse> {
  const entry = endpoint.cache.entries.get(endpoint.cache.key(target));
  if (!entry) throw statusErrors.notFound({ ...endpoint.groupResource, name: target.name });
  await endpoint.codec?.ready([entry]);
  return respondWithScale(
    scaleOf(endpoint, objectOf(endpoint, entry)),
    viewOptions(context, core.clock.now()),
  );
}

export async function updateScale(
  endpoint: StoredEndpoint,
  call: WriteCall,
  method: 'update' | 'patch',
): Promise<ApiResponse> {
  const { context, core, target } = call;
  const options = parseMutationOptions(context, method === 'update' ? 'UpdateOptions' : 'PatchOptions');
  const view = viewOptions(context, core.clock.now());
  const schema = schemaForKind(SCALE)!;
  const request = writeRequest(endpoint, call, {
    dryRun: options.dryRun,
    subresource: 'scale',
    options: optionsObject(method === 'update' ? 'UpdateOptions' : 'PatchOptions', options),
  });
  const applies = method === 'patch' && isApply(context);
  const next = applies
    ? await applying(call, { schema, options })
    : method === 'update'
      ? await fixed(call, options.fieldValidation)
      : await patching(call, { schema, mode: options.fieldValidation });
  const written = await core.registry.update(
    endpoint,
    {
      face: {
        gvk: SCALE,
        show: (object) => scaleOf(endpoint, object),
        take: (object, scale) =>
          endpoint.resource.scale!.setReplicas(object, replicasOf(endpoint, scale, target.name)),
      },
      applied: true,
      change: async (current) => {
        const live = ownedScaleOf(endpoint, current!);
        const scale = await next(live);
        if (!applies) await own(scale, { live, schema, manager: request.manager, nowMs: core.clock.now() });
        return withScale(endpoint, current!, scale);
      },
    },
    request,
  );
  return respondWithScale(scaleOf(endpoint, written.object), view);
}

/** With who owns the count. */
function ownedScaleOf(endpoint: StoredEndpoint, object: KubeObject): KubeObject {
  const scale = scaleOf(endpoint, object);
  const owners = scaleManagedFields(object, replicasPaths(endpoint));
  if (owners.length > 0) scale.metadata!.managedFields = owners;
  return scale;
}

async function own(
  scale: KubeObject,
  {
    live,
    ...writer
  }: {
    readonly live: KubeObject;
    readonly schema: ObjectSchema;
    readonly manager: string;
    readonly nowMs: number;
  },
): Promise<void> {
  const managedFields = await managedFieldsAfterUpdate({
    ...writer,
    live,
    next: scale,
    apiVersion: formatApiVersion(SCALE),
    subresource: 'scale',
  });
  (scale.metadata ??= {}).managedFields = managedFields;
}

/** The object with the Scale's replicas; its metadata is unchanged except preconditions. */
function withScale(endpoint: StoredEndpoint, current: KubeObject, scale: KubeObject): KubeObject {
  const object = deepClone(current);
  endpoint.resource.scale!.setReplicas(object, replicasOf(endpoint, scale, current.metadata?.name ?? ''));
  const meta = object.metadata!;
  const managedFields = managedFieldsWithScale(current, scale.metadata?.managedFields ?? [], {
    paths: replicasPaths(endpoint),
    apiVersion: endpoint.apiVersion,
  });
  if (managedFields.length > 0) meta.managedFields = managedFields;
  else delete meta.managedFields;
  // A resourceVersion of the client is a precondition; otherwise there is none.
  if (scale.metadata?.resourceVersion) meta.resourceVersion = scale.metadata.resourceVersion;
  else delete meta.resourceVersion;
  if (scale.metadata?.uid) meta.uid = scale.metadata.uid;
  return object;
}

/** The allowed values of a custom resource's replicas come from its own validation. */
function replicasOf({ isBuiltin }: StoredEndpoint, scale: KubeObject, name: string): number {
  const replicas = (scale['spec'] as { replicas?: number } | undefined)?.replicas ?? 0;
  if (replicas < 0 && isBuiltin)
    throw statusErrors.invalid({ ...SCALE, name }, [
      fieldErrors.invalid('spec.replicas', replicas, 'must be greater than or equal to 0'),
    ]);
  return replicas;
}

async function fixed(
  { context, target }: WriteCall,
  mode: 'strict' | 'warn' | 'ignore',
): Promise<(current: KubeObject) => KubeObject> {
  const scale = await readKind(SCALE, context, { mode });
  checkName(scale.metadata, target, true);
  return () => scale;
}

async function patching(
  call: WriteCall,
  { schema, mode }: { readonly schema: ObjectSchema; readonly mode: MutationOptions['fieldValidation'] },
): Promise<(current: KubeObject) => KubeObject> {
  const read = await readPatch(call, { schema, mode });
  return (live) => {
    const { managedFields: _, ...metadata } = live.metadata!;
    const scale = { ...live, metadata };
    const before = scale.metadata.resourceVersion;
    const result = applyPatch(read, scale, {
      target: { gvk: SCALE, schema },
      schema,
      warn: (message) => void call.context.warnings.push(message),
    });
    // An untouched version is no precondition: the patch is applied to whatever is newest.
    if (result.metadata?.resourceVersion === before) delete result.metadata?.resourceVersion;
    return result;
  };
}

const REPLICAS_PATH = ['spec', 'replicas'];

function replicasPaths(endpoint: StoredEndpoint): ReplicasPaths {
  const { schemaOf } = kindVersions(endpoint);
  const path = endpoint.resource.scale!.replicasPath ?? REPLICAS_PATH;
  return (apiVersion) => (apiVersion === endpoint.apiVersion || schemaOf(apiVersion) ? path : undefined);
}

/** The Scale with the configuration applied, and the managedFields it has then. */
async function applying(
  call: WriteCall,
  { schema, options }: { readonly schema: ObjectSchema; readonly options: MutationOptions },
): Promise<(live: KubeObject) => Promise<KubeObject>> {
  const { context, core } = call;
  const read = await readApply({ gvk: SCALE }, context, options);
  checkName(read.config.metadata, call.target, true);
  return async (live) => {
    const { resourceVersion, uid } = read.config.metadata ?? {};
    const applied = await applyIn(
      {
        schema,
        apiVersion: formatApiVersion(SCALE),
        manager: read.manager,
        subresource: 'scale',
        nowMs: core.clock.now(),
      },
      read,
      live,
    );
    const result = decodeTyped({ gvk: SCALE, schema }, applied === live ? deepClone(live) : applied, {
      mode: options.fieldValidation,
      warn: (message) => void context.warnings.push(message),
    });
    if (!resourceVersion) delete result.metadata?.resourceVersion;
    if (!uid) delete result.metadata?.uid;
    return result;
  };
}
