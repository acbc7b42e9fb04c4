/** `capstan readiness`: a scorecard of a cluster by the "Production environment" page of the Kubernetes documentation. */
import { Option, type Command } from 'commander';
import { OUTPUT_FORMATS, type ReadinessFlags } from '#cmd/readiness/readiness.ts';
import { action, list, print } from './context.ts';
import { rootfsOption } from './machine-options.ts';

export function register(program: Command): void {
  program
    .command('readiness')
    .description(
      'a scorecard of any cluster: each line of the "Production environment" page, with evidence and what to do. Exit code 0: all that is known is met; 1: a row is not met; 2: a row is met in part',
    )
    .option('--kubeconfig <file>', "an administrator's (default: this control plane's, else $KUBECONFIG)")
    .addOption(new Option('--row <names>', 'only these rows').argParser(list))
    .option('--explain', 'say what each row looks at and what counts, and ask no cluster')
    .option('--fix', 'make the changes that cannot disturb what runs, and say them')
    .addOption(
      new Option('-o, --output <format>', 'how it is written').choices(OUTPUT_FORMATS).default('text'),
    )
    .option('--file <path>', 'write it there instead of to stdout')
    .addOption(rootfsOption())
    .action(
      action(async (flags: ReadinessFlags) => {
        process.exitCode = await (await import('#cmd/readiness/readiness.ts')).runReadiness(flags, print);
      }),
    );
}
