/** An object in the versions of its kind in which owners of its fields wrote: fields are compared in the version that names them. */
import type { KubeObject } from '../object.ts';
import type { ObjectSchema, ValueSchema } from '../schema.ts';
import type { FieldSet } from './field-set.ts';
import { blankOf } from './new-fields.ts';
import { changesBetween } from './typed.ts';
import { writtenPart, type WrittenFields } from './written-fields.ts';

export interface KindVersions {
  /** undefined: the kind has no such version, or no longer. */
  schemaOf(apiVersion: string): ObjectSchema | undefined;
  /** An object of any of the versions in another one. Does not change it; the answer may share parts with it. */
  convert(object: KubeObject, apiVersion: string): KubeObject | Promise<KubeObject>;
}

export interface Changes {
  readonly changed: FieldSet;
  readonly removed: FieldSet;
}

/** before: undefined when the object is new. Both without managedFields. */
export interface Difference {
  readonly before: KubeObject | undefined;
  readonly after: KubeObject;
}

export function typeOf(schema: ObjectSchema): ValueSchema {
  return { kind: 'object', type: () => schema };
}

/** What this way in changes: what the server resets does not count. */
export function writtenChanges(
  { before, after }: Difference,
  schema: ObjectSchema,
  written: WrittenFields | undefined,
): Changes {
  // On create, structs that the type always has are there before anyone sets something in them.
  const { changed, removed } = changesBetween(before ?? blankOf(schema), after, typeOf(schema));
  return { changed: writtenPart(changed, written), removed: writtenPart(removed, written) };
}

/** The objects, of any versions, compared in one. undefined: there is no such version. */
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

/** changesIn, each version once. known: those of the version at hand. */
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
