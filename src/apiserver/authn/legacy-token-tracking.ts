/**
 * Records the date since which uses of legacy tokens are tracked, from which the cleaner (legacy-service-account-token-cleaner-controller) counts.
 * After upstream's legacy token tracking controller.
 */
import { isoDay } from '#stdx/dates.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { InternalApi } from '../registry/loopback-client.ts';

const CONFIG_MAPS = { group: '', resource: 'configmaps' };
const NAME = { namespace: 'kube-system', name: 'kube-apiserver-legacy-service-account-token-tracking' };

export async function trackLegacyTokens(internal: InternalApi, nowMs: number): Promise<void> {
  const since = isoDay(nowMs);
  const current = internal.get(CONFIG_MAPS, NAME);
  if (!current) {
    await internal
      .create(CONFIG_MAPS, { apiVersion: 'v1', kind: 'ConfigMap', metadata: NAME, data: { since } })
      .catch((error: unknown) => {
        // Another server was faster.
        if (!isStatusError(error, 'AlreadyExists')) throw error;
      });
    return;
  }
  if (isDate((current['data'] as Record<string, string> | undefined)?.['since'])) return;
  await internal.modify(CONFIG_MAPS, NAME, (map) => {
    map['data'] = { ...(map['data'] as object), since };
  });
}

function isDate(text: string | undefined): boolean {
  return text !== undefined && /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));
}
