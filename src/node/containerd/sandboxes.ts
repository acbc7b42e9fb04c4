/**
 * Removes unneeded sandboxes: a reboot or a crash leaves every pod's sandbox stopped, and the next start creates a new one. The newest of each pod
 * stays, whatever its state: its containers show how the pod ended, and their logs are those of the previous run.
 */
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { CriClient } from '../cri/client.ts';
import type { PodSandbox } from '../cri/types.ts';

const CALL_DEADLINE_MS = 30_000;

/** Returns how many were removed. What cannot be removed is logged, and tried again at the next start. */
export async function removeOldSandboxes(cri: CriClient, log: Logger): Promise<number> {
  const { items } = await cri.listPodSandbox({});
  let removed = 0;
  for (const { id: podSandboxId } of oldSandboxes(items)) {
    try {
      await cri.stopPodSandbox({ podSandboxId }, { deadlineMs: CALL_DEADLINE_MS });
      await cri.removePodSandbox({ podSandboxId }, { deadlineMs: CALL_DEADLINE_MS });
      removed += 1;
    } catch (error) {
      log.warn('error removing an old sandbox', { podSandboxId, error: errorMessage(error) });
    }
  }
  return removed;
}

/** Sandboxes that are not ready and have a newer one of the same pod. */
export function oldSandboxes<Sandbox extends Pick<PodSandbox, 'createdAt' | 'metadata' | 'state'>>(
  sandboxes: readonly Sandbox[],
): Sandbox[] {
  const newest = new Map<string, bigint | number>();
  for (const { metadata, createdAt } of sandboxes) {
    const uid = metadata?.uid ?? '';
    const before = newest.get(uid);
    if (before === undefined || createdAt > before) newest.set(uid, createdAt);
  }
  return sandboxes.filter(
    ({ metadata, createdAt, state }) =>
      state !== 'SANDBOX_READY' && createdAt < (newest.get(metadata?.uid ?? '') ?? 0),
  );
}
