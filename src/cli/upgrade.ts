/** `capstan upgrade …`: a cluster of init and join to the version of this program, and back. */
import { Option, type Command } from 'commander';
import type { NodeFlags } from '#cmd/upgrade/node.ts';
import type { ApplyFlags, ChangeFlags, PlanFlags } from '#cmd/upgrade/upgrade.ts';
import { confirmChange } from './confirm.ts';
import { action, print } from './context.ts';
import { rootfsOption } from './machine-options.ts';

const STEPS = ['control-plane', 'raise', 'node', 'rollback', 'rollback-node', 'hold', 'finish'];

export function register(program: Command): void {
  const upgrade = program
    .command('upgrade')
    .description('the machines of a cluster to the version of this program, and back');
  const load = () => import('#cmd/upgrade/upgrade.ts');
  const call = { print, confirm: confirmChange };
  upgrade
    .command('plan')
    .description(
      'what would be done, and what is in the way; changes nothing. Exit code 0: nothing; 1: something; 2: warnings',
    )
    .option('--kubeconfig <file>', "an administrator's (default: this control plane's)")
    .option('--json', 'as JSON')
    .addOption(rootfsOption())
    .action(
      action(async (flags: PlanFlags) => {
        process.exitCode = await (await load()).runUpgradePlan(flags, call);
      }),
    );
  changing(
    upgrade
      .command('apply')
      .description('upgrade all machines, one after the other; run again it goes on')
      .option('--no-drain', 'leave pods on their workers: containers outlive the node agent')
      .option('--no-backup', 'make none first; after the raise there is no way back then')
      .option('--force', 'go past findings of the plan')
      .addOption(
        new Option(
          '--soak <duration>',
          'how long the new program behaves as the old version before the raise (default: 60s)',
        ),
      )
      .option('--drain-timeout <duration>', 'how long a worker may take to be empty (default: 5m)'),
  ).action(
    action(async (flags: ApplyFlags) => {
      process.exitCode = await (await load()).runUpgradeApply(flags, call);
    }),
  );
  upgrade
    .command('node')
    .description("this machine's part of an upgrade: what apply asks for now")
    .addOption(new Option('--step <step>', 'this step').choices(STEPS))
    .option('--emulated-version <version>', 'of the step control-plane: the version to behave as')
    .option('--program <dir>', 'directory of the new program (default: this one)')
    .addOption(rootfsOption())
    .action(
      action(async (flags: NodeFlags) => (await import('#cmd/upgrade/node.ts')).runUpgradeNode(flags, print)),
    );
  changing(
    upgrade
      .command('rollback')
      .description(
        'back to the program before; once the version was raised, also to the backup that was made first (--yes), after a list of what was written since',
      ),
  ).action(
    action(async (flags: ChangeFlags) => {
      process.exitCode = await (await load()).runUpgradeRollback(flags, call);
    }),
  );
  upgrade
    .command('status')
    .description(
      'how far an upgrade came, and what each machine runs. Exit code 0: none is under way; 1: it stopped; 2: it is',
    )
    .option('--kubeconfig <file>', "an administrator's (default: this control plane's)")
    .option('--json', 'as JSON')
    .addOption(rootfsOption())
    .action(
      action(async (flags: PlanFlags) => {
        process.exitCode = await (await load()).runUpgradeStatus(flags, call);
      }),
    );
}

function changing(command: Command): Command {
  return command
    .option(
      '--inventory <file>',
      'drive the other machines over ssh, as capstan fleet does; without, it says what to run there',
    )
    .option('--ssh-config <file>', "ssh's settings in place of ~/.ssh/config")
    .option('--yes', 'do not ask')
    .addOption(rootfsOption());
}
