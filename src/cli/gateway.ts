/** `capstan gateway` */
import type { Command } from 'commander';
import { GATEWAY_FLAGS, type GatewayFlags } from '#cmd/gateway/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(
    program.command('gateway').description('serve Ingresses on this machine by HAProxy'),
    GATEWAY_FLAGS,
  ).action(action(async (flags: GatewayFlags) => (await import('#cmd/gateway/run.ts')).runGateway(flags)));
}
