/** PATCH: JSON patch, merge patch, strategic merge patch and server-side apply, on an object or a subresource of it, tried again when someone else wrote meanwhile. */
import { Turn } from '#stdx/turn.ts';
import { describe } from '#machinery/apply/typed-patch.ts';
import { whyUndecodable } from '#machinery/decode.ts';
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import { deepClone } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { restoreWords } from '#machinery/patch/restore.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import type { Endpoint } from '../registry/endpoints.ts';
import { decodeTyped } from '../http/codecs.ts';
import type { ApiResponse } from '../http/request.ts';
import type { StoredEndpoint } from '../registry/write-request.ts';
import { inVersion, respondWithObject, viewOptions } from '../registry/transform.ts';
import { applyTo, readApply } from './apply.ts';
import { parseMutationOptions, type MutationOptions } from '../registry/verb-options.ts';
import { applyPatch, readPatchText, type PatchKind, type ReadPatch } from './read-patch.ts';
import { MAX_BODY_BYTES, toStorage } from '../registry/body.ts';
import {
  checkName,
  optionsObject,
  WHOLE,
  writeRequest,
  type Part,
  type WriteCall,
} from '../registry/write-call.ts';

const KINDS: Readonly<Record<string, PatchKind | 'apply'>> = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply',
  'application/apply-patch+cbor': 'apply',
};
const CUSTOM_ACCEPTED = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/apply-patch+yaml',
];
const ACCEPTED = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
];

/** The decoded body. schema: undefined where strategic merge patches are not supported. */
export async function readPatch(
  { context }: Pick<WriteCall, 'context'>,
  {
    schema,
    mode,
  }: { readonly schema: ObjectSchema | undefined; readonly mode: MutationOptions['fieldValidation'] },
): Promise<ReadPatch> {
  const kind = KINDS[patchType(context)];
  if (kind === 'apply') throw statusErrors.unsupportedMediaType(ACCEPTED);
  if (kind === undefined || (kind === 'strategic' && !schema))
    throw schema
      ? statusErrors.unreadableRepresentation()
      : statusErrors.unsupportedMediaType(CUSTOM_ACCEPTED);
  const text = (await context.request.body(MAX_BODY_BYTES)).toString();
  const read = readPatchText(text, { kind, mode });
  if (context.audit) context.audit.patched(audited(read, text));
  return read;
}

/** The body of an invalid patch is recorded as received. */
function audited(read: ReadPatch, text: string): unknown {
  try {
    return read.body().value;
  } catch (error) {
    if (!isStatusError(error)) throw error;
    return text;
  }
}

export async function patch(
  endpoint: StoredEndpoint,
  call: WriteCall,
  { subresource, prepare }: Part = WHOLE,
): Promise<ApiResponse> {
  const { context, core, target } = call;
  const options = parseMutationOptions(context, 'PatchOptions');
  const view = viewOptions(context, core.clock.now(), endpoint);
  if (isApply(context)) return apply(endpoint, call, { subresource, prepare });
  const read = await readPatch(call, {
    schema: endpoint.isBuiltin ? endpoint.schema : undefined,
    mode: options.fieldValidation,
  });
  const written = await core.registry.update(
    endpoint,
    {
      prepare,
      patches: true,
      change: (current) => {
        const changed = applyPatch(read, inVersion(endpoint, current!), {
          target: {
            gvk: endpoint.gvk,
            schema: endpoint.schema!,
            decode: endpoint.decode,
            confidential: endpoint.resource.behaviour.confidential,
          },
          schema: endpoint.schema,
          warn: (message) => void context.warnings.push(message),
        });
        checkName(changed.metadata, target, endpoint.resource.namespaced);
        return toStorage(endpoint, changed);
      },
    },
    writeRequest(endpoint, call, {
      dryRun: options.dryRun,
      subresource,
      options: optionsObject('PatchOptions', options),
    }),
  );
  return respondWithObject(endpoint, written, { status: 200, options: view });
}

export function isApply(context: WriteCall['context']): boolean {
  return patchType(context) === 'application/apply-patch+yaml';
}

function patchType({ request }: WriteCall['context']): string {
  return (request.headers['content-type'] ?? '').split(';')[0]!.trim();
}

async function apply(
  endpoint: StoredEndpoint,
  call: WriteCall,
  { subresource, prepare }: Part,
): Promise<ApiResponse> {
  const { context, core } = call;
  const options = parseMutationOptions(context, 'PatchOptions');
  const view = viewOptions(context, core.clock.now(), endpoint);
  const read = await readApply(endpoint, context, options);
  const written = await core.registry.update(
    endpoint,
    {
      prepare,
      mayCreate: subresource === '',
      applied: true,
      patches: true,
      change: async (current) => {
        const live = current && inVersion(endpoint, current);
        const turn = new Turn();
        const result = await applyTo(endpoint, read, { live, subresource, nowMs: core.clock.now() });
        if (turn.isLong) await turn.pause();
        return toStorage(
          endpoint,
          applied(
            endpoint,
            {
              value: result === live ? deepClone(result) : result,
              config: read.config,
              mode: options.fieldValidation,
              exists: current !== undefined,
            },
            call,
          ),
        );
      },
    },
    writeRequest(endpoint, call, {
      dryRun: options.dryRun,
      subresource,
      options: optionsObject('PatchOptions', options),
    }),
  );
  return respondWithObject(endpoint, written, { status: written.created ? 201 : 200, options: view });
}

interface Result {
  readonly value: KubeObject;
  readonly config: KubeObject;
  readonly mode: MutationOptions['fieldValidation'];
  readonly exists: boolean;
}

/** The result of an apply as an object of the kind. A built-in kind that does not fit gets the message of upstream's conversion. */
function applied(
  endpoint: Endpoint,
  { value, config, mode, exists }: Result,
  { context, target }: WriteCall,
): KubeObject {
  const { gvk, decode } = endpoint,
    schema = endpoint.schema!;
  let object: KubeObject;
  try {
    object = decodeTyped({ gvk, schema, decode }, value, {
      mode,
      warn: (message) => void context.warnings.push(message),
    });
  } catch (error) {
    const why = decode ? undefined : whyUndecodable(error);
    if (why === undefined) throw error;
    throw statusErrors.badRequest(
      `failed to convert new object (${describe(config)}) to proper version: unable to convert unstructured object to ${gvk.group}/${gvk.version}, Kind=${gvk.kind}: ${restoreWords(value, schema, why)}`,
    );
  }
  // A UID precondition on a missing object is reported first.
  if (exists || !object.metadata?.uid) checkName(object.metadata, target, endpoint.resource.namespaced);
  return object;
}
