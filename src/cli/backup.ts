/** `capstan backup …`: copies of a whole cluster that are proven to open, and the way back from them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { parseDurationMs } from '#cmd/flags/values.ts';
import type { CreateFlags } from '#cmd/backup/create.ts';
import type { InspectFlags, PruneFlags } from '#cmd/backup/inspect.ts';
import type { RestoreFlags } from '#cmd/backup/restore-steps.ts';
import type { RestoreObjectsFlags } from '#cmd/backup/restore-objects.ts';
import { NODE_FLAGS } from '#deploy/daemon.ts';
import { UserError, type DataDir } from '#deploy/data-dir.ts';
import { action, dataDirOption, list, print, wholeNumber } from './context.ts';
import { rootfsOption } from './machine-options.ts';

type Named<T> = T & { readonly name: string };

export function register(program: Command): void {
  const backup = program
    .command('backup')
    .description('copies of a whole cluster, encrypted, each proven to open; and the way back from them');
  withSource(subcommand(backup, 'create', 'make a backup now; the cluster may run'))
    .addOption(recipientsOption())
    .option('--no-drill', 'do not start an API server on it to prove it')
    .action(
      action(async (flags: CreateFlags) => {
        await (await import('#cmd/backup/create.ts')).createBackup(flags, print);
      }),
    );
  subcommand(backup, 'list', 'show the backups of a location, newest first').action(
    action(async (flags: InspectFlags) => (await inspect()).showBackups(flags, print)),
  );
  withKeys(subcommand(backup, 'show', 'show what is in a backup'))
    .argument('<name>', 'its name, or latest')
    .option('--objects', 'every object')
    .action(
      action(async (name: string, flags: Named<InspectFlags> & { readonly objects?: boolean }) =>
        (await inspect()).showBackup({ ...flags, name }, print),
      ),
    );
  withKeys(subcommand(backup, 'verify', 'decrypt a backup, decode every object and compare the digests'))
    .argument('<name>', 'its name, or latest')
    .action(
      action(async (name: string, flags: Named<InspectFlags>) =>
        (await inspect()).verifyBackup({ ...flags, name }, print),
      ),
    );
  withSource(
    withKeys(
      subcommand(
        backup,
        'restore',
        'put a cluster back into a data directory or an etcd; or a namespace or object into one that runs',
      ),
    ),
  )
    .argument('[name]', 'its name, or latest; not with --at')
    .option(
      '--at <moment>',
      'the cluster as it was at this revision or time, by the backup before it and history since',
    )
    .addOption(
      new Option(
        '--change-log-path <dirs>',
        "with --at and --etcd-servers: the change logs of all API servers, where etcd's own revisions do not reach",
      ).argParser(list),
    )
    .addOption(recipientsOption())
    .option('--yes', 'replace the cluster that is there, which is backed up first, and stopped where it runs')
    .addOption(
      new Option(
        '--revision-margin <n>',
        'of etcd: how far its revision is raised above the newest that a backup has seen (default: 100000)',
      ).argParser(wholeNumber('revision-margin', { min: 1, max: 1_000_000_000 })),
    )
    .addOption(
      new Option(
        '--lost-nodes <names>',
        'Nodes whose machines are gone for good, or all: they are left out, and their pods are replaced',
      ).argParser(list),
    )
    .option('--start', 'of a data directory: start the cluster afterwards (default: where it ran before)')
    .option('--no-start', 'of a data directory: leave it stopped')
    .option('--namespace <name>', 'only this namespace, into the cluster that runs')
    .option(
      '--object <resource/name>',
      'only this object, in --namespace where it has one: deployments.apps/web',
    )
    .addOption(
      new Option('--conflict <policy>', 'for a namespace or object that exists and differs')
        .choices(['skip', 'replace', 'fail'])
        .default('skip'),
    )
    .option('--dry-run', 'for a namespace or object: only show what would change')
    .action(
      action(async (name: string | undefined, flags: RestoreFlags & RestoreObjectsFlags) => {
        if (name === undefined && flags.at === undefined)
          throw new UserError('Name a backup (or latest), or give --at MOMENT.');
        if (flags.namespace !== undefined || flags.object !== undefined) {
          const { restoreSelected } = await import('#cmd/backup/restore-objects.ts');
          if (name === undefined)
            throw new UserError('--at restores a whole cluster: not with --namespace or --object.');
          return restoreSelected({ ...flags, name }, { say: print });
        }
        if (flags.dryRun) throw new UserError('--dry-run needs --namespace or --object.');
        const { restoreCluster } = await import('#cmd/backup/restore-cluster.ts');
        await restoreCluster({ ...flags, name }, { say: print, start: startCluster });
      }),
    );
  withRetention(subcommand(backup, 'prune', 'remove what is older than the policy keeps'))
    .option('--dry-run', 'only say what would be removed')
    .action(action(async (flags: PruneFlags) => (await inspect()).pruneOld(flags, print)));
}

/** As somebody would: with the settings that it has, as a service where it is one. */
async function startCluster({ path }: DataDir): Promise<void> {
  const main = join(import.meta.dirname, 'main.ts');
  const child = spawn(process.execPath, [...NODE_FLAGS, main, 'up', '--detach', '--data-dir', path], {
    stdio: 'inherit',
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0)
    throw new UserError(`The cluster is restored, but does not start: see ${join(path, 'logs')}.`);
}

function inspect(): Promise<typeof import('#cmd/backup/inspect.ts')> {
  return import('#cmd/backup/inspect.ts');
}

/** With the options of a location. */
function subcommand(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .addOption(dataDirOption())
    .addOption(rootfsOption())
    .option(
      '--location <place>',
      'where backups are: a directory, or s3://BUCKET/PREFIX (default: DIR/backups)',
    )
    .option('--s3-endpoint <url>', 'the S3 server (default: $AWS_ENDPOINT_URL_S3, else that of AWS)')
    .option('--s3-region <region>', 'its region (default: $AWS_REGION, else us-east-1)')
    .option(
      '--s3-credentials-file <file>',
      "credentials as `aws configure` writes them (default: AWS's variables)",
    )
    .option('--json', 'print JSON');
}

function withKeys(command: Command): Command {
  return command.option(
    '--identity-file <file>',
    'key of age that opens the backup (default: PKI/backup-identity.txt)',
  );
}

function recipientsOption(): Option {
  return new Option(
    '--recipients-file <file>',
    "who may open it, a line a recipient of age (default: the cluster's own key, PKI/backup-identity.txt)",
  );
}

function withSource(command: Command): Command {
  return command
    .option('--kubeconfig <file>', "an administrator's, to read from its API server")
    .addOption(
      new Option('--etcd-servers <urls>', 'read from this etcd, without an API server').argParser(
        (text: string) => list(text),
      ),
    )
    .option('--etcd-prefix <prefix>', 'prefix of all keys in etcd (default: /registry)')
    .option('--etcd-cafile <file>', 'certificate authority of the etcd servers')
    .option('--etcd-certfile <file>', 'client certificate for etcd')
    .option('--etcd-keyfile <file>', 'private key of --etcd-certfile')
    .option(
      '--encryption-provider-config <file>',
      'keys of objects that are encrypted at rest, where no API server is asked; goes into the backup',
    );
}

function withRetention(command: Command): Command {
  const keep = (name: string, help: string): Option =>
    new Option(`--keep-${name} <duration>`, help).argParser((text: string) =>
      parseDurationMs(`--keep-${name}`, text),
    );
  return command
    .addOption(keep('all', 'keep each one so long (default: 24h)'))
    .addOption(keep('hourly', 'keep one an hour so long (default: 168h)'))
    .addOption(keep('daily', 'keep one a day so long (default: 2160h)'));
}
