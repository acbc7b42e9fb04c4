/** Local-path volumes of simulated nodes: there are no directories, so a deleted volume is released at once. */
import type { PersistentVolume } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { persistentVolumes } from '#client/refs.ts';
import { LOCAL_PATH_FINALIZER, LOCAL_PATH_NODE, localPathSelector } from '#component-helpers/local-path.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';

/** What simulated nodes say in annotation local-path.capstan.dev/directory. */
export const SIMULATED_DIRECTORY = '/simulated/local-path';
const RETRY_MS = 1_000;

interface SimulatedVolumesOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodes: { has(name: string): boolean };
  /** A single node may act as itself, and then sees no more than its own. */
  readonly only: string | undefined;
  readonly signal: AbortSignal;
}

/** Returns the function that ends it. */
export function followSimulatedVolumes(options: SimulatedVolumesOptions): () => void {
  const { api, only } = options;
  const informer = api.informer(persistentVolumes, {
    labelSelector: only === undefined ? LOCAL_PATH_NODE : localPathSelector(only),
  });
  const look = (volume: Stored<PersistentVolume>): void => void release(volume, options);
  return informer.subscribe({ added: look, updated: look });
}

/** Never rejects. Tried again until it is released, or changed by others: then it comes again. */
async function release(
  { metadata }: Stored<PersistentVolume>,
  { api, clock, log, nodes, signal }: SimulatedVolumesOptions,
): Promise<void> {
  const { name, uid, resourceVersion, deletionTimestamp, finalizers = [], labels } = metadata;
  const isLast = finalizers.length === 1 && finalizers[0] === LOCAL_PATH_FINALIZER;
  if (!deletionTimestamp || !isLast || !nodes.has(labels?.[LOCAL_PATH_NODE] ?? '')) return;
  while (!signal.aborted) {
    try {
      const patch = { metadata: { uid, resourceVersion, finalizers: null } };
      await api.patch(persistentVolumes, { name }, { type: 'merge', patch });
      return;
    } catch (error) {
      if (isStatusError(error, 'NotFound') || isStatusError(error, 'Conflict')) return;
      log.warn('error releasing a deleted volume, retrying', { volume: name, error: errorMessage(error) });
      await clock.sleep(RETRY_MS, signal).catch(() => {});
    }
  }
}
