/** What a power cut leaves: the cluster's containerd, shims and container processes are gone in an instant, the files stay. */
import { containerdDir } from '#cmd/node/containerd-dir.ts';
import { dataDir } from '#deploy/data-dir.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { findProcess } from '#node/containerd/process.ts';
import { killLeftovers } from '#node/containerd/teardown.ts';
import { realClock } from '#stdx/clock.ts';
import { until } from './cluster.ts';
import { processStartTime } from '#stdx/process-lock.ts';

/** SIGKILL to containerd of the data directory, then to all that it ran. The program must be gone already, or it would start containerd again. */
export async function killMachineProcesses(path: string): Promise<void> {
  const layout = containerdLayout({ dir: containerdDir(dataDir(path)) });
  const containerd = await findProcess(layout);
  if (containerd) {
    process.kill(containerd.pid, 'SIGKILL');
    await until('containerd to be gone', () => processStartTime(containerd.pid) === undefined, 10_000);
  }
  const left = await killLeftovers(layout, realClock);
  if (left.length > 0) throw new Error(left.join('; '));
}
