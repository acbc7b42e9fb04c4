/** `capstan store …`: inspects the store of a stopped cluster, and moves it between the embedded store and etcd. */
import { Option, type Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import type * as Migrate from '#cmd/store/migrate.ts';
import type { StoreFlags } from '#cmd/store/open.ts';
import { action, dataDirOption, print } from './context.ts';

interface Flags extends StoreFlags {
  readonly toEtcd?: readonly string[];
  readonly fromEtcd?: readonly string[];
  readonly resume?: boolean;
}

export function register(program: Command): void {
  const store = program
    .command('store')
    .description('the store of a cluster that is off: look, or move it to etcd and back');
  withEtcd(store.command('migrate'))
    .description('move all objects between the embedded store and etcd; the old store is kept')
    .addOption(servers('--to-etcd <urls>', 'move into this etcd, which has to be empty'))
    .addOption(servers('--from-etcd <urls>', 'move from this etcd into the data directory'))
    .option('--resume', 'go on with a migration that was interrupted')
    .action(
      action(async ({ toEtcd, fromEtcd, ...flags }: Flags) => {
        if ((toEtcd === undefined) === (fromEtcd === undefined))
          throw new UserError('Give one of --to-etcd URL,... and --from-etcd URL,...');
        const direction = toEtcd ? 'to-etcd' : 'from-etcd';
        const etcdServers = (toEtcd ?? fromEtcd)!;
        await (await load()).migrateStore({ ...flags, direction, etcdServers }, print);
      }),
    );
  withEtcd(store.command('check'))
    .description('read every object; exit code 1 where one cannot be read')
    .addOption(servers('--etcd-servers <urls>', 'an etcd in place of the data directory'))
    .action(action(async (flags: Flags) => (await load()).checkStore(flags, print)));
  withEtcd(store.command('digest'))
    .description('one hash of all objects, the same for the same objects in any store')
    .addOption(servers('--etcd-servers <urls>', 'an etcd in place of the data directory'))
    .action(action(async (flags: Flags) => (await load()).digestStore(flags, print)));
}

function servers(flag: string, help: string): Option {
  return new Option(flag, help).argParser((text: string) => text.split(','));
}

function withEtcd(command: Command): Command {
  return command
    .addOption(dataDirOption())
    .option('--etcd-prefix <prefix>', 'prefix of all keys in etcd (default: /registry)')
    .option('--etcd-cafile <file>', 'certificate authority of the etcd servers')
    .option('--etcd-certfile <file>', 'client certificate for etcd')
    .option('--etcd-keyfile <file>', 'private key of --etcd-certfile')
    .option('--encryption-provider-config <file>', 'keys of objects that are encrypted at rest');
}

function load(): Promise<typeof Migrate> {
  return import('#cmd/store/migrate.ts');
}
