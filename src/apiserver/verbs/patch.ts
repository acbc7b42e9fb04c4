/** PATCH: JSON patch, merge patch, strategic merge patch and server-side apply, on an object or a subresource of it, tried again when someone else wrote meanwhile. */
import { fieldErrors, statusErrors } from '#machinery/errors.ts';
import { deepClone, parseJson } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { applyJsonPatch } from '#machinery/patch/json-patch.ts';
import { applyMergePatch } from '#machinery/patch/merge-patch.ts';
import { applyStrategicMergePatch } from '#machinery/patch/strategic-merge.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { parseYaml } from '#machinery/yaml.ts';
import type { Endpoint } from '../catalogue.ts';
import { decodeTyped } from '../encode.ts';
import type { ApiResponse } from '../http.ts';
import type { StoredEndpoint } from '../objects.ts';
import { inVersion, respondWithObject, viewOptions } from '../views.ts';
import { applyTo, readApply } from './apply.ts';
import { parseMutationOptions } from './options.ts';
import { checkName, MAX_BODY_BYTES, optionsObject, toStorage, WHOLE, writeContext, type Part, type WriteCall } from './write.ts';

export type PatchKind = 'json' | 'merge' | 'strategic';

const KINDS: Readonly<Record<string, PatchKind | 'apply'>> = {
  'application/json-patch+json': 'json', 'application/merge-patch+json': 'merge', 'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply', 'application/apply-patch+cbor': 'apply',
};
const CUSTOM_ACCEPTED = ['application/json-patch+json', 'application/merge-patch+json', 'application/apply-patch+yaml'];
const ACCEPTED = ['application/json-patch+json', 'application/merge-patch+json', 'application/strategic-merge-patch+json', 'application/apply-patch+yaml'];

export interface ReadPatch { readonly kind: PatchKind; readonly patch: unknown }

/** What the body says, not yet applied. schema: undefined where strategic merge patches are not taken. */
export async function readPatch({ context }: Pick<WriteCall, 'context'>, schema: ObjectSchema | undefined): Promise<ReadPatch> {
  const kind = KINDS[patchType(context)];
  if (kind === 'apply') throw statusErrors.unsupportedMediaType(ACCEPTED);
  if (kind === undefined || (kind === 'strategic' && !schema)) throw schema ? statusErrors.unreadableRepresentation() : statusErrors.unsupportedMediaType(CUSTOM_ACCEPTED);
  const bytes = await context.request.body(MAX_BODY_BYTES);
  const patch = kind === 'json' ? parseJson(bytes.toString()) : parseLenient(bytes.toString());
  context.audit?.patched(patch);
  return { kind, patch };
}

/** Clients send YAML in merge patches now and then; JSON is YAML, but faster read as itself. */
function parseLenient(text: string): unknown {
  const first = text.trimStart()[0];
  if (first === undefined || first === '{' || first === '[') return parseJson(text);
  try {
    return parseYaml(text).value;
  } catch {
    return parseJson(text);
  }
}

export function applyPatch({ kind, patch }: ReadPatch, object: KubeObject, schema: ObjectSchema | undefined): unknown {
  switch (kind) {
    case 'json': return applyJsonPatch(object, patch);
    case 'merge': return applyMergePatch(object, patch);
    case 'strategic': return applyStrategicMergePatch(schema!, object, patch);
  }
}

export async function patch(endpoint: StoredEndpoint, call: WriteCall, { subresource, prepare }: Part = WHOLE): Promise<ApiResponse> {
  const { context, core, objects, target } = call;
  const options = parseMutationOptions(context, 'PatchOptions');
  const view = viewOptions(context, core.clock.now(), endpoint);
  if (isApply(context)) return apply(endpoint, call, { subresource, ...(prepare ? { prepare } : {}) });
  const read = await readPatch(call, endpoint.isBuiltin ? endpoint.schema : undefined);
  const written = await objects.update(endpoint, {
    ...(prepare ? { prepare } : {}),
    change: (current) => {
      const changed = applyPatch(read, inVersion(endpoint, current!), endpoint.schema);
      return toStorage(endpoint, patched(endpoint, changed, { ...call, read }));
    },
  }, { target, context: writeContext(context, { dryRun: options.dryRun, subresource, options: optionsObject('PatchOptions', options) }) });
  return respondWithObject(endpoint, written, { status: 200, options: view });
}

export function isApply(context: WriteCall['context']): boolean {
  return patchType(context) === 'application/apply-patch+yaml';
}

function patchType({ request }: WriteCall['context']): string {
  return (request.headers['content-type'] ?? '').split(';')[0]!.trim();
}

async function apply(endpoint: StoredEndpoint, call: WriteCall, { subresource, prepare }: Part): Promise<ApiResponse> {
  const { context, core, objects, target } = call;
  const options = parseMutationOptions(context, 'PatchOptions');
  const view = viewOptions(context, core.clock.now(), endpoint);
  const read = await readApply(endpoint, context, options);
  const written = await objects.update(endpoint, {
    ...(prepare ? { prepare } : {}),
    mayCreate: subresource === '',
    applied: true,
    change: async (current) => {
      const live = current && inVersion(endpoint, current);
      const result = await applyTo(endpoint, read, { live, subresource, nowMs: core.clock.now() });
      return toStorage(endpoint, patched(endpoint, result === live ? deepClone(result) : result, call));
    },
  }, { target, context: writeContext(context, { dryRun: options.dryRun, subresource, options: optionsObject('PatchOptions', options) }) });
  return respondWithObject(endpoint, written, { status: written.created ? 201 : 200, options: view });
}

/** The result of a patch, checked as a body of the kind would be. */
function patched(endpoint: Endpoint, value: unknown, { context, target, read }: WriteCall & { readonly read?: ReadPatch }): KubeObject {
  const { fieldValidation } = parseMutationOptions(context, 'PatchOptions');
  // Of these, what a strict client's patch made is the patch's fault.
  const isStrict = fieldValidation === 'strict' && (read?.kind === 'json' || read?.kind === 'merge'), problems: string[] = [];
  const warn = (message: string): void => void (isStrict ? problems : context.warnings).push(message);
  const object = decodeTyped({ gvk: endpoint.gvk, schema: endpoint.schema!, decode: endpoint.decode }, value, { mode: isStrict ? 'warn' : fieldValidation, warn });
  if (problems.length > 0) throw statusErrors.invalid({ group: '', kind: '', name: '' }, [fieldErrors.invalid('patch', JSON.stringify(value), `strict decoding error: ${problems.join(', ')}`)]);
  checkName(object.metadata, target, endpoint.resource.namespaced);
  return object;
}
