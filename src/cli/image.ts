/** `capstan image …` */
import type { Command } from 'commander';
import { register as registerLoad } from './image/load.ts';

export function register(program: Command): void {
  registerLoad(program.command('image').description("the node's container images"));
}
