/** `capstan fleet …`: the machines of one file, over ssh. */
import { Option, type Command } from 'commander';
import type { FleetFlags } from '#cmd/fleet/fleet.ts';
import { confirmRemoval } from './confirm.ts';
import { action, list, print, wholeNumber } from './context.ts';
import { rootfsOption, warnLine } from './machine-options.ts';

const OUTPUT = { print, warn: warnLine };

export function register(program: Command): void {
  const fleet = program.command('fleet').description('the machines of one file, over ssh');
  const commands = () => import('#cmd/fleet/fleet.ts');
  fleetOptions(
    fleet
      .command('apply')
      .description(
        'make the machines what the file says; run again it goes on. Exit code 0: they are; 1: something failed; 2: --check found something to do',
      )
      .argument('<file>', 'inventory of kind Fleet')
      .option('--check', 'change nothing, and print what would be done')
      .option('--prune', 'take machines that the file does not have out of the cluster')
      .option('-v, --verbose', 'print what init and join say on each machine, to standard error'),
  ).action(
    action(async (file: string, flags: FleetFlags) => {
      process.exitCode = await (await commands()).runFleetApply(file, flags, OUTPUT);
    }),
  );
  fleetOptions(
    fleet
      .command('status')
      .description(
        'show what each machine is, beside what the file says. Exit code 0: the same; 1: a machine was not reached; 2: they differ',
      )
      .argument('<file>', 'inventory of kind Fleet'),
  ).action(
    action(async (file: string, flags: FleetFlags) => {
      process.exitCode = await (await commands()).runFleetStatus(file, flags, OUTPUT);
    }),
  );
  fleetOptions(
    fleet
      .command('reset')
      .description('end the cluster and clean its machines; with --limit, take some out of it')
      .argument('<file>', 'inventory of kind Fleet')
      .option('--yes', 'do not ask')
      .option('-f, --force', 'with --limit: also pods without a controller, and below quorum')
      .option('-v, --verbose', 'print what each machine says, to standard error'),
  ).action(
    action(async (file: string, flags: FleetFlags) => {
      process.exitCode = await (
        await commands()
      ).runFleetReset(file, flags, { ...OUTPUT, confirm: confirmRemoval });
    }),
  );
  fleet
    .command('agent', { hidden: true })
    .description('answer one request of capstan fleet, on a control plane')
    .addOption(rootfsOption())
    .action(
      action(async (flags: { readonly rootfs?: string }) =>
        (await import('#cmd/fleet/agent.ts')).runFleetAgent(flags, print),
      ),
    );
}

function fleetOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--forks <n>', 'machines at the same time')
        .default(5)
        .argParser(wholeNumber('forks', { min: 1, max: 100 })),
    )
    .addOption(new Option('--limit <names>', 'only these machines, groups or roles').argParser(list))
    .option('--ssh-config <file>', "ssh's settings in place of ~/.ssh/config")
    .option('--json', 'print JSON, one object a line');
}
