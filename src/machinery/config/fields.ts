/**
 * Maps each field of a component's configuration file: it sets a flag, has a fixed value, or has no effect, which causes a
 * warning. One entry per field; the schema of the kind is derived from the entries. Independent of components and meanings of flags.
 */
import { deepEqual } from '../json.ts';
import type { ValueSchema } from '../schema.ts';
import { struct } from './schema.ts';

interface Leaf {
  readonly schema: ValueSchema;
  /** The flag that it sets. */
  readonly flag?: string;
  /** The flag's value; default: that of the field. */
  words?(value: unknown): unknown;
  /** The inverse of words, for /configz; without it a field with words is not shown. */
  shows?(given: string): unknown;
  /** Zero is a value, not the default. */
  readonly pointer?: boolean | undefined;
  /** Why it can only have the value `holds`. */
  readonly only?: string;
  /** Why it has no effect, unless it has the value `holds`. */
  readonly unused?: string;
  readonly holds?: unknown;
}

interface Group {
  readonly type: string;
  readonly fields: ConfigFields;
}

export type ConfigFields = Readonly<Record<string, Leaf | Group>>;

export interface SetFlag {
  readonly flag: string;
  /** In the file: 'authentication.x509.clientCAFile'. */
  readonly path: string;
  readonly value: unknown;
}

interface FieldProblem {
  readonly path: string;
  /** 'is 10255; it can only be 0: …' */
  readonly text: string;
}

interface AppliedFields {
  readonly flags: readonly SetFlag[];
  readonly problems: readonly FieldProblem[];
  /** One sentence each, without the file's name. */
  readonly warnings: readonly string[];
}

/** The field sets a flag of the component. */
export function sets<Value>(
  schema: ValueSchema,
  flag: string,
  options: {
    readonly words?: (value: Value) => unknown;
    readonly shows?: (given: string) => unknown;
    readonly pointer?: boolean;
  } = {},
): Leaf {
  return { schema, flag, ...options };
}

/** The field can only have the value that is in effect anyway. */
export function only(schema: ValueSchema, holds: unknown, why: string): Leaf {
  return { schema, holds, only: why };
}

/** The field has no effect. holds: the value that describes the actual behaviour. */
export function unused(schema: ValueSchema, why: string, holds?: unknown): Leaf {
  return { schema, unused: why, holds };
}

/** type: upstream's name, for messages. */
export function group(type: string, fields: ConfigFields): Group {
  return { type, fields };
}

export function collectSchemas(fields: ConfigFields): Record<string, ValueSchema> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [
      name,
      'fields' in field ? struct(field.type, collectSchemas(field.fields)) : field.schema,
    ]),
  );
}

/** object: decoded with the schemas of the same fields. */
export function applyFields(object: object, fields: ConfigFields): AppliedFields {
  const flags: SetFlag[] = [];
  const problems: FieldProblem[] = [];
  const warnings: string[] = [];
  for (const { path, value, field } of leavesOf(object, fields)) {
    if (isDefault(value, field)) continue;
    if (field.flag !== undefined)
      flags.push({ flag: field.flag, path, value: field.words ? field.words(value) : value });
    else if (field.only !== undefined)
      problems.push({
        path,
        text: `is ${JSON.stringify(value)}; it can only be ${JSON.stringify(field.holds)}: ${field.only}`,
      });
    else warnings.push(`${path} is ignored: ${field.unused}`);
  }
  return { flags, problems, warnings };
}

interface FoundLeaf {
  readonly path: string;
  readonly value: unknown;
  readonly field: Leaf;
}

function leavesOf(object: object, fields: ConfigFields, prefix = ''): FoundLeaf[] {
  return Object.entries(object).flatMap(([name, value]) => {
    const field = fields[name];
    if (!field || value === undefined || value === null) return [];
    const path = `${prefix}${name}`;
    return 'fields' in field ? leavesOf(value, field.fields, `${path}.`) : [{ path, value, field }];
  });
}

/** The effective value, which also is Go's omitempty value. */
function isDefault(value: unknown, { holds, pointer }: Leaf): boolean {
  if (holds !== undefined && deepEqual(value, holds)) return true;
  if (pointer) return false;
  if (typeof value === 'object') return Object.keys(value as object).length === 0;
  return value === '' || value === 0 || value === '0' || value === '0s';
}
