/**
 * Maximum sizes of a schema's values, as upstream derives them for the cost of validation rules: from maxLength, maxItems and maxProperties, else from the
 * request size limit. Numbers and objects have no declared size, which makes comparing them free.
 */
import type { Structural } from '#machinery/structural.ts';
import type { SizeOf } from './cost.ts';
import { escapeName } from './types.ts';

const MAX_REQUEST_BYTES = 3 * 1024 * 1024;
/** In characters of JSON. */
const TIME_SIZES: Readonly<Record<string, { readonly max: number; readonly min: number }>> = {
  'date-time': { max: 32, min: 21 },
  date: { max: 12, min: 12 },
  duration: { max: 32, min: 3 },
};

interface Limits {
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly maxLength?: number;
  readonly enum?: readonly unknown[];
  readonly format?: string;
  readonly required?: readonly string[];
}

const limitsOf = ({ schema }: Structural): Limits => schema as Limits;
const isMap = (node: Structural): boolean => node.type === 'object' && typeof node.additional === 'object';
const notNegative = (value: number): number => Math.max(0, value);

/** Maximum occurrences of this node's values in one object, where its parents are unbounded. */
export function maxOccurrences(node: Structural): number {
  return Math.floor(MAX_REQUEST_BYTES / (minBytes(node) + 1));
}

/** How many values of its items, or of its fields, one value of the node may have; undefined: no bound is declared. */
export function declaredCount(node: Structural): number | undefined {
  const { maxItems, maxProperties } = limitsOf(node);
  const isOpen =
    node.type === 'array' || (node.type === 'object' && node.schema['additionalProperties'] !== undefined);
  const declared = node.type === 'array' ? maxItems : maxProperties;
  return isOpen ? (declared === undefined ? undefined : notNegative(declared)) : 1;
}

/** Minimum bytes of a value in JSON. */
function minBytes(node: Structural): number {
  if (node.intOrString) return 1;
  switch (node.type) {
    case 'string':
      return TIME_SIZES[limitsOf(node).format ?? '']?.min ?? 2;
    case 'boolean':
      return 4;
    case 'array':
      return 2;
    case 'object':
      return (
        2 +
        (isMap(node)
          ? 0
          : (limitsOf(node).required ?? []).reduce(
              (sum, name) => sum + requiredBytes(name, node.properties.get(name)),
              0,
            ))
      );
    default:
      return 1;
  }
}

/** With its name, quotes, colon and comma; defaults need not be sent. */
function requiredBytes(name: string, node: Structural | undefined): number {
  return node && node.default === undefined && isVisible(node) ? name.length + 4 + minBytes(node) : 0;
}

/** Expressions cannot see values whose types are open. */
function isVisible(node: Structural): boolean {
  if (node.intOrString || ['string', 'boolean', 'integer', 'number'].includes(node.type)) return true;
  if (node.type === 'array') return node.items !== undefined && isVisible(node.items);
  return node.type === 'object' && (typeof node.additional !== 'object' || isVisible(node.additional));
}

function sizeOf(node: Structural): number {
  const { maxItems, maxProperties, maxLength, enum: values } = limitsOf(node);
  if (node.intOrString) return maxLength === undefined ? MAX_REQUEST_BYTES - 2 : notNegative(maxLength) * 4;
  if (node.type === 'array')
    return maxItems === undefined
      ? Math.floor((MAX_REQUEST_BYTES - 2) / ((node.items ? minBytes(node.items) : 1) + 1))
      : notNegative(maxItems);
  if (isMap(node))
    return maxProperties === undefined
      ? Math.floor((MAX_REQUEST_BYTES - 2) / (minBytes(node.additional as Structural) + 6))
      : notNegative(maxProperties);
  if (node.type !== 'string') return 0;
  const { format = '' } = limitsOf(node);
  if (TIME_SIZES[format]) return TIME_SIZES[format].max;
  // Lengths are in characters, of up to four bytes each; upstream uses those of bytes unchanged.
  if (maxLength !== undefined) return notNegative(maxLength) * (format === 'byte' ? 1 : 4);
  return values?.length && format !== 'byte'
    ? Math.max(0, ...values.map((value) => (typeof value === 'string' ? Buffer.byteLength(value) : 0)))
    : MAX_REQUEST_BYTES - 2;
}

/** Of a map's keys nothing is declared. */
const KEY_SIZE = 0;
const TEXT: Structural = {
  type: 'string',
  nullable: false,
  intOrString: false,
  preserves: false,
  embedded: false,
  properties: new Map(),
  additional: false,
  items: undefined,
  listType: 'atomic',
  mapKeys: [],
  atomicMap: false,
  default: undefined,
  hasDefaults: false,
  schema: {},
};
const METADATA: Structural = {
  ...TEXT,
  type: 'object',
  properties: new Map([
    ['name', TEXT],
    ['generateName', TEXT],
  ]),
};
const OF_OBJECTS: ReadonlyMap<string, Structural> = new Map([
  ['apiVersion', TEXT],
  ['kind', TEXT],
  ['metadata', METADATA],
]);

/** The node at a path of a rule's variable; undefined where there is none. isRoot: the rule's value is a whole object. */
function nodeAt(root: Structural, path: readonly string[], isRoot = root.embedded): Structural | undefined {
  let node: Structural | undefined = root,
    isObject = isRoot;
  // Both self and oldSelf are of the schema.
  for (const name of path.slice(1)) {
    node = innerNode(node, name, isObject);
    if (!node) return undefined;
    isObject = node.embedded;
  }
  return node;
}

function innerNode(node: Structural, name: string, isObject: boolean): Structural | undefined {
  switch (name) {
    case '@items':
      return node.type === 'array' ? node.items : undefined;
    case '@values':
      return isMap(node) ? (node.additional as Structural) : node.type === 'array' ? node.items : undefined;
    default: {
      if (isObject && OF_OBJECTS.has(name)) return OF_OBJECTS.get(name);
      const original =
        node.properties.has(name) && escapeName(name) === name
          ? name
          : Array.from(node.properties.keys()).find((candidate) => escapeName(candidate) === name);
      return original === undefined ? undefined : node.properties.get(original);
    }
  }
}

/** Of what rules of this node read. */
export function declaredSizes(root: Structural, { isRoot }: { readonly isRoot: boolean }): SizeOf {
  return (path) => {
    if (path.length > 1 && path.at(-1) === '@keys') {
      const map = nodeAt(root, path.slice(0, -1), isRoot);
      return map && isMap(map) ? KEY_SIZE : undefined;
    }
    const node = nodeAt(root, path, isRoot);
    return node && sizeOf(node);
  };
}
