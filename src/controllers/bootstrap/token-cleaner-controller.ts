/** Deletes bootstrap tokens when they expire. After upstream's pkg/controller/bootstrap/tokencleaner. */
import { secrets } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { defineController, type ReconcileResult } from '#runtime/controller.ts';
import { expirationMs, watchTokens } from './tokens.ts';

/** Maximum delay of a timer; a token that expires later is checked again then. */
const LONGEST_WAIT_MS = 24 * 3_600_000;

export const tokenCleanerController = defineController({
  name: 'token-cleaner-controller',
  serviceAccount: 'token-cleaner',
  watches: [watchTokens()],
  async reconcile({ key, api, clock, log, informer }): Promise<ReconcileResult> {
    const secret = informer(secrets).get(key);
    const endMs = secret && expirationMs(secret);
    if (endMs === undefined) return;
    const leftMs = endMs - clock.now();
    if (leftMs > 0) return { requeueAfterMs: Math.min(leftMs, LONGEST_WAIT_MS) };
    const { name, namespace, uid } = secret!.metadata;
    try {
      await api.delete(secrets, { name: name, namespace }, { preconditions: { uid: uid } });
      log.info('deleted expired bootstrap token', { secret: key });
    } catch (error) {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
    }
  },
});
