/**
 * Environment files (fileKeyRef): the strict part of a POSIX shell's syntax that upstream's kubelet reads. Pure.
 *
 *   # comment            NAME='value'            NAME='a value
 *   (blank line)         NAME='value' # comment  of several lines'
 *
 * No space around '='; single quotes only; nothing inside them is escaped or expanded. Lines after the requested key are not validated.
 */
import { ConfigError } from './downward.ts';

/** The value of a key; '' when the file does not have it. Throws ConfigError, with the line number. */
export function parseEnvFile(text: string, key: string): string {
  const lines = text.split('\n');
  for (let index = 0; index < lines.length;) {
    const assignment = readAssignment(lines, index);
    if (assignment?.name === key) return assignment.value;
    index = assignment?.next ?? index + 1;
  }
  return '';
}

interface Assignment {
  readonly name: string;
  readonly value: string;
  /** The index of the next line. */
  readonly next: number;
}

/** undefined: a blank line or a comment. */
function readAssignment(lines: readonly string[], index: number): Assignment | undefined {
  const line = (lines[index] ?? '').replace(/^[ \t]+/, '');
  if (line.trim() === '' || line.startsWith('#')) return undefined;
  const fail = (why: string): ConfigError =>
    new ConfigError(`invalid environment variable format at line ${index + 1}${why}`);
  const equals = line.indexOf('=');
  const name = line.slice(0, Math.max(0, equals));
  if (name.trim() === '') throw fail('');
  if (name !== name.trimEnd()) throw fail(": whitespace before '=' is not allowed");
  if (line[equals + 1] !== "'") throw fail(': value must be enclosed in single quotes');
  let value = line.slice(equals + 2);
  let next = index + 1;
  while (!value.includes("'") && next < lines.length) {
    value += `\n${lines[next]}`;
    next += 1;
  }
  const end = value.indexOf("'");
  if (end === -1) throw fail(': unclosed single quote');
  if (!/^([ \t]+#.*|\s*)$/.test(value.slice(end + 1))) throw fail(': unexpected content after closing quote');
  return { name, value: value.slice(0, end), next };
}
