/** `capstan capacity`: what fits, what is wasted, what breaks first, and how many nodes a Deployment needs. */
import { Option, type Command } from 'commander';
import type { CapacityFlags } from '#cmd/capacity/capacity.ts';
import { action, print, wholeNumber } from './context.ts';
import { rootfsOption } from './machine-options.ts';

/** Of one question. */
const MAX_REPLICAS = 10_000;

export function register(program: Command): void {
  program
    .command('capacity')
    .description(
      'say how full the Nodes are, what is wasted, what breaks first, and how many Nodes a Deployment needs; changes nothing. Exit code 0: all fits; 1: pods fit nowhere, or more Nodes are needed',
    )
    .option('--kubeconfig <file>', "an administrator's (default: this control plane's)")
    .option('--deployment <namespace/name>', 'how many Nodes this Deployment needs')
    .option('--file <file>', 'the same for the Deployment of a manifest')
    .addOption(
      new Option('--replicas <number>', 'instead of those of the Deployment').argParser(
        wholeNumber('replicas', { min: 0, max: MAX_REPLICAS }),
      ),
    )
    .option('--like <node>', 'the Node that more Nodes are like (default: one of the commonest size)')
    .option(
      '--groups <file>',
      'node groups: which of them have to grow for pods that wait, or for the Deployment',
    )
    .option('--json', 'as JSON')
    .addOption(rootfsOption())
    .action(
      action(async (flags: CapacityFlags) => {
        process.exitCode = await (await import('#cmd/capacity/capacity.ts')).runCapacity(flags, print);
      }),
    );
}
