/** The flags of a component's table as options of its command. */
import { Option, type Command } from 'commander';
import type { Flag, FlagTable } from '#cmd/flags/define.ts';

/** Only given flags end up in the command's options; defaults are applied where the flags are read. */
export function addFlags(command: Command, table: FlagTable): Command {
  for (const [name, flag] of Object.entries(table)) command.addOption(optionOf(name, flag));
  return command;
}

function optionOf(name: string, flag: Flag): Option {
  const option = new Option(`--${name} ${flag.placeholder}`, describe(flag));
  if (flag.choices) option.choices(flag.choices);
  else option.argParser<unknown>((text, before) => flag.take(`--${name}`, text, before));
  if (flag.placeholder.startsWith('[')) option.preset('true');
  return option.hideHelp(flag.hidden ?? false);
}

function describe({ help, default: usual, defaultText }: Flag): string {
  const shown: unknown = defaultText ?? usual;
  if (shown === undefined) return help;
  return `${help} (default: ${Array.isArray(shown) ? shown.join() : String(shown)})`;
}
