/** `capstan together`: components that share a process; the supervisor's. */
import type { Command } from 'commander';
import { action } from './context.ts';

export function register(program: Command): void {
  program
    .command('together', { hidden: true })
    .description('run several components in one process, their words separated by a comma of its own')
    .argument('<words...>')
    .allowUnknownOption()
    .passThroughOptions()
    .action(action(async (words: string[]) => (await import('#cmd/machine/together.ts')).runTogether(words)));
}
