/** `capstan cluster-autoscaler` */
import type { Command } from 'commander';
import { CLUSTER_AUTOSCALER_FLAGS, type ClusterAutoscalerFlags } from '#cmd/cluster-autoscaler/flags.ts';
import { action } from './context.ts';
import { addFlags } from './flag-options.ts';

export function register(program: Command): void {
  addFlags(
    program
      .command('cluster-autoscaler')
      .description('add machines for pods that fit nowhere, and remove those that are not needed'),
    CLUSTER_AUTOSCALER_FLAGS,
  ).action(
    action(async (flags: ClusterAutoscalerFlags) =>
      (await import('#cmd/cluster-autoscaler/run.ts')).runClusterAutoscaler(flags),
    ),
  );
}
