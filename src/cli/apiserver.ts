/** `capstan apiserver` */
import type { Command } from 'commander';
import { API_SERVER_FLAGS, type ApiServerFlags } from '#cmd/apiserver/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  defineApiServer(program).action(
    action(async (flags: ApiServerFlags) => (await import('#cmd/apiserver/run.ts')).runApiServer(flags)),
  );
}

/** The command with all its flags, which `up --apiserver-arg` reads too. */
export function defineApiServer(program: Command): Command {
  return addFlags(program.command('apiserver').description('run the API server by itself'), API_SERVER_FLAGS);
}
