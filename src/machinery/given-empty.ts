/**
 * Which lists and maps a body gave without anything in them. JSON and storage hold no such field, so objects don't either; only few of the
 * checks tell "given but empty" from absent, as upstream's do where they ask for nil. The decoder notes it beside the object, for as long as
 * that lives: bodies that give none, nearly all, cost nothing.
 */
const notes = new WeakMap<object, Set<string>>();

export function noteGivenEmpty(holder: object, field: string): void {
  const fields = notes.get(holder);
  if (fields) fields.add(field);
  else notes.set(holder, new Set([field]));
}

/** The body that the holder was decoded from had [] or {} here. */
export function isGivenEmpty(holder: object | undefined, field: string): boolean {
  return holder !== undefined && (notes.get(holder)?.has(field) ?? false);
}

/** The field is there, be it with nothing in it. */
export function isGiven<T extends object>(holder: T | undefined, field: keyof T & string): boolean {
  return (
    holder !== undefined &&
    ((holder[field] !== undefined && holder[field] !== null) || isGivenEmpty(holder, field))
  );
}
