/** `capstan controller-manager` */
import type { Command } from 'commander';
import { CONTROLLER_MANAGER_FLAGS, type ControllerManagerFlags } from '#cmd/controller-manager/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(
    program.command('controller-manager').description('run the controllers by themselves'),
    CONTROLLER_MANAGER_FLAGS,
  ).action(
    action(async (flags: ControllerManagerFlags) =>
      (await import('#cmd/controller-manager/run.ts')).runControllerManager(flags),
    ),
  );
}
