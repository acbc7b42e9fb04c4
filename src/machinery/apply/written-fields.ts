/** Which fields a way in writes. The server resets the others: nobody comes to own them through it, nobody loses them. */
import { ANY, FieldSet, type Path } from './field-set.ts';

/** By paths with '.' between names and '*' for every list item: all but what is at or below some, or only what is at or below some. */
export type WrittenFields = { readonly without: readonly string[] } | { readonly only: readonly string[] };

type Filter = (set: FieldSet) => FieldSet;

const filters = new WeakMap<WrittenFields, Filter>();

/** written: one object for all writes of its kind, which is read once. */
export function writtenPart(set: FieldSet, written: WrittenFields | undefined): FieldSet {
  if (!written || set.isEmpty) return set;
  let filter = filters.get(written);
  if (!filter) filters.set(written, filter = filterOf(written));
  return filter(set);
}

/** The names at the top that are not written at all. */
export function unwrittenNames(written: WrittenFields | undefined): readonly string[] {
  return written && 'without' in written ? written.without.filter((path) => !path.includes('.')) : [];
}

function filterOf(written: WrittenFields): Filter {
  if ('only' in written) {
    const patterns = written.only.map(pathOf);
    return (set) => set.within(patterns);
  }
  const gone = FieldSet.of(...written.without.map(pathOf));
  return (set) => set.without(gone);
}

function pathOf(text: string): Path {
  return text.split('.').map((name) => (name === ANY ? ANY : `f:${name}`));
}
