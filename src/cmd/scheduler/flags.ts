/** The flags of `capstan scheduler`, one entry a flag, with upstream's names; upstream's others are refused by name. */
import { COMPONENT_FLAGS, ELECTION_FLAGS } from '../flags/common.ts';
import { refusedFlags, type GivenFlags } from '../flags/define.ts';

export const SCHEDULER_FLAGS = {
  ...COMPONENT_FLAGS,
  ...ELECTION_FLAGS,
  ...refusedFlags('there are no feature gates of the scheduler', ['feature-gates']),
  ...refusedFlags('pods stay in the queue until they change or a node may take them', [
    'pod-max-in-unschedulable-pods-duration',
  ]),
  ...refusedFlags('the configuration is not written out: see /configz', ['write-config-to']),
};

export type SchedulerFlags = GivenFlags<typeof SCHEDULER_FLAGS>;
