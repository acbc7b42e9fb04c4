/** `capstan dns` */
import type { Command } from 'commander';
import { DNS_FLAGS, type DnsFlags } from '#cmd/dns/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(program.command('dns').description('run the cluster DNS by itself'), DNS_FLAGS).action(
    action(async (flags: DnsFlags) => (await import('#cmd/dns/run.ts')).runDns(flags)),
  );
}
