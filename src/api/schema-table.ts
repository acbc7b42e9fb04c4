/** The layout of generated/schemas.json, written by tools/generate-api/schemas.ts. Everything but #api/schemas.ts and the OpenAPI builders should use the compiled form. */

/** r required; p absence differs from zero; o zero omitted from JSON; z the default is the zero value; w wrapped list; d direct reference. */
type Flags = string;

export interface FieldExtras {
  /** default */
  readonly d?: unknown;
  /** list type, map keys, map type */
  readonly l?: 'atomic' | 'set' | 'map';
  readonly k?: readonly string[];
  readonly m?: 'atomic' | 'granular';
  /** patch strategies (comma-separated) and merge key */
  readonly s?: string;
  readonly p?: string;
  /** enumeration */
  readonly e?: readonly string[];
  /** Go's name of the type, where it is no struct; names of the embedded structs around the field */
  readonly n?: string;
  readonly b?: readonly string[];
}

/** type: a scalar, 'Type' of the same package, a full definition name, or 'list:' / 'map:' before one of them. number: 0 when not on the wire. */
export type FieldEntry = readonly [
  name: string,
  type: string,
  number: number | readonly number[],
  flags: Flags,
  extras?: FieldExtras,
];

export interface TypeEntry {
  /** The scalar this type is, e.g. 'quantity'. */
  readonly v?: string;
  readonly f?: readonly FieldEntry[];
  /** 'group/version/kind' */
  readonly g?: readonly string[];
  readonly m?: 'atomic';
  readonly u?: readonly unknown[];
  /** 1: not in OpenAPI. */
  readonly x?: 1;
}

export type SchemaTable = Readonly<Record<string, Readonly<Record<string, TypeEntry>>>>;

export function packageOfDefinition(definition: string): string {
  return definition.slice(0, definition.lastIndexOf('.'));
}

export function nameOfDefinition(definition: string): string {
  return definition.slice(definition.lastIndexOf('.') + 1);
}
