/** Eviction of a pod (policy/v1): as a deletion, unless a PodDisruptionBudget forbids it now. */
import type { Pod } from '#api/types.ts';
import { isStatusError, type StatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Client } from './client.ts';
import { pods } from './refs.ts';

type Eviction =
  | { readonly kind: 'accepted' | 'gone' }
  /** By a budget, which its cause names; it may be asked again later. */
  | { readonly kind: 'refused'; readonly error: StatusError };

/** Asks once. Rejects for other errors. gracePeriodSeconds: default the pod's. */
export async function evictPod(
  api: Client,
  { metadata }: Pod,
  { gracePeriodSeconds }: { readonly gracePeriodSeconds?: number | undefined } = {},
): Promise<Eviction> {
  const at = { name: metadata?.name ?? '', namespace: metadata?.namespace ?? '' };
  const deleteOptions = gracePeriodSeconds === undefined ? {} : { deleteOptions: { gracePeriodSeconds } };
  const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: at, ...deleteOptions } as KubeObject;
  try {
    await api.createSubresource(pods, at, { subresource: 'eviction', body, maxRetries: 0 });
    return { kind: 'accepted' };
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return { kind: 'gone' };
    if (isStatusError(error, 'TooManyRequests')) return { kind: 'refused', error };
    throw error;
  }
}
