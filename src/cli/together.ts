/** `capstan together`: components that share a process; the supervisor's. */
import type { Command } from 'commander';
import { action } from './context.ts';

/** The commands that services are started by. */
const COMMANDS = [() => import('./apiserver.ts'), () => import('./supervise.ts'), () => import('./node.ts')];

export function register(program: Command): void {
  program
    .command('together', { hidden: true })
    .description('run several components in one process, their words separated by a comma of its own')
    .argument('<words...>')
    .allowUnknownOption()
    .passThroughOptions()
    .action(action(run));
}

async function run(words: string[]): Promise<void> {
  const { loadEverything, WARM } = await import('#cmd/machine/warm.ts');
  if (words[0] !== WARM) return (await import('#cmd/machine/together.ts')).runTogether(words);
  for (const load of COMMANDS) await load();
  await loadEverything();
  // Modules may have opened handles that keep the process alive.
  process.exit(0);
}
