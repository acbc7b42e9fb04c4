/** Repeats what may be repeated while API servers are started again: failed connections and answers of 429 and 500 or more. Everything else is thrown at once. */
import { isTransportError } from '#client/transport-error.ts';
import { UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Clock } from '#stdx/clock.ts';

const PATIENCE_MS = 120_000;
const EVERY_MS = 1_000;

export async function retrying<T>(clock: Clock, work: () => Promise<T>): Promise<T> {
  const begin = clock.monotonic();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isPassing(error) || clock.monotonic() - begin > PATIENCE_MS) throw error;
      await clock.sleep(EVERY_MS);
    }
  }
}

function isPassing(error: unknown): boolean {
  if (isStatusError(error)) return (error.status.code ?? 0) >= 500 || error.status.code === 429;
  return isTransportError(error) || (error instanceof UserError && isPassing(error.cause));
}
