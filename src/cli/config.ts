/** `capstan config …`: configuration files of init and join: defaults, checks, images. */
import type { Command } from 'commander';
import { action, print } from './context.ts';
import { warnLine } from './machine-options.ts';

const PRINTED = {
  'init-defaults': 'print the InitConfiguration and ClusterConfiguration that init begins with',
  'join-defaults': 'print the JoinConfiguration that join begins with',
  'reset-defaults': 'print the ResetConfiguration that reset begins with',
} as const;

export function register(program: Command): void {
  const config = program.command('config').description('configuration files of init and join');
  const printing = config.command('print').description('print a configuration with its defaults');
  for (const [name, text] of Object.entries(PRINTED))
    printing
      .command(name)
      .description(text)
      .option('--component-configs <kinds>', 'also the defaults of KubeletConfiguration')
      .action(
        action(async ({ componentConfigs }: { readonly componentConfigs?: string }) => {
          const { renderDefaults } = await import('#cmd/machine/config.ts');
          print(renderDefaults(name as keyof typeof PRINTED, { componentConfigs }).trimEnd());
        }),
      );
  config
    .command('validate')
    .description('check a configuration file')
    .requiredOption('--config <file>', 'the file')
    .action(
      action(async ({ config: file }: { readonly config: string }) => {
        const { validateConfig } = await import('#cmd/machine/config.ts');
        for (const warning of validateConfig(file)) warnLine(warning);
        print('ok');
      }),
    );
  config
    .command('images')
    .description('images that a cluster needs')
    .command('list')
    .description('list them: there are none, since every component is a program of the machine')
    .action(action(() => {}));
}
