/**
 * Decoding of custom resources: metadata is coerced to its type, unknown fields are pruned (and reported), meaningless nulls are dropped, defaults
 * are set. Values of the wrong type stay: validation reports them.
 */
import { decodeObject, type Decoded, type DecodeMode } from '#machinery/decode.ts';
import { deepClone, isJsonObject, setOwn, type JsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { FieldSchema, ObjectSchema } from '#machinery/schema.ts';
import { schemaOf } from '#api/schemas.ts';
import { fieldOf, type Structural } from '#machinery/structural.ts';

const OBJECT_META = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';
const META_FIELDS = new Set(['apiVersion', 'kind', 'metadata']);
const MAX_PROBLEMS = 100;

/** The fields every object has; the rest is the author's. */
export function envelopeFields(): FieldSchema[] {
  const text = { kind: 'scalar', type: 'string' } as const;
  return [
    { name: 'apiVersion', value: text, required: false, zero: 'omitted' },
    { name: 'kind', value: text, required: false, zero: 'omitted' },
    {
      name: 'metadata',
      value: { kind: 'object', type: () => schemaOf(OBJECT_META) },
      required: false,
      zero: 'omitted',
    },
  ];
}

export function envelopeSchema(name: string): ObjectSchema {
  const fields = envelopeFields();
  return { name, fields, byName: new Map(fields.map((field) => [field.name, field])), open: true };
}

/** envelope: of envelopeSchema, which names the type in messages. The given value is consumed. */
export function decodeCustom(
  value: unknown,
  {
    node,
    envelope,
    mode,
  }: { readonly node: Structural; readonly envelope: ObjectSchema; readonly mode: DecodeMode },
): Decoded {
  const decoded = decodeObject(envelope, value, mode);
  const unknown: Unknown | undefined = mode === 'ignore' ? undefined : { pruned: [], ofEmbedded: [] };
  prune(decoded.object as JsonObject, { node, root: true, path: '', unknown, envelope });
  applyDefaults(decoded.object as JsonObject, node);
  // Upstream coerces metadata, prunes, then coerces embedded metadata; it sorts the pruned fields.
  return {
    object: decoded.object,
    problems: unknown ? [...decoded.problems, ...unknown.pruned.toSorted(), ...unknown.ofEmbedded] : [],
  };
}

/** Fields that the schema does not know go, in place. */
export function pruneUnknown(object: KubeObject, node: Structural): void {
  prune(object as JsonObject, { node, root: true, path: '', unknown: undefined, envelope: undefined });
}

/** Prunes and defaults in place: after admission changed an object, and for objects as they come from the store. */
export function normalise(object: KubeObject, node: Structural): void {
  pruneUnknown(object, node);
  applyDefaults(object as JsonObject, node);
}

// --------------------------------------------------------------------------------------------------------------- pruning

/** 'unknown field "spec.foo"', by location. */
interface Unknown {
  readonly pruned: string[];
  readonly ofEmbedded: string[];
}

interface PruneContext {
  readonly node: Structural | undefined;
  /** Of a whole object, or an embedded one. */
  readonly root: boolean;
  readonly path: string;
  /** Where problems are noted, if they are. */
  readonly unknown: Unknown | undefined;
  /** Set where embedded metadata is coerced to its type. */
  readonly envelope: ObjectSchema | undefined;
}

function prune(value: unknown, context: PruneContext): void {
  if (Array.isArray(value)) {
    value.forEach((item, i) =>
      prune(item, {
        ...context,
        node: context.node?.items,
        root: context.node?.items?.embedded ?? false,
        path: `${context.path}[${i}]`,
      }),
    );
  } else if (isJsonObject(value)) pruneObject(value, context);
}

function pruneObject(object: JsonObject, context: PruneContext): void {
  const { node, root, path, unknown, envelope } = context;
  if (node?.embedded && envelope) coerceEmbedded(object, { path, unknown, envelope });
  for (const key of Object.keys(object)) {
    if (root && META_FIELDS.has(key)) continue;
    const inner = fieldOf(node, key);
    const at = path === '' ? key : `${path}.${key}`;
    if (inner) prune(object[key], { ...context, node: inner, root: inner.embedded, path: at });
    else if (node?.additional === true)
      prune(object[key], { ...context, node: undefined, root: false, path: at });
    else if (node?.preserves !== true) {
      delete object[key];
      if (unknown && unknown.pruned.length < MAX_PROBLEMS)
        unknown.pruned.push(`unknown field ${JSON.stringify(at)}`);
    }
  }
}

function coerceEmbedded(
  object: JsonObject,
  {
    path,
    unknown,
    envelope,
  }: { readonly path: string; readonly unknown: Unknown | undefined; readonly envelope: ObjectSchema },
): void {
  const decoded = decodeObject(envelope, { ...object }, unknown ? 'strict' : 'ignore');
  const { metadata } = decoded.object;
  if (metadata === undefined) delete object['metadata'];
  else object['metadata'] = metadata;
  for (const problem of decoded.problems) unknown?.ofEmbedded.push(problem.replace('"', `"${path}.`));
}

// ------------------------------------------------------------------------------------------------------------ defaulting

function applyDefaults(value: unknown, node: Structural | undefined): void {
  if (!node) return;
  if (Array.isArray(value)) {
    const { items } = node;
    if (!items) return;
    for (let i = 0; i < value.length; i++) {
      if (value[i] === null && !items.nullable && items.default !== undefined)
        value[i] = deepClone(items.default);
      applyDefaults(value[i], items);
    }
  } else if (isJsonObject(value)) defaultFields(value, node);
}

function defaultFields(object: JsonObject, node: Structural): void {
  if (node.hasDefaults) {
    for (const [name, inner] of node.properties) {
      if (inner.default === undefined) continue;
      const given = object[name];
      if (given === undefined || (given === null && !inner.nullable))
        setOwn(object, name, deepClone(inner.default));
    }
  }
  for (const key of Object.keys(object)) {
    const inner = fieldOf(node, key);
    if (!inner) continue;
    if (object[key] === null && !inner.nullable) {
      if (inner.default === undefined) delete object[key];
      else setOwn(object, key, deepClone(inner.default));
    }
    applyDefaults(object[key], inner);
  }
}
