/** `capstan config …`: configuration files of init and join: defaults, checks, images; and their changes in a running cluster. */
import type { Command } from 'commander';
import { action, print } from './context.ts';
import type { ChangeFlags, PlanFlags } from '#cmd/upgrade/upgrade.ts';
import { confirmChange } from './confirm.ts';
import { rootfsOption, warnLine } from './machine-options.ts';

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
    .command('plan')
    .description(
      'what a changed ClusterConfiguration or KubeletConfiguration, or a further ServiceCIDR, would change of a running cluster. Exit code 0: nothing; 1: something cannot be changed; 2: something would',
    )
    .requiredOption('--config <file>', 'the file')
    .option('--kubeconfig <file>', "an administrator's (default: this control plane's)")
    .option('--json', 'as JSON')
    .addOption(rootfsOption())
    .action(
      action(async (flags: PlanFlags & { readonly config: string }) => {
        const { runConfigPlan } = await import('#cmd/configure/plan.ts');
        process.exitCode = await runConfigPlan(flags, print);
      }),
    );
  config
    .command('apply')
    .description(
      'change flags, ranges of addresses and settings of kubelets, a machine at a time; a gate that stays shut takes it back',
    )
    .requiredOption('--config <file>', 'the file')
    .option('--inventory <file>', 'drive the other machines over ssh, as capstan fleet does')
    .option('--ssh-config <file>', "ssh's settings in place of ~/.ssh/config")
    .option('--here', 'only this machine, without a look at the others')
    .option('--yes', 'do not ask')
    .addOption(rootfsOption())
    .action(
      action(async (flags: ChangeFlags & { readonly config: string; readonly here?: boolean }) => {
        if (flags.here) return (await import('#cmd/configure/here.ts')).configureHere(flags, print);
        const { runConfigApply } = await import('#cmd/configure/apply.ts');
        process.exitCode = await runConfigApply(flags, { print, confirm: confirmChange });
      }),
    );
  config
    .command('images')
    .description('images that a cluster needs')
    .command('list')
    .description('list them: there are none, since every component is a program of the machine')
    .action(action(() => {}));
}
