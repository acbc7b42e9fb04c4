/** `capstan dns` */
import { Option, type Command } from 'commander';
import type { DnsFlags } from '#cmd/dns/run.ts';
import { componentOptions, list, loggingOptions } from './component-options.ts';
import { action } from './context.ts';

const DEFAULT_LISTEN = ['127.0.0.1:10053'];

export function register(program: Command): void {
  const command = program.command('dns').description('run the cluster DNS by itself');
  componentOptions(command)
    .addOption(
      new Option(
        '--listen <address:port>',
        `where to answer, over UDP and TCP; may be given several times (default: ${DEFAULT_LISTEN.join()})`,
      ).argParser(list),
    )
    .addOption(
      new Option(
        '--upstream <address>',
        'resolver for other names; may be given several times (default: those of /etc/resolv.conf)',
      ).argParser(list),
    )
    .option('--cluster-domain <name>', 'domain of the cluster', 'cluster.local')
    .option(
      '--publish <ip>',
      'keep Service kube-system/kube-dns at this cluster address, with this server behind it',
    );
  loggingOptions(command).action(
    action(async (flags: Partial<DnsFlags>) =>
      (await import('#cmd/dns/run.ts')).runDns({ ...flags, listen: flags.listen ?? DEFAULT_LISTEN }),
    ),
  );
}
