/** A component's command line without the command line's library: '--name=value' words against its table. For flags that come out of files. */
import { UserError } from '#deploy/data-dir.ts';
import { flagKey, type FlagTable } from './define.ts';

/** As the command line hands them over. Throws a UserError for a flag that the table does not have, and for a value that it refuses. */
export function parseWords(
  table: FlagTable,
  { command, words }: { readonly command: string; readonly words: readonly string[] },
): Record<string, unknown> {
  const given: Record<string, unknown> = {};
  for (const word of words) {
    const [, name = '', value] = /^--([^=]+)(?:=([^]*))?$/.exec(word) ?? [];
    const flag = table[name];
    if (name === '' || !flag) throw new UserError(`capstan ${command} has no flag ${word.split('=', 1)[0]}.`);
    const text = value ?? (flag.placeholder.startsWith('[') ? 'true' : undefined);
    if (text === undefined) throw new UserError(`--${name} of capstan ${command} needs a value.`);
    if (flag.choices && !flag.choices.includes(text))
      throw new UserError(`--${name} is "${text}"; it should be one of ${flag.choices.join(', ')}.`);
    given[flagKey(name)] = flag.take(`--${name}`, text, given[flagKey(name)]);
  }
  // Values used lazily are validated here.
  for (const [name, flag] of Object.entries(table)) {
    const value = given[flagKey(name)];
    if (value !== undefined) flag.read(`--${name}`, value);
  }
  return given;
}
