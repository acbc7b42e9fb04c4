/** The health checks of the API server itself, under upstream's names. */
import type { WatchedStore } from '#storage/writability.ts';
import type { Bootstrap } from '../bootstrap/bootstrap.ts';
import type { ServerCore } from '../server-core.ts';
import { POST_START_HOOKS, type HealthChecks } from './health.ts';

export function addServerChecks(
  health: HealthChecks,
  {
    core,
    bootstrap,
    store,
  }: { readonly core: ServerCore; readonly bootstrap: Bootstrap; readonly store: WatchedStore },
): void {
  health.add({ name: 'ping', check: () => undefined });
  health.add({ name: 'log', check: () => undefined });
  health.add({
    name: 'etcd',
    check: () =>
      core.cache.live
        ? undefined
        : `watch cache not synced${core.cache.problem === undefined ? '' : `: ${core.cache.problem}`}`,
  });
  health.addReadiness({
    name: 'etcd-readiness',
    check() {
      const { problem } = store.stats();
      if (problem !== undefined) return `the store does not answer: ${problem}`;
      return store.writeProblem && `the store is not writable: ${store.writeProblem}`;
    },
  });
  health.addReadiness({
    name: 'informer-sync',
    check: () => (core.cache.live ? undefined : 'the cache is being filled'),
  });
  for (const name of POST_START_HOOKS)
    health.addStart({ name, check: () => (bootstrap.done ? undefined : 'not finished') });
  health.addReadinessLast({
    name: 'shutdown',
    check: () => (core.leaving ? 'process is shutting down' : undefined),
  });
}
