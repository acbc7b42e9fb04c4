/** `capstan reset`: remove what a node or a service proxy, run by itself, has made on this machine. Asks first. */
import type { Command } from 'commander';
import type { Removed, ResetFlags } from '#cmd/node/reset.ts';
import { confirmRemoval } from './confirm.ts';
import { action, print } from './context.ts';

export function register(program: Command): void {
  program
    .command('reset')
    .description(
      "remove what 'capstan node' and 'capstan proxy', run by themselves, have made on this machine",
    )
    .option('--data-dir <dir>', 'the directory that capstan node was given')
    .option(
      '--kubeconfig <file>',
      "that of capstan proxy: removes the service rules for its API server (default: those for the node's)",
    )
    .option('--cluster-id <id>', 'that of capstan proxy, where it was given one')
    .option('--yes', 'do not ask')
    .action(
      action(async (flags: ResetFlags & { readonly yes?: boolean }) => {
        const { found, what, remove } = await (await import('#cmd/node/reset.ts')).prepareReset(flags);
        if (found.length === 0) return print(`There is nothing of ${what} on this machine.`);
        if (!flags.yes) {
          for (const thing of found) print(`  ${thing}`);
          await confirmRemoval(`${what}, all of the above`);
        }
        report(await remove(), flags);
      }),
    );
}

function report({ gone, others, otherRules }: Removed, { dataDir }: ResetFlags): void {
  for (const thing of gone) print(`gone: ${thing}`);
  if (others.length > 0) print(`${dataDir} stays, since there is more in it: ${others.join(', ')}`);
  for (const id of otherRules)
    print(
      `There are service rules of a proxy for another API server; remove them with: capstan reset --cluster-id ${id}`,
    );
  if (dataDir !== undefined)
    print('The Node object stays in the cluster; remove it there with: kubectl delete node NAME');
}
