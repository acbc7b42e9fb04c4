/** `capstan etcd …`: the members of the cluster's etcd, from a control plane or with etcdctl's flags from anywhere. */
import { Option, type Command } from 'commander';
import type { EtcdFlags } from '#cmd/etcd/connect.ts';
import type * as Etcd from '#cmd/etcd/etcd.ts';
import { confirmRemoval } from './confirm.ts';
import { action, print } from './context.ts';
import { rootfsOption } from './machine-options.ts';

type Flags = EtcdFlags & { readonly yes?: boolean };

export function register(program: Command): void {
  const etcd = program.command('etcd').description("the members of the cluster's etcd");
  subcommand(etcd, 'members', 'list the members')
    .option(
      '--prune',
      'remove learners that were never started: a machine that died while it joined left them',
    )
    .option('--yes', 'do not ask')
    .addOption(outputOption())
    .action(run((loaded, flags: Flags) => loaded.listEtcdMembers(flags, output(flags))));
  subcommand(etcd, 'status', 'show the health of each member; exit code 1 where one is not healthy')
    .addOption(outputOption())
    .action(run((loaded, flags: Flags) => loaded.showEtcdStatus(flags, { print })));
  subcommand(etcd, 'snapshot', 'save all data of a member into a file, which etcdutl restores')
    .argument('<file>')
    .action(
      action(async (file: string, flags: Flags) =>
        (await load()).saveEtcdSnapshot({ ...flags, file }, { print }),
      ),
    );
  subcommand(etcd, 'defrag', 'give free space back to the disk, one member after another').action(
    run((loaded, flags: Flags) => loaded.defragmentEtcd(flags, { print })),
  );
  subcommand(etcd, 'promote', 'make a learner that is in sync a voting member')
    .argument('<member>', 'its name or ID')
    .action(
      action(async (member: string, flags: Flags) =>
        (await load()).promoteEtcdMember({ ...flags, member }, { print }),
      ),
    );
  subcommand(etcd, 'remove', 'remove a member whose machine is gone; `capstan leave` removes its own')
    .argument('<member>', 'its name or ID')
    .option('--force', 'though the members that are left have no quorum then')
    .option('--yes', 'do not ask')
    .action(
      action(async (member: string, flags: Flags & { readonly force?: boolean }) =>
        (await load()).removeEtcdMember({ ...flags, member }, output(flags)),
      ),
    );
  etcd
    .command('recover')
    .description('quorum lost for good: make a cluster of one member out of the data of this machine')
    .option('--force', 'though another survivor has more, or etcd of this machine does not run')
    .option('--yes', 'do not ask')
    .option('--cert-dir <dir>', 'where certificates are kept (default: /etc/kubernetes/pki)')
    .addOption(rootfsOption())
    .action(run((loaded, flags: Flags) => loaded.recoverEtcdHere(flags, output(flags))));
}

function load(): Promise<typeof Etcd> {
  return import('#cmd/etcd/etcd.ts');
}

function run(work: (loaded: typeof Etcd, flags: Flags) => Promise<void>): (flags: Flags) => Promise<void> {
  return action(async (flags: Flags) => work(await load(), flags));
}

function subcommand(etcd: Command, name: string, description: string): Command {
  return etcd
    .command(name)
    .description(description)
    .addOption(
      new Option(
        '--endpoints <urls>',
        "client URLs of members, separated by commas (default: this machine's)",
      ).argParser((text: string) => text.split(',')),
    )
    .option('--cacert <file>', "authority of etcd's certificates (default: etcd/ca.crt of --cert-dir)")
    .option('--cert <file>', 'client certificate (default: apiserver-etcd-client.crt of --cert-dir)')
    .option('--key <file>', 'its key')
    .option('--cert-dir <dir>', 'where certificates are kept (default: /etc/kubernetes/pki)')
    .addOption(rootfsOption());
}

function outputOption(): Option {
  return new Option('-o, --output <format>', 'as a table or JSON')
    .choices(['table', 'json'])
    .default('table');
}

function output({ yes }: Flags): Etcd.Output {
  return { print, confirm: (what) => (yes ? Promise.resolve() : confirmRemoval(what)) };
}
