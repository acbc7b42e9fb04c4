/** `capstan balancer`: the local balancer as a program. It starts before any API server is ready, so it waits for none. */
import { loggerFrom } from '../flags/common.ts';
import { composeBalancer, listenError } from './compose.ts';
import type { BalancerFlags } from './flags.ts';

export async function runBalancer(flags: BalancerFlags): Promise<void> {
  const log = loggerFrom(flags, 'balancer');
  const ended = Promise.withResolvers<void>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => {
      log.info('stopping', { signal });
      ended.resolve();
    });
  const { balancer, close } = composeBalancer(flags, log);
  balancer.onFailure?.((error) => ended.reject(error));
  try {
    await balancer.start().catch((error: unknown) => {
      throw listenError(error);
    });
    await ended.promise;
  } finally {
    await balancer.stop();
    await close();
  }
  log.info('stopped');
}
