/** `capstan supervise`: the services of this machine, in the foreground. */
import type { Command } from 'commander';
import type { SuperviseFlags } from '#cmd/machine/supervise.ts';
import { action } from './context.ts';
import { rootfsOption } from './machine-options.ts';

export function register(program: Command): void {
  program
    .command('supervise')
    .description('run the services of this machine, as its service unit does')
    .option(
      '--only <name>',
      'this service alone, or certificates for their renewal: as units of their own do',
    )
    .addOption(rootfsOption())
    .action(
      action(async (flags: SuperviseFlags) =>
        (await import('#cmd/machine/supervise.ts')).runSupervise(flags),
      ),
    );
}
