/** `capstan proxy` */
import type { Command } from 'commander';
import { PROXY_FLAGS, type ProxyFlags } from '#cmd/proxy/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(
    program.command('proxy').description("run this machine's service proxy by itself (needs root)"),
    PROXY_FLAGS,
  ).action(action(async (flags: ProxyFlags) => (await import('#cmd/proxy/run.ts')).runProxy(flags)));
}
