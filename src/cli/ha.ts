/** `capstan ha …`: one address for people, by keepalived or HAProxy. */
import type { Command } from 'commander';
import { HAPROXY_FLAGS, KEEPALIVED_FLAGS, type HaproxyFlags, type KeepalivedFlags } from '#cmd/ha/flags.ts';
import { action, print } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  const ha = program
    .command('ha')
    .description('configuration of keepalived or HAProxy that gives the API servers one address');
  addFlags(
    ha
      .command('keepalived')
      .description('a floating address that moves between the control planes; run on each of them'),
    KEEPALIVED_FLAGS,
  ).action(
    action(async (flags: KeepalivedFlags) =>
      (await import('#cmd/ha/run.ts')).runKeepalived(flags, { print }),
    ),
  );
  addFlags(
    ha.command('haproxy').description('a load balancer in front of the API servers'),
    HAPROXY_FLAGS,
  ).action(
    action(async (flags: HaproxyFlags) => (await import('#cmd/ha/run.ts')).runHaproxy(flags, { print })),
  );
}
