/**
 * Every way in which one field of a valid object is made wrong, or merely different: walks a value along its schema. Pure; the same object gives
 * the same mutations in the same order. Fields that the object leaves out are tried too: alone, in an otherwise unchanged object.
 */
import type { FieldSchema, ObjectSchema, ScalarType, ValueSchema } from '#machinery/schema.ts';

export interface Mutation {
  /** 'spec.replicas/negative' */
  readonly name: string;
  readonly object: object;
}

interface MutationOptions {
  /** Fields not walked into, by path without indexes: 'metadata', 'spec.template.spec'. They are still removed and emptied. */
  readonly shallow?: readonly string[];
  /** 'all' for creates; 'changes' only what a valid client might change, for updates. */
  readonly breadth?: 'all' | 'changes';
  /** How deep fields are tried that the object does not have; 0 for none. */
  readonly absentDepth?: number;
}

type Path = readonly (string | number)[];
interface Variant {
  readonly name: string;
  readonly value: unknown;
}

/** Marks a field that is taken out. */
const REMOVED = Symbol('removed');
const ABSENT_DEPTH = 3;
const LONG = 'a'.repeat(300);

export function mutationsOf(object: object, schema: ObjectSchema, options: MutationOptions = {}): Mutation[] {
  const found: Mutation[] = [];
  const add = (path: Path, { name, value }: Variant): void => {
    const text = pathText(path);
    found.push({ name: `${text === '' ? '(whole)' : text}/${name}`, object: withValue(object, path, value) });
  };
  walkObject(schema, object as Record<string, unknown>, {
    path: [],
    depth: 0,
    options,
    add,
    tried: new Set(),
  });
  return found;
}

interface Walk {
  readonly path: Path;
  readonly depth: number;
  readonly options: MutationOptions;
  readonly add: (path: Path, variant: Variant) => void;
  readonly tried: Set<string>;
}

function walkObject(schema: ObjectSchema, value: Record<string, unknown>, walk: Walk): void {
  if (walk.options.breadth !== 'changes')
    walk.add([...walk.path, 'unknownSibling'], { name: 'unknown', value: 1 });
  for (const field of schema.fields) {
    if (walk.path.length === 0 && ['apiVersion', 'kind'].includes(field.name)) continue;
    walkField(field, value[field.name], { ...walk, path: [...walk.path, field.name] });
  }
}

function walkField(field: FieldSchema, value: unknown, walk: Walk): void {
  const { path, options, add } = walk;
  const changesOnly = options.breadth === 'changes';
  if (value === undefined && !worthTrying(walk)) return;
  if (value !== undefined) add(path, { name: 'removed', value: REMOVED });
  if (!changesOnly) add(path, { name: 'null', value: null });
  for (const variant of variantsOf(field.value, value, changesOnly)) add(path, variant);
  if (options.shallow?.includes(fieldNames(path))) return;
  walkInside(field.value, value, walk);
}

/** An absent field is tried in the first item of a list only: in the others it would be the same again. */
function worthTrying({ path, options, tried, depth }: Walk): boolean {
  const general = fieldNames(path);
  const isNew = (options.absentDepth ?? ABSENT_DEPTH) > depth && !tried.has(general);
  tried.add(general);
  return isNew;
}

function fieldNames(path: Path): string {
  return path.filter((part) => typeof part === 'string').join('.');
}

function walkInside(schema: ValueSchema, value: unknown, walk: Walk): void {
  const next = value === undefined ? walk.depth + 1 : walk.depth;
  if (next > (walk.options.absentDepth ?? ABSENT_DEPTH)) return;
  if (schema.kind === 'object') {
    const type = schema.type();
    // A type that holds itself (JSON schemas) would never end.
    if (value === undefined && type.name.includes('JSONSchemaProps')) return;
    walkObject(type, (value ?? {}) as Record<string, unknown>, { ...walk, depth: next });
  } else if (schema.kind === 'list' && schema.items.kind !== 'scalar') {
    const items = Array.isArray(value) ? (value as unknown[]) : [];
    if (items.length > 0)
      items.forEach((item, at) => walkInside(schema.items, item, { ...walk, path: [...walk.path, at] }));
    else walkInside(schema.items, undefined, { ...walk, path: [...walk.path, 0] });
  } else if (schema.kind === 'list' && Array.isArray(value) && value.length > 0) {
    for (const variant of variantsOf(schema.items, value[0], walk.options.breadth === 'changes'))
      walk.add([...walk.path, 0], variant);
  } else if (schema.kind === 'map') {
    const [key, item] = Object.entries((value ?? {}) as Record<string, unknown>)[0] ?? ['example', undefined];
    for (const variant of variantsOf(schema.values, item, walk.options.breadth === 'changes'))
      walk.add([...walk.path, key], variant);
    if (schema.values.kind === 'object')
      walkInside(schema.values, item, { ...walk, path: [...walk.path, key] });
  }
}

