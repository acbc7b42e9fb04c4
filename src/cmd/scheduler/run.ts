/** `capstan scheduler`: the scheduler as a program of its own. */
import { createScheduler } from '#scheduler/scheduler.ts';
import { electionFrom } from '../flags/common.ts';
import { runComponent } from '../run-component.ts';
import type { SchedulerFlags } from './flags.ts';

const NAME = 'kube-scheduler';

export function runScheduler(flags: SchedulerFlags): Promise<void> {
  const leaderElect = electionFrom(flags, NAME);
  return runComponent({
    name: NAME,
    flags,
    create: (context) => createScheduler({ ...context, leaderElect }),
  });
}
