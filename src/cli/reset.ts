/**
 * `capstan reset`: cleans this machine as kubeadm does: removes what init or join made, or, with the flags of those commands, what `capstan node` and
 * `capstan proxy` made when run by themselves. Asks for confirmation.
 */
import { Option, type Command } from 'commander';
import type { LeaveFlags } from '#cmd/machine/leave.ts';
import type { Removed, ResetFlags } from '#cmd/node/reset.ts';
import { confirmRemoval } from './confirm.ts';
import { action, print, list } from './context.ts';
import { rootfsOption, warnLine } from './machine-options.ts';

type Flags = ResetFlags & Omit<LeaveFlags, 'kubeconfig'>;

export function register(program: Command): void {
  program
    .command('reset')
    .description(
      "clean this machine: revert init or join; or remove what 'capstan node' and 'capstan proxy', run by themselves, have made",
    )
    .option('--data-dir <dir>', 'the directory that capstan node, run by itself, was given')
    .option(
      '--kubeconfig <file>',
      "that of capstan proxy: removes the service rules for its API server (default: those for the node's)",
    )
    .option('--cluster-id <id>', 'that of capstan proxy, where it was given one')
    .option('-f, --force', 'of init or join: also the last control plane, and below quorum; do not ask')
    .option('--yes', 'do not ask')
    .addOption(new Option('--skip-phases <names>', 'of init or join: phases to leave out').argParser(list))
    .option('--dry-run', 'of init or join: print what would be done and change nothing')
    .option('--cert-dir <dir>', 'of init or join: where certificates are kept (default: /etc/kubernetes/pki)')
    .addOption(rootfsOption())
    .action(
      action(async (flags: Flags) => {
        const isOfNode = [flags.dataDir, flags.kubeconfig, flags.clusterId].some(
          (flag) => flag !== undefined,
        );
        const { isMachine, runLeave } = await import('#cmd/machine/leave.ts');
        // Without these flags, and without a machine of init or join, it names the flags that it needs.
        if (isOfNode || !isMachine(flags)) return resetNode(flags);
        const { kubeconfig: _, ...machine } = flags;
        await runLeave(machine, { command: 'reset', print, warn: warnLine, confirm: confirmRemoval });
      }),
    );
}

async function resetNode(flags: Flags): Promise<void> {
  const { found, what, remove } = await (await import('#cmd/node/reset.ts')).prepareReset(flags);
  if (found.length === 0) return print(`There is nothing of ${what} on this machine.`);
  if (!flags.yes && !flags.force) {
    for (const thing of found) print(`  ${thing}`);
    await confirmRemoval(`${what}, all of the above`);
  }
  report(await remove(), flags);
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
