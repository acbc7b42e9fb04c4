/** What `up` prints when the cluster is ready. */
import { join } from 'node:path';
import type { ClusterSettings, DataDir } from '#deploy/data-dir.ts';
import { print } from '../context.ts';

interface Summary {
  readonly dir: DataDir;
  readonly settings: ClusterSettings;
  readonly server: string;
  readonly millis: number;
}

export function summary({ dir, settings, server, millis }: Summary): void {
  const nodes =
    settings.runtime === 'cri'
      ? '1 real node'
      : `${settings.nodes} simulated node${settings.nodes === 1 ? '' : 's'}`;
  print('');
  print(`The cluster is ready (${(millis / 1000).toFixed(1)} s, ${nodes}).`);
  print(`  API server   ${server}`);
  print(`  kubeconfig   ${dir.kubeconfig}`);
  print(`  logs         ${join(dir.logs, 'capstan.log')}`);
  print('');
  print('Next:');
  print(`  export KUBECONFIG=${dir.kubeconfig}`);
  print('  kubectl get nodes');
}
