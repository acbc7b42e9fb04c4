/** `capstan scheduler` */
import type { Command } from 'commander';
import type { SchedulerFlags } from '#cmd/scheduler/run.ts';
import { componentOptions, electionOptions, loggingOptions } from './component-options.ts';
import { action } from './context.ts';

export function register(program: Command): void {
  const command = program.command('scheduler').description('run the scheduler by itself');
  loggingOptions(electionOptions(componentOptions(command))).action(
    action(async (flags: SchedulerFlags) => (await import('#cmd/scheduler/run.ts')).runScheduler(flags)),
  );
}
