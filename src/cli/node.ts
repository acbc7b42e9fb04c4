/** `capstan node` */
import type { Command } from 'commander';
import { NODE_FLAGS, type NodeFlags } from '#cmd/node/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(
    program.command('node').description('run a node, or simulated nodes, by itself'),
    NODE_FLAGS,
  ).action(action(async (flags: NodeFlags) => (await import('#cmd/node/run.ts')).runNode(flags)));
}
