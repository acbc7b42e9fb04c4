/**
 * Rejects an invalid configuration of server-side apply before it is merged, whatever fieldValidation is: undeclared
 * fields, values of the wrong type, duplicate keyed items. After structured-merge-diff's typed.validate; that one
 * stops at the first undeclared field of a map, in random order, this one reports all of them. Decoding checks formats.
 */
import { REDACTED, StatusError, statusErrors } from '../errors.ts';
import { goType, goValue, isJsonObject, type JsonObject } from '../json.ts';
import { parseApiVersion, type KubeObject } from '../object.ts';
import type { ObjectSchema, ScalarType, ValueSchema } from '../schema.ts';
import { printPath } from './field-set.ts';
import { itemElement } from './typed.ts';

type ListSchema = ValueSchema & { readonly kind: 'list' };

interface Walk {
  readonly problems: string[];
  readonly path: string[];
  readonly confidential: boolean;
}

/** Throws StatusError 400 for a configuration that does not match its type; confidential: without its values. */
export function checkTypedPatch(
  config: KubeObject,
  schema: ObjectSchema,
  { confidential = false }: { readonly confidential?: boolean } = {},
): void {
  const walk: Walk = { problems: [], path: [], confidential };
  visit(config, { kind: 'object', type: () => schema }, walk);
  const { problems } = walk;
  if (problems.length === 0) return;
  const why =
    problems.length === 1
      ? problems[0]
      : ['errors:', ...problems.map((problem) => `  ${problem}`)].join('\n');
  throw statusErrors.badRequest(`failed to create typed patch object (${describe(config)}): ${why}`);
}

/** The object's name in upstream's messages: '<namespace>/<name>; apps/v1, Kind=Deployment', from the configuration. */
export function describe({ apiVersion = '', kind = '', metadata }: KubeObject): string {
  const { namespace, name } = (isJsonObject(metadata) ? metadata : {}) as {
    namespace?: unknown;
    name?: unknown;
  };
  const { group, version } = parseApiVersion(apiVersion);
  return `${typeof namespace === 'string' ? namespace : ''}/${typeof name === 'string' ? name : ''}; ${group}/${version}, Kind=${kind}`;
}

function visit(value: unknown, schema: ValueSchema, walk: Walk): void {
  if (value === null || value === undefined) return;
  switch (schema.kind) {
    case 'scalar':
      return visitScalar(value, schema.type, walk);
    case 'list':
      return Array.isArray(value)
        ? visitItems(value, schema, walk)
        : report(walk, `expected list, got &{${shown(value, walk)}}`);
    case 'map':
      return isJsonObject(value)
        ? visitFields(value, () => schema.values, walk)
        : report(walk, `expected map, got &{${shown(value, walk)}}`);
    case 'object':
      return isJsonObject(value)
        ? visitFields(value, declared(schema.type()), walk)
        : report(walk, `expected map, got &{${shown(value, walk)}}`);
  }
}

const ANY: ValueSchema = { kind: 'scalar', type: 'json' };

function declared(schema: ObjectSchema): (name: string) => ValueSchema | undefined {
  return (name) => schema.byName.get(name)?.value ?? (schema.open ? ANY : undefined);
}

function visitFields(
  value: JsonObject,
  schemaOf: (name: string) => ValueSchema | undefined,
  walk: Walk,
): void {
  for (const [name, inner] of Object.entries(value)) {
    if (inner === undefined) continue;
    const schema = schemaOf(name);
    walk.path.push(`f:${name}`);
    if (schema) visit(inner, schema, walk);
    else report(walk, 'field not declared in schema');
    walk.path.pop();
  }
}

function visitItems(items: readonly unknown[], schema: ListSchema, walk: Walk): void {
  const seen = new Set<string>();
  for (const [index, item] of items.entries()) {
    const element = schema.listType === 'atomic' ? `i:${index}` : keyOf(item, { index, schema, walk });
    if (element === undefined) return;
    if (seen.has(element)) report(walk, `duplicate entries for key ${printPath([element])}`);
    seen.add(element);
    walk.path.push(element);
    visit(item, schema.items, walk);
    walk.path.pop();
  }
}

/** undefined, and a problem, for an item without its keys: later items are not checked. */
function keyOf(
  item: unknown,
  { index, schema, walk }: { readonly index: number; readonly schema: ListSchema; readonly walk: Walk },
): string | undefined {
  try {
    return itemElement(item, schema);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    report(walk, `element ${index}: ${error.message}`);
    return undefined;
  }
}

const EXPECTED: Readonly<Partial<Record<ScalarType, 'string' | 'number' | 'boolean'>>> = {
  string: 'string',
  bytes: 'string',
  bool: 'boolean',
  int32: 'number',
  int64: 'number',
  uint32: 'number',
  uint64: 'number',
  double: 'number',
};

function visitScalar(value: unknown, type: ScalarType, walk: Walk): void {
  const expected = EXPECTED[type];
  if (expected === undefined || typeof value === expected) return;
  switch (expected) {
    case 'string':
      return report(
        walk,
        `expected string, got &value.valueUnstructured{Value:${walk.confidential ? REDACTED : goSyntax(value)}}`,
      );
    case 'number':
      return report(walk, `expected numeric (int or float), got ${goType(value)}`);
    case 'boolean':
      return report(walk, `expected boolean, got &{${shown(value, walk)}}`);
  }
}

function shown(value: unknown, { confidential }: Walk): string {
  return confidential ? REDACTED : goValue(value);
}

function report(walk: Walk, problem: string): void {
  const place = printPath(walk.path);
  walk.problems.push(place === '' ? problem : `${place}: ${problem}`);
}

/** As formatted by Go's %#v. */
function goSyntax(value: unknown): string {
  if (value === null || value === undefined) return 'interface {}(nil)';
  if (Array.isArray(value)) return `[]interface {}{${value.map(goSyntax).join(', ')}}`;
  if (isJsonObject(value))
    return `map[string]interface {}{${Object.keys(value)
      .toSorted()
      .map((key) => `${JSON.stringify(key)}:${goSyntax(value[key])}`)
      .join(', ')}}`;
  return JSON.stringify(value);
}
