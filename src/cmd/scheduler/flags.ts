/** The flags of `capstan scheduler`, one entry a flag, with upstream's names; upstream's others are refused by name. */
import type { SchedulerOptions } from '#scheduler/scheduler.ts';
import { COMPONENT_FLAGS, ELECTION_FLAGS } from '../flags/common.ts';
import { ACCESS_FLAGS, portFlags } from '../flags/endpoints.ts';
import { VERSION_FLAGS } from '../flags/versions.ts';
import { flagKinds, refusedFlags, type GivenFlags } from '../flags/define.ts';

/** Settings of the scheduler from flags. */
export type SchedulerSettings = Partial<
  Pick<SchedulerOptions, 'leaderElect' | 'profiles' | 'extenders' | 'backoff' | 'features'>
>;

const flag = flagKinds<SchedulerSettings>();

export const PROFILE_FLAGS = {
  'percentage-of-nodes-to-score': flag.number({
    max: 100,
    help: 'share of the nodes that may take a pod at which the search ends, 0 for one that falls with the size of the cluster',
    default: 0,
    own: true,
  }),
  'pod-initial-backoff': flag.duration({
    help: 'how long a pod waits before it is tried again for the first time',
    default: '1s',
    own: true,
  }),
  'pod-max-backoff': flag.duration({
    help: 'how long it waits at most',
    default: '10s',
    own: true,
  }),
  'feature-gates': flag.text({
    placeholder: '<settings>',
    help: 'feature gates: GenericWorkload=true,GangScheduling=true',
  }),
  /** Of a file only. */
  profiles: flag.text({ help: '', hidden: true }),
  extenders: flag.text({ help: '', hidden: true }),
};

export const PORT_FLAGS = portFlags(10_259);

export const SCHEDULER_FLAGS = {
  config: flag.file({
    help: 'configuration from a file of kind KubeSchedulerConfiguration; flags take precedence',
  }),
  ...COMPONENT_FLAGS,
  ...ELECTION_FLAGS,
  ...PORT_FLAGS,
  ...ACCESS_FLAGS,
  ...VERSION_FLAGS,
  ...PROFILE_FLAGS,
  ...refusedFlags('unschedulable pods are tried again after 5 minutes at the latest', [
    'pod-max-in-unschedulable-pods-duration',
  ]),
  ...refusedFlags('the configuration is not written to a file', ['write-config-to']),
};

export type SchedulerFlags = GivenFlags<typeof SCHEDULER_FLAGS>;
