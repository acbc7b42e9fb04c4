/** The last lines of a log, and patterns over them: a pattern matches where its end is the end of the newest line, and may begin lines before. */
import { RE2JS } from 're2js';

export interface LogLine {
  readonly timeMs: number;
  readonly message: string;
}

export interface CompiledPattern {
  /** With an end of text behind it, as upstream compiles it. */
  readonly expression: RE2JS;
  /** It cannot match over several lines: only the newest is looked at. */
  readonly isOneLine: boolean;
}

/** Throws the library's error. */
export function compilePattern(pattern: string): CompiledPattern {
  return { expression: RE2JS.compile(`${pattern}\\z`), isOneLine: !MULTI_LINE.test(pattern) };
}

/** What may match a line break, or binds the end of text to a part of the pattern only. Too careful rather than wrong. */
const MULTI_LINE = /\n|\\n|\\s|\\W|\\D|\\C|\\x|\\p|\\P|\\[0-7]|\\A|\\v|\\r|\[\^|\[\[|\(\?|\^|\||\$(?!$)/;

export class LogBuffer {
  readonly #size: number;
  #lines: LogLine[] = [];
  #joined: string | undefined;

  constructor(size: number) {
    this.#size = size;
  }

  push(line: LogLine): void {
    this.#lines.push(line);
    if (this.#lines.length > this.#size) this.#lines.shift();
    this.#joined = undefined;
  }

  /** The lines that the match touches, the newest last. Empty: no match. */
  match({ expression, isOneLine }: CompiledPattern): readonly LogLine[] {
    const newest = this.#lines.at(-1);
    if (!newest) return [];
    if (isOneLine) return expression.matcher(newest.message).find() ? [newest] : [];
    const joined = (this.#joined ??= this.#lines.map(({ message }) => message).join('\n'));
    const matcher = expression.matcher(joined);
    if (!matcher.find()) return [];
    const before = joined.slice(0, matcher.start()).split('\n').length - 1;
    const touched = joined.slice(matcher.start(), matcher.end()).split('\n').length;
    const first = linesBefore(this.#lines, before);
    return this.#lines.slice(first, linesBefore(this.#lines, before + touched - 1) + 1);
  }
}

/** A message may hold line breaks itself: the index of the log line that the n-th line of text belongs to. */
function linesBefore(lines: readonly LogLine[], n: number): number {
  let seen = 0;
  for (const [index, { message }] of lines.entries()) {
    seen += message.split('\n').length;
    if (n < seen) return index;
  }
  return lines.length - 1;
}
