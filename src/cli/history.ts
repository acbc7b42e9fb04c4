/** `capstan history …`: what changed, when, and by whom. */
import type { Command } from 'commander';
import type { HistoryFlags, ShowFlags } from '#cmd/history/history.ts';
import { action, dataDirOption, print, wholeNumber } from './context.ts';
import { rootfsOption } from './machine-options.ts';

export function register(program: Command): void {
  const history = withServer(program.command('history'))
    .description('what changed in the cluster, when, and by whom; and how an object was')
    .enablePositionalOptions()
    .argument('<resource>', 'as kubectl names it, custom resources as PLURAL.GROUP; all: every resource')
    .argument('[name]', 'of one object')
    .option('-A, --all-namespaces', 'of all namespaces')
    .option('--since <time>', 'from then on: 14:02, 15m (ago), 2026-12-02T14:02:00Z')
    .option('--until <time>', 'up to then')
    .option('--by <user>', 'only changes of this user, or of this field manager where the user is not known')
    .option('--diff', 'the fields that changed')
    .option(
      '--limit <n>',
      'the newest so many (default: 1000)',
      wholeNumber('limit', { min: 1, max: 1_000_000 }),
    )
    .option('--json', 'print JSON, a line a change')
    .action(
      action(async (resource: string, name: string | undefined, flags: HistoryFlags) => {
        const { showHistory } = await import('#cmd/history/history.ts');
        await showHistory({ ...flags, resource, name }, { say: print, warn });
      }),
    );
  withServer(history.command('show'))
    .description('print an object as it was at a revision')
    .argument('<resource>', 'as kubectl names it, custom resources as PLURAL.GROUP')
    .argument('<name@revision>', 'for example web@48213')
    .option('--json', 'print JSON instead of YAML')
    .action(
      action(async (resource: string, at: string, flags: ShowFlags) => {
        const { showRevision } = await import('#cmd/history/history.ts');
        await showRevision({ ...flags, resource, at }, { say: print, warn });
      }),
    );
}

export function warn(line: string): void {
  process.stderr.write(`capstan: ${line}\n`);
}

export function withServer(command: Command): Command {
  return command
    .addOption(dataDirOption())
    .addOption(rootfsOption())
    .option('--kubeconfig <file>', "a cluster administrator's (default: the cluster's own)")
    .option('-n, --namespace <name>', 'the namespace (default: default)');
}
