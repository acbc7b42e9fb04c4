/** `capstan user …`: people with client certificates, and lines for the file of passwords. */
import type { Command } from 'commander';
import { register as registerCreate } from './user/create.ts';
import { register as registerDelete } from './user/delete.ts';
import { register as registerHashPassword } from './user/hash-password.ts';
import { register as registerList } from './user/list.ts';

export function register(program: Command): void {
  const user = program
    .command('user')
    .description('who may use the cluster, by client certificate or password');
  for (const registerOne of [registerCreate, registerList, registerDelete, registerHashPassword])
    registerOne(user);
}
