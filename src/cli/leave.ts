/** `capstan leave`: removes this machine from its cluster, and cleans it. */
import { Option, type Command } from 'commander';
import type { LeaveFlags } from '#cmd/machine/leave.ts';
import { confirmRemoval } from './confirm.ts';
import { action, print, wholeNumber, list } from './context.ts';
import { rootfsOption, warnLine } from './machine-options.ts';

export function register(program: Command): void {
  program
    .command('leave')
    .description(
      'take this machine out of its cluster: drain, remove its etcd member and Node, stop and clean up',
    )
    .option(
      '-f, --force',
      'also the last control plane, below quorum, and pods without a controller; do not ask',
    )
    .option('--yes', 'do not ask')
    .option('--timeout <duration>', 'for pods to be evicted (default: 5m)')
    .addOption(
      new Option('--grace-period <seconds>', "for pods to end (default: each pod's own)").argParser(
        wholeNumber('grace-period', { min: 0, max: 86_400 }),
      ),
    )
    .option(
      '--kubeconfig <file>',
      "of an administrator, for a worker: its own may not delete its Node (default: this machine's)",
    )
    .addOption(new Option('--skip-phases <names>', 'phases to leave out').argParser(list))
    .option('--dry-run', 'print what would be done and change nothing')
    .option('--cert-dir <dir>', 'where certificates are kept (default: /etc/kubernetes/pki)')
    .addOption(rootfsOption())
    .action(
      action(async (flags: LeaveFlags) =>
        (await import('#cmd/machine/leave.ts')).runLeave(flags, {
          command: 'leave',
          print,
          warn: warnLine,
          confirm: confirmRemoval,
        }),
      ),
    );
}
