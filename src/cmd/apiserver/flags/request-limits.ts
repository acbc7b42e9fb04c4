/** Flags of concurrency and timeouts: combinations that are refused. flags.ts maps each to its setting. */
import { UserError } from '#deploy/data-dir.ts';
import { readFlags, collectSettings, type GivenFlags } from '../../flags/define.ts';
import { REQUEST_LIMIT_FLAGS } from '../flags.ts';
import type { ApiServerSettings } from '../settings.ts';

export function requestLimitsFrom(flags: GivenFlags<typeof REQUEST_LIMIT_FLAGS>): ApiServerSettings {
  const { requestTimeout, enablePriorityAndFairness, maxRequestsInflight, maxMutatingRequestsInflight } =
    readFlags(REQUEST_LIMIT_FLAGS, flags);
  if (requestTimeout === 0) throw new UserError('--request-timeout is 0; it should be longer.');
  if (enablePriorityAndFairness !== false && maxRequestsInflight === 0 && maxMutatingRequestsInflight === 0)
    throw new UserError(
      '--max-requests-inflight and --max-mutating-requests-inflight are both 0; with priority and fairness there must be some seats.',
    );
  return { requestLimits: {}, ...collectSettings<ApiServerSettings>(REQUEST_LIMIT_FLAGS, flags) };
}