function variantsOf(schema: ValueSchema, value: unknown, changesOnly: boolean): Variant[] {
  if (schema.kind === 'scalar')
    return changesOnly
      ? scalarChanges(schema.type, value, schema.enum)
      : scalarVariants(schema.type, schema.enum);
  if (schema.kind === 'object')
    return changesOnly
      ? [{ name: 'emptied', value: {} }]
      : [
          { name: 'emptied', value: {} },
          { name: 'text', value: 'x' },
          { name: 'list', value: [] },
        ];
  return schema.kind === 'list'
    ? listVariants(value, changesOnly)
    : mapVariants(schema.values, value, changesOnly);
}

function listVariants(value: unknown, changesOnly: boolean): Variant[] {
  const items = Array.isArray(value) ? (value as unknown[]) : [];
  return [
    ...(changesOnly
      ? []
      : [
          { name: 'object', value: { a: 1 } },
          { name: 'null item', value: [...items, null] },
          { name: 'empty item', value: [{}] },
        ]),
    { name: 'emptied', value: [] },
    ...(items.length > 0
      ? [
          { name: 'duplicate item', value: [...items, items[0]] },
          { name: 'last removed', value: items.slice(0, -1) },
        ]
      : []),
    ...(items.length > 1 ? [{ name: 'reversed', value: items.toReversed() }] : []),
  ];
}

function mapVariants(values: ValueSchema, value: unknown, changesOnly: boolean): Variant[] {
  const entries = (value ?? {}) as Record<string, unknown>;
  const some = Object.values(entries)[0] ?? exampleOf(values);
  const keys = changesOnly
    ? ['added']
    : ['added', '', 'Bad Key!', LONG, 'a/b/c', 'example.com/ok', '_under', 'é'];
  return [
    ...(changesOnly
      ? []
      : [
          { name: 'text', value: 'x' },
          { name: 'list', value: ['a'] },
        ]),
    { name: 'emptied', value: {} },
    ...keys.map((key) => ({
      name: `key ${JSON.stringify(key.slice(0, 20))}`,
      value: { ...entries, [key]: some },
    })),
  ];
}

function exampleOf(schema: ValueSchema): unknown {
  if (schema.kind === 'list') return [];
  if (schema.kind !== 'scalar') return {};
  if (schema.type === 'bytes') return 'AAEC';
  return /^u?int|^double$/.test(schema.type)
    ? 1
    : schema.type === 'bool'
      ? true
      : schema.type === 'quantity'
        ? '1'
        : 'x';
}

