/** `up --apiserver-arg name=value`: any flag of `capstan apiserver` for the API server of the all-in-one program, read by that command's own definition. */
import { resolve } from 'node:path';
import { Command, CommanderError } from 'commander';
import { API_SERVER_FLAGS, type ApiServerFlags } from '#cmd/apiserver/flags.ts';
import type { FlagTable } from '#cmd/flags/define.ts';
import { UserError } from '#deploy/data-dir.ts';
import { defineApiServer } from './apiserver.ts';

export interface ApiServerArgs {
  /** As given, with absolute paths: stored in the settings. */
  readonly args: readonly string[];
  readonly flags: ApiServerFlags;
}

/** args: 'name=value' or 'name' each. Throws the command's UserErrors. */
export function parseApiServerArgs(args: readonly string[]): ApiServerArgs {
  for (const arg of args) {
    const [name = ''] = arg.split('=', 1);
    if (!/^[a-z][a-z0-9-]*$/.test(name))
      throw new UserError(
        `--apiserver-arg is "${arg}"; it should be NAME=VALUE, a flag of 'capstan apiserver' without its dashes.`,
      );
    const why = (API_SERVER_FLAGS as FlagTable)[name]?.decidedByUp;
    if (why !== undefined) throw new UserError(`--apiserver-arg ${name} is refused: ${why}.`);
  }
  const program = new Command('capstan').exitOverride().configureOutput({ writeErr: () => {} });
  const command = defineApiServer(program).action(() => {});
  const files = new Set(
    command.options.filter(({ flags }) => flags.includes('<file>')).map(({ long }) => long),
  );
  const absolute = args.map((arg) => {
    const at = arg.indexOf('=');
    return at > 0 && files.has(`--${arg.slice(0, at)}`)
      ? `${arg.slice(0, at)}=${resolve(arg.slice(at + 1))}`
      : arg;
  });
  try {
    program.parse(['apiserver', ...absolute.map((arg) => `--${arg}`)], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    throw new UserError(
      `--apiserver-arg: ${error.message.replace(/^error: /, '')} (see: capstan apiserver --help)`,
      error,
    );
  }
  const given = Object.entries(command.opts()).filter(
    ([name]) => command.getOptionValueSource(name) === 'cli',
  );
  return { args: absolute, flags: Object.fromEntries(given) as ApiServerFlags };
}
