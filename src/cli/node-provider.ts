/** `capstan node-provider` */
import type { Command } from 'commander';
import { NODE_PROVIDER_FLAGS, type NodeProviderFlags } from '#cmd/cluster-autoscaler/node-provider-flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(
    program
      .command('node-provider')
      .description("serve a provider of nodes to upstream's cluster autoscaler (externalgrpc)"),
    NODE_PROVIDER_FLAGS,
  ).action(
    action(async (flags: NodeProviderFlags) =>
      (await import('#cmd/cluster-autoscaler/node-provider.ts')).runNodeProvider(flags),
    ),
  );
}
