/** Runs independent writes of one reconcile, some at a time: one that fails does not stop the others. */
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ReconcileContext } from '#runtime/controller.ts';

export type Task = () => Promise<void>;

const PARALLEL = 16;

/** How many failed. What the caches did not know yet is settled by the next reconcile and not logged. */
export async function runTasks(
  { log, signal }: Pick<ReconcileContext, 'log' | 'signal'>,
  tasks: readonly Task[],
): Promise<number> {
  let failed = 0;
  const queue = tasks.values();
  const worker = async (): Promise<void> => {
    for (const task of queue) {
      signal.throwIfAborted();
      await task().catch((error: unknown) => {
        failed++;
        if (!isStale(error)) log.warn('error in the tree of namespaces', { error: errorMessage(error) });
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, tasks.length) }, worker));
  return failed;
}

export function isStale(error: unknown): boolean {
  return (['Conflict', 'NotFound', 'AlreadyExists'] as const).some((reason) => isStatusError(error, reason));
}
