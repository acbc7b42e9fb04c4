/**
 * Records which lists and maps a body contained as empty. JSON and storage have no such fields, so objects do not either; a few
 * checks distinguish empty from absent, as upstream's do where they check for nil. The decoder stores it beside the object, for as long as
 * the object lives: bodies without any, nearly all, cost nothing.
 */
const notes = new WeakMap<object, Set<string>>();

export function noteGivenEmpty(holder: object, field: string): void {
  const fields = notes.get(holder);
  if (fields) fields.add(field);
  else notes.set(holder, new Set([field]));
}

/** The body of the holder had [] or {} in this field. */
export function isGivenEmpty(holder: object | undefined, field: string): boolean {
  return holder !== undefined && (notes.get(holder)?.has(field) ?? false);
}

/** The field is present, possibly empty. */
export function isGiven<T extends object>(holder: T | undefined, field: keyof T & string): boolean {
  return (
    holder !== undefined &&
    ((holder[field] !== undefined && holder[field] !== null) || isGivenEmpty(holder, field))
  );
}
