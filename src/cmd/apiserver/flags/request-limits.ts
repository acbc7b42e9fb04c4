/** Flags that bound what the server takes on: requests at a time, priority and fairness, how long one may take, how connections are spread. */
import type { RequestLimits } from '#apiserver/flowcontrol/flow-control.ts';
import { UserError } from '#deploy/data-dir.ts';
import { durationMsOf, numberOf, yesOrNoOf, type FlagText } from './values.ts';

export const REQUEST_LIMIT_FLAGS: Readonly<Record<string, string>> = {
  '--max-requests-inflight <n>':
    'reading requests at a time; with priority and fairness, seats of all requests with the next one (default: 400)',
  '--max-mutating-requests-inflight <n>': 'writing requests at a time, or further seats (default: 200)',
  '--enable-priority-and-fairness [true|false]':
    'queue and divide requests by FlowSchemas rather than only count them (default: true)',
  '--request-timeout <duration>': 'how long a request may take, but for watches and streams (default: 1m)',
  '--min-request-timeout <seconds>':
    'how long a watch lasts at least whose client does not say; up to twice as long (default: 1800)',
  '--shutdown-delay-duration <duration>':
    'how long to go on serving after being told to stop, with /readyz failing (default: 0s)',
  '--goaway-chance <fraction>':
    'share of HTTP/2 requests after which the client is asked to connect anew, up to 0.02 (default: 0)',
};

export interface RequestLimitFlags {
  readonly maxRequestsInflight?: FlagText;
  readonly maxMutatingRequestsInflight?: FlagText;
  readonly enablePriorityAndFairness?: FlagText;
  readonly requestTimeout?: FlagText;
  readonly minRequestTimeout?: FlagText;
  readonly shutdownDelayDuration?: FlagText;
  readonly goawayChance?: FlagText;
}

interface RequestLimitSettings {
  readonly requestLimits: RequestLimits;
  readonly goawayChance: number;
  readonly shutdownDelayMs: number;
}

const MAX_GOAWAY_CHANCE = 0.02;

export function requestLimitsFrom(flags: RequestLimitFlags): RequestLimitSettings {
  const reads = numberOf('--max-requests-inflight', flags.maxRequestsInflight, { min: 0 });
  const writes = numberOf('--max-mutating-requests-inflight', flags.maxMutatingRequestsInflight, { min: 0 });
  const fair = yesOrNoOf('--enable-priority-and-fairness', flags.enablePriorityAndFairness);
  const timeoutMs = durationMsOf('--request-timeout', flags.requestTimeout);
  const minWatchSeconds = numberOf('--min-request-timeout', flags.minRequestTimeout, { min: 1 });
  if (timeoutMs === 0) throw new UserError('--request-timeout is 0; it should be longer.');
  if (fair !== false && reads === 0 && writes === 0)
    throw new UserError(
      '--max-requests-inflight and --max-mutating-requests-inflight are both 0; with priority and fairness there must be some seats.',
    );
  return {
    requestLimits: {
      ...(reads === undefined ? {} : { maxRequestsInFlight: reads }),
      ...(writes === undefined ? {} : { maxMutatingRequestsInFlight: writes }),
      ...(fair === undefined ? {} : { priorityAndFairness: fair }),
      ...(timeoutMs === undefined ? {} : { requestTimeoutMs: timeoutMs }),
      ...(minWatchSeconds === undefined ? {} : { minWatchMs: minWatchSeconds * 1000 }),
    },
    shutdownDelayMs: durationMsOf('--shutdown-delay-duration', flags.shutdownDelayDuration) ?? 0,
    goawayChance:
      numberOf('--goaway-chance', flags.goawayChance, { min: 0, max: MAX_GOAWAY_CHANCE, whole: false }) ?? 0,
  };
}
