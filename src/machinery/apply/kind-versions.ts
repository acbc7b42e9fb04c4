/** An object in the versions of its kind in which managers wrote: fields are compared in the manager's version. */
import type { KubeObject } from '../object.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';
import type { FieldSet } from './field-set.ts';
import { blankValue } from './new-fields.ts';
import { changesBetween } from './typed.ts';
import { writtenPart, type WrittenFields } from './written-fields.ts';

export interface KindVersions {
  /** undefined: the kind does not have the version. */
  schemaOf(apiVersion: string): ObjectSchema | undefined;
  /** Converts an object to another version. Does not change it; the result may share parts with it. */
  convert(object: KubeObject, apiVersion: string): KubeObject | Promise<KubeObject>;
}

export interface Changes {
  readonly changed: FieldSet;
  readonly removed: FieldSet;
}

/** before: undefined on create. Both without managedFields. */
export interface Difference {
  readonly before: KubeObject | undefined;
  readonly after: KubeObject;
}

export function typeOf(schema: ObjectSchema): ValueSchema {
  return { kind: 'object', type: () => schema };
}

/** The changed fields, without those that the endpoint resets. */
export function writtenChanges(
  { before, after }: Difference,
  schema: ObjectSchema,
  written: WrittenFields | undefined,
): Changes {
  // On create, structs that are always present exist before any field in them is set.
  const { changed, removed } = changesBetween(before ?? blankValue(schema), after, typeOf(schema));
  return { changed: writtenPart(changed, written), removed: writtenPart(removed, written) };
}

/** Compares the objects in one version. undefined: the version does not exist. */
async function changesIn(
  apiVersion: string,
  { before, after }: Difference,
  {
    versions,
    written,
  }: { readonly versions: KindVersions | undefined; readonly written: WrittenFields | undefined },
): Promise<Changes | undefined> {
  const schema = versions?.schemaOf(apiVersion);
  if (!schema) return undefined;
  return writtenChanges(
    {
      before: before && (await versions!.convert(before, apiVersion)),
      after: await versions!.convert(after, apiVersion),
    },
    schema,
    written,
  );
}

/** changesIn, once per version. known: the result for the current version. */
export function changesByVersion(
  difference: Difference,
  options: {
    readonly versions: KindVersions | undefined;
    readonly written: WrittenFields | undefined;
    readonly known: ReadonlyMap<string, Changes>;
  },
): (apiVersion: string) => Promise<Changes | undefined> {
  const found = new Map<string, Promise<Changes | undefined> | Changes>(options.known);
  return async (apiVersion) => {
    let changes = found.get(apiVersion);
    if (!changes) found.set(apiVersion, (changes = changesIn(apiVersion, difference, options)));
    return changes;
  };
}
