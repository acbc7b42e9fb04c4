/** The fields that an endpoint writes. The server resets the others, so that their ownership does not change through it. */
import { FieldSet } from './field-set.ts';

/** Excludes fields at or below these paths, separated by '.'. */
export interface WrittenFields {
  readonly without: readonly string[];
}

const resets = new WeakMap<WrittenFields, FieldSet>();

/** written: one object per kind, which is compiled once. */
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

/** Top-level fields that are not written at all. */
export function unwrittenNames(written: WrittenFields | undefined): readonly string[] {
  return written ? written.without.filter((path) => !path.includes('.')) : [];
}
