/** `capstan proxy` */
import type { Command } from 'commander';
import type { ProxyFlags } from '#cmd/proxy/run.ts';
import { componentOptions, loggingOptions } from './component-options.ts';
import { action } from './context.ts';

interface Flags extends Omit<ProxyFlags, 'clusterCIDR'> {
  readonly clusterCidr: string;
}

export function register(program: Command): void {
  const command = program
    .command('proxy')
    .description("run this machine's service proxy by itself (needs root)");
  componentOptions(command)
    .option('--cluster-cidr <range>', "addresses of the cluster's pods", '10.244.0.0/16')
    .option('--node-name <name>', 'name of the node (default: the host name)')
    .option(
      '--cluster-id <id>',
      "8 hex digits that name this cluster's nftables table (default: made from the server's address)",
    );
  loggingOptions(command).action(
    action(async ({ clusterCidr, ...flags }: Flags) =>
      (await import('#cmd/proxy/run.ts')).runProxy({ ...flags, clusterCIDR: clusterCidr }),
    ),
  );
}
