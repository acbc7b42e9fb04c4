/** Phase wait-control-plane: waits until the API server of this machine is ready; at the timeout it names the failed service and its log. */
import { pollDelayMs } from '#stdx/backoff.ts';
import { timeoutMs } from '../../config/defaults.ts';
import { UserError } from '../../data-dir.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';

const LOOK = { minimumMs: 100, maximumMs: 5_000 };

export const waitControlPlane: Phase<InitContext> = {
  name: 'wait-control-plane',
  short: 'Wait for the control plane to start',
  async run({ init, paths, clock, print, dryRun, program }) {
    if (dryRun) return print('[wait-control-plane] Would wait until the API server is ready');
    const limitMs = timeoutMs(init.timeouts, 'controlPlaneComponentHealthCheck');
    print(
      `[wait-control-plane] Waiting for the API server at this machine to become ready. This can take up to ${limitMs / 1000}s`,
    );
    const begin = clock.monotonic();
    for (;;) {
      const problem = await program.apiServerProblem();
      const tookMs = clock.monotonic() - begin;
      if (problem === undefined)
        return print(`[wait-control-plane] The API server is ready after ${(tookMs / 1000).toFixed(1)}s`);
      if (tookMs > limitMs)
        throw new UserError(
          `the API server is not ready after ${limitMs / 1000} s (${problem}). ${(await program.failedService()) ?? 'No service has failed'}; the logs are in ${paths.logs}, and \`capstan status\` shows every service.`,
        );
      await clock.sleep(pollDelayMs(tookMs, LOOK));
    }
  },
};
