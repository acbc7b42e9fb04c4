/** `capstan scheduler` */
import type { Command } from 'commander';
import { SCHEDULER_FLAGS, type SchedulerFlags } from '#cmd/scheduler/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(program.command('scheduler').description('run the scheduler by itself'), SCHEDULER_FLAGS).action(
    action(async (flags: SchedulerFlags) => (await import('#cmd/scheduler/run.ts')).runScheduler(flags)),
  );
}
