/** `capstan balancer` */
import type { Command } from 'commander';
import { BALANCER_FLAGS, type BalancerFlags } from '#cmd/balancer/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(
    program.command('balancer').description("run this machine's balancer over all API servers by itself"),
    BALANCER_FLAGS,
  ).action(action(async (flags: BalancerFlags) => (await import('#cmd/balancer/run.ts')).runBalancer(flags)));
}
