/**
 * The patch types that describe changes (JSON, merge, strategic merge; apply.ts is the fourth): parses a body and applies it to an object of the
 * request's version, with upstream's error texts and codes. Errors are reported only once the object exists.
 */
import { whyUndecodable } from '#machinery/decode.ts';
import { REDACTED, fieldErrors, isStatusError, statusErrors } from '#machinery/errors.ts';
import {
  countFields,
  deepClone,
  goTypeName,
  goValue,
  isJsonObject,
  parseJsonCounted,
  type JsonObject,
} from '#machinery/json.ts';
import { findDuplicateFields } from '#machinery/json-syntax.ts';
import { formatApiVersion, parseApiVersion, type KubeObject } from '#machinery/object.ts';
import { applyJsonPatch, inapplicable, InapplicableError } from '#machinery/patch/json-patch.ts';
import { applyMergePatch } from '#machinery/patch/merge-patch.ts';
import { restoreWords } from '#machinery/patch/restore.ts';
import { applyStrategicMergePatch } from '#machinery/patch/strategic-merge.ts';
import type { ObjectSchema, ValueSchema } from '#machinery/schema.ts';
import { decodeTyped, type DecodeTarget } from '../http/codecs.ts';
import type { MutationOptions } from '../registry/verb-options.ts';

export type PatchKind = 'json' | 'merge' | 'strategic';

type Mode = MutationOptions['fieldValidation'];

export interface ReadPatch {
  readonly kind: PatchKind;
  readonly mode: Mode;
  /** Throws a StatusError 400 for an invalid body. */
  readonly body: () => Body;
}

interface Body {
  readonly value: unknown;
  /** What strictness has against the text. */
  readonly problems: readonly string[];
}

/** mode: of field validation; Ignore also suppresses some errors of the patch itself. */
export function readPatchText(
  text: string,
  { kind, mode }: { readonly kind: PatchKind; readonly mode: Mode },
): ReadPatch {
  let read: Body | undefined;
  return { kind, mode, body: () => (read ??= READERS[kind](text, mode)) };
}

const READERS: Readonly<Record<PatchKind, (text: string, mode: Mode) => Body>> = {
  json: readOperations,
  merge: readMerge,
  strategic: readStrategic,
};

const MAP = 'map[string]interface {}';

function undecodable(why: string, mode: Mode): Error {
  return statusErrors.badRequest(mode === 'ignore' ? why : `error decoding patch: ${why}`);
}

function parsed(
  text: string,
  refusal: (why: string) => Error,
): { readonly value: unknown; readonly duplicates: readonly string[] } {
  try {
    const { value, fields } = parseJsonCounted(text, MAXIMUM_PATCH_VALUES);
    return { value, duplicates: countFields(value) === fields ? [] : findDuplicateFields(text) };
  } catch (error) {
    throw isStatusError(error, 'BadRequest') ? refusal(error.message) : error;
  }
}

/** Each value of a patch is read, merged and decoded again in one turn: about twice the work of a value in an object. */
const MAXIMUM_PATCH_VALUES = 75_000;

const OPERATION_FIELDS: ReadonlySet<string> = new Set(['op', 'path', 'from', 'value']);

function readOperations(text: string, mode: Mode): Body {
  const { value, duplicates } = parsed(text, (why) => undecodable(why, mode));
  if (mode === 'ignore') return { value, problems: [] };
  const mismatch = operationsMismatch(value);
  if (mismatch !== undefined) throw undecodable(`json: cannot unmarshal ${mismatch}`, mode);
  const unknown = ((value ?? []) as readonly (JsonObject | null)[]).flatMap((operation, at) =>
    Object.keys(operation ?? {})
      .filter((name) => !OPERATION_FIELDS.has(name))
      .map((name) => `unknown field ${JSON.stringify(`[${at}].${name}`)}`),
  );
  return { value, problems: [...unknown, ...duplicates].map((problem) => `json patch ${problem}`) };
}

