/** Eviction of a pod (policy/v1): as a deletion, unless a PodDisruptionBudget forbids it now. */
import type { Pod } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import type { Client } from './client.ts';
import { pods } from './refs.ts';

/** 'refused': by a budget; it may be asked again later. */
type Eviction = 'accepted' | 'refused' | 'gone';

/** Asks once. Rejects for other errors. gracePeriodSeconds: default the pod's. */
export async function evictPod(
  api: Client,
  { metadata }: Stored<Pod>,
  { gracePeriodSeconds }: { readonly gracePeriodSeconds?: number | undefined } = {},
): Promise<Eviction> {
  const at = { name: metadata.name, namespace: metadata.namespace };
  const deleteOptions = gracePeriodSeconds === undefined ? {} : { deleteOptions: { gracePeriodSeconds } };
  const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: at, ...deleteOptions } as KubeObject;
  try {
    await api.createSubresource(pods, at, { subresource: 'eviction', body, maxRetries: 0 });
    return 'accepted';
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return 'gone';
    if (isStatusError(error, 'TooManyRequests')) return 'refused';
    throw error;
  }
}