const NUMBERS: readonly Variant[] = [
  { name: 'zero', value: 0 },
  { name: 'negative', value: -1 },
  { name: 'one', value: 1 },
  { name: 'large', value: 70_000 },
  { name: 'fraction', value: 1.5 },
  { name: 'text', value: '5' },
  { name: 'bool', value: true },
];
const TEXTS: readonly Variant[] = [
  { name: 'empty', value: '' },
  { name: 'upper case and spaces', value: 'Bad Value_' },
  { name: 'too long', value: LONG },
  { name: 'unicode', value: 'é☃' },
  { name: 'dotted', value: 'a.b-c' },
  { name: 'path', value: '/a/../b' },
  { name: 'number', value: 5 },
  { name: 'object', value: {} },
];
const QUANTITIES: readonly Variant[] = [
  { name: 'empty', value: '' },
  { name: 'negative', value: '-1' },
  { name: 'zero', value: '0' },
  { name: 'fraction', value: '1.5' },
  { name: 'milli', value: '1500m' },
  { name: 'binary', value: '1.5Gi' },
  { name: 'exponent', value: '1e3' },
  { name: 'nonsense', value: 'abc' },
  { name: 'huge', value: '9E' },
  { name: 'number', value: 2 },
  { name: 'float', value: 0.5 },
  { name: 'list', value: [] },
];
const TIMES: readonly Variant[] = [
  { name: 'old', value: '2001-02-03T04:05:06Z' },
  { name: 'zoned', value: '2001-02-03T04:05:06+02:00' },
  { name: 'micro', value: '2001-02-03T04:05:06.123456Z' },
  { name: 'empty', value: '' },
  { name: 'nonsense', value: 'x' },
  { name: 'number', value: 5 },
];
const SCALARS: Readonly<Partial<Record<ScalarType, readonly Variant[]>>> = {
  string: TEXTS,
  int32: [...NUMBERS, { name: 'huge', value: 2 ** 31 }],
  int64: [...NUMBERS, { name: 'huge', value: 2 ** 40 }, { name: 'beyond', value: 2 ** 70 }],
  uint32: NUMBERS,
  uint64: NUMBERS,
  double: [...NUMBERS],
  bool: [
    { name: 'true', value: true },
    { name: 'false', value: false },
    { name: 'text', value: 'true' },
    { name: 'number', value: 1 },
  ],
  bytes: [
    { name: 'empty', value: '' },
    { name: 'not base64', value: '***' },
    { name: 'some', value: 'AAEC' },
    { name: 'number', value: 5 },
  ],
  time: TIMES,
  'micro-time': TIMES,
  duration: [
    { name: 'some', value: '1h' },
    { name: 'empty', value: '' },
    { name: 'nonsense', value: 'x' },
    { name: 'number', value: 5 },
  ],
  quantity: QUANTITIES,
  'int-or-string': [
    { name: 'zero', value: 0 },
    { name: 'negative', value: -1 },
    { name: 'large', value: 70_000 },
    { name: 'name', value: 'http' },
    { name: 'digits', value: '80' },
    { name: 'percent', value: '150%' },
    { name: 'negative percent', value: '-5%' },
    { name: 'empty', value: '' },
    { name: 'bad name', value: 'Bad Name_' },
    { name: 'fraction', value: 1.5 },
    { name: 'object', value: {} },
  ],
  'fields-v1': [
    { name: 'some', value: { 'f:a': {} } },
    { name: 'text', value: 'x' },
  ],
  'raw-extension': [
    { name: 'some', value: { a: 1 } },
    { name: 'text', value: 'x' },
    { name: 'emptied', value: {} },
  ],
  json: [
    { name: 'text', value: 'x' },
    { name: 'number', value: 1 },
    { name: 'object', value: { a: 1 } },
    { name: 'list', value: [1] },
  ],
};

function scalarVariants(type: ScalarType, enumeration: readonly string[] | undefined): Variant[] {
  const given = SCALARS[type] ?? [];
  return enumeration
    ? [
        ...enumeration.map((value) => ({ name: `value ${value}`, value })),
        ...given.filter(({ name }) => ['empty', 'upper case and spaces', 'number'].includes(name)),
      ]
    : [...given];
}

function scalarChanges(
  type: ScalarType,
  value: unknown,
  enumeration: readonly string[] | undefined,
): Variant[] {
  if (enumeration)
    return enumeration
      .filter((other) => other !== value)
      .map((other) => ({ name: `changed to ${other}`, value: other }));
  if (typeof value === 'boolean' || type === 'bool') return [{ name: 'changed', value: value !== true }];
  if (/^u?int\d|^double$/.test(type))
    return [
      { name: 'changed', value: typeof value === 'number' ? value + 1 : 1 },
      ...(typeof value === 'number' ? [{ name: 'lowered', value: value - 1 }] : []),
    ];
  const changed: Partial<Record<ScalarType, unknown>> = {
    string: 'changed',
    bytes: 'BBBB',
    time: '2002-02-03T04:05:06Z',
    'micro-time': '2002-02-03T04:05:06.000007Z',
    duration: '2h',
    quantity: '3',
    'int-or-string': 2,
    'fields-v1': { 'f:b': {} },
    'raw-extension': { b: 2 },
    json: { b: 2 },
  };
  return [{ name: 'changed', value: changed[type] }];
}

function pathText(path: Path): string {
  return path
    .map((part, at) => (typeof part === 'number' ? `[${part}]` : `${at === 0 ? '' : '.'}${part}`))
    .join('');
}

/** A copy with the value at the path, what is missing on the way made. */
function withValue(object: unknown, path: Path, value: unknown): object {
  const [part, ...rest] = path;
  if (part === undefined) return value as object;
  const copy: Record<string | number, unknown> | unknown[] = Array.isArray(object)
    ? [...(object as unknown[])]
    : typeof part === 'number'
      ? []
      : { ...(object as object) };
  const inner = copy as Record<string | number, unknown>;
  if (rest.length === 0 && value === REMOVED) {
    if (Array.isArray(copy)) copy.splice(part as number, 1);
    else delete inner[part];
  } else {
    inner[part] = rest.length === 0 ? value : withValue(inner[part], rest, value);
  }
  return copy;
}
