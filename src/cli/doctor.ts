/** `capstan doctor`: what is wrong with this cluster and how to mend it. */
import { Option, type Command } from 'commander';
import type { DoctorFlags } from '#cmd/doctor/doctor.ts';
import { action, list, print } from './context.ts';
import { rootfsOption } from './machine-options.ts';

export function register(program: Command): void {
  program
    .command('doctor')
    .description(
      'say what is wrong with this cluster and how to mend it; changes nothing. Exit code 0: nothing; 1: something does not work; 2: something may not',
    )
    .option('--kubeconfig <file>', "an administrator's (default: this control plane's)")
    .addOption(new Option('--check <names>', 'only these checks').argParser(list))
    .option('--json', 'as JSON')
    .addOption(rootfsOption())
    .action(
      action(async (flags: DoctorFlags) => {
        process.exitCode = await (await import('#cmd/doctor/doctor.ts')).runDoctor(flags, print);
      }),
    );
}
