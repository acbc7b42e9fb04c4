/** Parses the path of one field in a schema: '.spec.replicas', ".spec['a.b']". Used by fieldPath of rules and by selectable fields. */
import { isJsonObject, type JsonObject } from '#machinery/json.ts';

interface FoundField {
  /** The names in the path. */
  readonly steps: readonly string[];
  /** In the format of errors: 'spec.labels[app]'. */
  readonly text: string;
  readonly schema: JsonObject | undefined;
  /** Upstream's message for an invalid path. */
  readonly problem?: string;
}

/** '.', '[', ']', quoted strings, and names. */
const TOKEN = /'(?:[^'\\]|\\[^])*'|[.[\]]|[^.[\]]+/g;
const NOWHERE = 'does not refer to a valid field';

/** named: only the dotted form is allowed. */
export function fieldPathProblem(
  path: string,
  schema: JsonObject,
  { named = false }: { readonly named?: boolean } = {},
): FoundField {
  const tokens = path.match(TOKEN) ?? [],
    steps: string[] = [];
  const refused = (problem: string): FoundField => ({ steps, text: '', schema: undefined, problem });
  let current: JsonObject | undefined = schema,
    text = '';
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (token !== '.' && token !== '[') return refused(`expected [ or . but got: ${token}`);
    if (token === '[' && named) return refused('array notation is not allowed');
    const next = tokens[++i];
    if (next === undefined) return refused('unexpected end of JSON path');
    if (token === '[' && !/^'[^]*'$/.test(next))
      return refused(`expected single quoted string but got ${next}`);
    const name = token === '[' ? next.slice(1, -1).replaceAll(/\\(.)/g, '$1') : next;
    steps.push(name);
    text += hasProperties(current) ? `${text === '' ? '' : '.'}${name}` : `[${name}]`;
    current = stepInto(current, name);
    if (current === undefined) return refused(NOWHERE);
    if (token === '.') continue;
    const end = tokens[++i];
    if (end !== ']')
      return refused(end === undefined ? 'unexpected end of JSON path' : `expected ] but got ${end}`);
  }
  return { steps, text, schema: current };
}

function hasProperties(schema: JsonObject | undefined): boolean {
  const properties = schema?.['properties'];
  return isJsonObject(properties) && Object.keys(properties).length > 0;
}

function stepInto(schema: JsonObject | undefined, name: string): JsonObject | undefined {
  const properties = schema?.['properties'] as JsonObject;
  if (hasProperties(schema))
    return Object.hasOwn(properties, name) ? (properties[name] as JsonObject) : undefined;
  const additional = schema?.['additionalProperties'];
  return isJsonObject(additional) ? additional : undefined;
}
