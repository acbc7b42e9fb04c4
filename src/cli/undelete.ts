/** `capstan undelete`: writes an object again that was deleted, as history has it. */
import type { Command } from 'commander';
import type { UndeleteFlags } from '#cmd/history/undelete.ts';
import { action, print, wholeNumber } from './context.ts';
import { warn, withServer } from './history.ts';

export function register(program: Command): void {
  withServer(program.command('undelete'))
    .description('create an object again that was deleted, as history has it')
    .argument('<resource>', 'as kubectl names it, custom resources as PLURAL.GROUP')
    .argument('<name>', 'of the object')
    .option(
      '--revision <n>',
      'of the deletion that is taken back (default: the newest)',
      wholeNumber('revision', { min: 1, max: Number.MAX_SAFE_INTEGER }),
    )
    .option('--dry-run', 'only show what would be created')
    .option('--json', 'print JSON')
    .action(
      action(async (resource: string, name: string, flags: UndeleteFlags) => {
        const { undelete } = await import('#cmd/history/undelete.ts');
        await undelete({ ...flags, resource, name }, { say: print, warn });
      }),
    );
}
