/** `capstan scheduler`: the scheduler as a program of its own. */
import { createScheduler } from '#scheduler/scheduler.ts';
import { runComponent, type ComponentFlags } from '../run-component.ts';

export interface SchedulerFlags extends ComponentFlags {
  /** Default true. */
  readonly leaderElect?: boolean;
}

export function runScheduler(flags: SchedulerFlags): Promise<void> {
  return runComponent({
    name: 'kube-scheduler',
    flags,
    create: (context) =>
      createScheduler({ ...context, ...(flags.leaderElect === false ? { leaderElect: false } : {}) }),
  });
}
