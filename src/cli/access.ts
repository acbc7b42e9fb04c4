/** `capstan access …`: explains permissions. */
import type { Command } from 'commander';
import { register as registerExplain } from './access/explain.ts';
import { register as registerWhoCan } from './access/who-can.ts';

export function register(program: Command): void {
  const access = program
    .command('access')
    .description('who may do what, and the rules, roles and bindings that say so');
  for (const registerOne of [registerWhoCan, registerExplain]) registerOne(access);
}
