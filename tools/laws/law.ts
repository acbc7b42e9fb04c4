/** What a law is: a habit of this code that a machine can check. One file a law, one line in list.ts. */
import type { Source } from './sources.ts';

export type Sources = ReadonlyMap<string, Source>;

export interface Finding {
  /** From the root. */
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly text: string;
}

export interface Law {
  readonly name: string;
  /** What holds, as one sentence. */
  readonly about: string;
  find(sources: Sources): readonly Finding[];
  /** The file's text without what the finding is about; absent = by hand. */
  fix?(source: Source, findings: readonly Finding[]): string;
}

/** From 1. */
function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < index; at = text.indexOf('\n', at + 1)) line++;
  return line;
}

/** Each place where a pattern (with flag g) stands in a file. */
export function placesOf(
  source: Source,
  pattern: RegExp,
  textOf: (match: RegExpExecArray) => string,
): Finding[] {
  return [...source.text.matchAll(pattern)].map((match) => ({
    path: source.path,
    line: lineAt(source.text, match.index),
    text: textOf(match),
  }));
}