function operationsMismatch(value: unknown): string | undefined {
  if (value === null) return undefined;
  if (!Array.isArray(value)) return `${goTypeName(value)} into Go value of type []handlers.jsonPatchOp`;
  for (const operation of value as unknown[]) {
    if (operation === null) continue;
    if (!isJsonObject(operation))
      return `${goTypeName(operation)} into Go value of type handlers.jsonPatchOp`;
    for (const name of ['op', 'path', 'from']) {
      const given = operation[name];
      if (given !== undefined && given !== null && typeof given !== 'string')
        return `${goTypeName(given)} into Go struct field jsonPatchOp.${name} of type string`;
    }
  }
  return undefined;
}

const NO_MERGE_PATCH = 'Invalid JSON Patch';

function readMerge(text: string, mode: Mode): Body {
  const { value, duplicates } = parsed(text, (why) =>
    mode === 'ignore' ? statusErrors.badRequest(NO_MERGE_PATCH) : undecodable(why, mode),
  );
  if (isJsonObject(value)) return { value, problems: mode === 'ignore' ? [] : duplicates };
  if (mode !== 'ignore' && value !== null)
    throw undecodable(`json: cannot unmarshal ${goTypeName(value)} into Go value of type ${MAP}`, mode);
  // A list result is rejected.
  if (Array.isArray(value)) return { value, problems: [] };
  throw statusErrors.badRequest(NO_MERGE_PATCH);
}

function readStrategic(text: string, mode: Mode): Body {
  const { value, duplicates } = parsed(text, statusErrors.badRequest);
  if (value === null) return { value: {}, problems: [] };
  if (!isJsonObject(value))
    throw statusErrors.badRequest(`json: cannot unmarshal ${goTypeName(value)} into Go value of type ${MAP}`);
  return { value, problems: mode === 'ignore' ? [] : duplicates };
}

/** The object with the patch, of the target's kind. Never changes it. schema: for strategic merge patches. */
export function applyPatch(
  read: ReadPatch,
  object: KubeObject,
  {
    target,
    schema,
    warn,
  }: {
    readonly target: DecodeTarget;
    readonly schema: ObjectSchema | undefined;
    warn(message: string): void;
  },
): KubeObject {
  const { value, problems } = read.body();
  // Upstream shows the remainder after applying these.
  const patch = read.kind === 'strategic' ? deepClone(value) : value;
  const patched = patchedValue(read.kind, { object, patch, schema });
  if (target.decode) checkVersion(patched, target);
  if (read.kind === 'strategic') restoreKind(patched, target);
  const found = [...problems];
  // Decoding may have changed the patched object.
  const shown = (): string =>
    target.confidential
      ? REDACTED
      : read.kind === 'strategic'
        ? goValue(patch)
        : jsonText(
            patchedValue(read.kind, { object, patch, schema }),
            target.decode
              ? { touched: 'all' }
              : {
                  touched: touchedBy(read.kind, patch),
                  schema: { kind: 'object', type: () => target.schema },
                },
          );
  const refuse = (why: string): Error =>
    statusErrors.invalid({ group: '', kind: '', name: '' }, [fieldErrors.invalid('patch', shown(), why)]);
  let decoded: KubeObject;
  try {
    decoded = decodeTyped(target, patched, {
      mode: read.mode === 'ignore' ? 'ignore' : 'warn',
      warn: (problem) => void found.push(problem),
    });
  } catch (error) {
    const why = whyUndecodable(error);
    if (why === undefined) throw error;
    throw refuse(read.kind === 'strategic' ? restoreWords(patched, schema!, why) : why);
  }
  if (read.mode === 'strict' && found.length > 0) throw refuse(`strict decoding error: ${found.join(', ')}`);
  if (read.mode === 'warn') for (const problem of found) warn(problem);
  return decoded;
}

