/** Which fields a way in writes. The server resets the others: nobody comes to own them through it, nobody loses them. */
import { FieldSet } from './field-set.ts';

/** All but what is at or below these paths, which have '.' between names. */
export interface WrittenFields {
  readonly without: readonly string[];
}

const resets = new WeakMap<WrittenFields, FieldSet>();

/** written: one object for all writes of its kind, which is read once. */
export function writtenPart(set: FieldSet, written: WrittenFields | undefined): FieldSet {
  if (!written || set.isEmpty) return set;
  let reset = resets.get(written);
  if (!reset)
    resets.set(
      written,
      (reset = FieldSet.of(...written.without.map((path) => path.split('.').map((name) => `f:${name}`)))),
    );
  return set.without(reset);
}

/** The names at the top that are not written at all. */
export function unwrittenNames(written: WrittenFields | undefined): readonly string[] {
  return written ? written.without.filter((path) => !path.includes('.')) : [];
}