function patchedValue(
  kind: PatchKind,
  {
    object,
    patch,
    schema,
  }: { readonly object: KubeObject; readonly patch: unknown; readonly schema: ObjectSchema | undefined },
): unknown {
  switch (kind) {
    case 'merge':
      return applyMergePatch(object, patch);
    case 'strategic':
      return applyStrategicMergePatch(schema!, object, patch as JsonObject);
    case 'json':
      try {
        return applyJsonPatch(object, patch);
      } catch (error) {
        throw error instanceof InapplicableError ? inapplicable(error) : error;
      }
  }
}

/** Of custom resources, which have no type that would say so. */
function checkVersion(value: unknown, { gvk }: DecodeTarget): void {
  if (!isJsonObject(value)) return;
  const { apiVersion, kind, metadata } = value as KubeObject,
    expected = formatApiVersion(gvk);
  if (typeof apiVersion !== 'string' || apiVersion === '' || apiVersion === expected) return;
  throw statusErrors.invalid(
    { group: parseApiVersion(apiVersion).group, kind: String(kind), name: String(metadata?.name ?? '') },
    [fieldErrors.invalid('apiVersion', apiVersion, `must be ${expected}`)],
  );
}

/** The result of a strategic merge patch has the endpoint's type, whatever its kind field contains. */
function restoreKind(value: unknown, { gvk }: DecodeTarget): void {
  const object = value as KubeObject;
  if (isNameOrNothing(object.kind)) object.kind = gvk.kind;
  if (isNameOrNothing(object.apiVersion)) object.apiVersion = formatApiVersion(gvk);
}

function isNameOrNothing(value: unknown): boolean {
  return value === undefined || value === null || typeof value === 'string';
}

/** Objects whose fields are in the order of their names, by the fields that lead to them. */
type Touched = 'all' | { readonly [field: string]: Touched };

/** Upstream's library sorts the fields of the objects it merged by name and leaves the rest unchanged. */
function touchedBy(kind: PatchKind, patch: unknown): Touched {
  if (kind === 'merge') return isJsonObject(patch) ? touchedByMerge(patch) : {};
  const touched: Record<string, Touched> = {};
  for (const operation of Array.isArray(patch) ? (patch as unknown[]) : []) {
    for (const pointer of isJsonObject(operation) ? [operation['path'], operation['from']] : []) {
      let at = touched;
      for (const token of typeof pointer === 'string' ? pointer.split('/').slice(1, -1) : [])
        at = (at[token.replaceAll('~1', '/').replaceAll('~0', '~')] ??= {}) as Record<string, Touched>;
    }
  }
  return touched;
}

function touchedByMerge(patch: JsonObject): Touched {
  return Object.fromEntries(
    Object.entries(patch)
      .filter(([, inner]) => isJsonObject(inner))
      .map(([name, inner]) => [name, touchedByMerge(inner as JsonObject)]),
  );
}

interface Place {
  readonly touched?: Touched | undefined;
  readonly schema?: ValueSchema | undefined;
}

/** Untouched fields follow the order of the type's structure. */
function jsonText(value: unknown, place: Place): string {
  return JSON.stringify(inOrder(value, place));
}

function inOrder(value: unknown, { touched, schema }: Place): unknown {
  if (Array.isArray(value))
    return value.map((item, at) =>
      inOrder(item, {
        touched: touchedIn(touched, String(at)),
        schema: schema?.kind === 'list' ? schema.items : undefined,
      }),
    );
  if (!isJsonObject(value)) return value;
  const fields = schema?.kind === 'object' ? schema.type().byName : undefined;
  const rank = (name: string): number => (touched === undefined ? (fields?.get(name)?.number ?? 0) : 0);
  const names = Object.keys(value).toSorted(
    (left, right) => rank(left) - rank(right) || (left < right ? -1 : 1),
  );
  return Object.fromEntries(
    names.map((name) => [
      name,
      inOrder(value[name], {
        touched: touchedIn(touched, name),
        schema: schema?.kind === 'map' ? schema.values : fields?.get(name)?.value,
      }),
    ]),
  );
}

function touchedIn(touched: Touched | undefined, name: string): Touched | undefined {
  if (touched === undefined || touched === 'all') return touched;
  return Object.hasOwn(touched, name) ? touched[name] : undefined;
}
