/** Metrics of the watch caches under upstream's names, computed for each scrape. */
import { Counter, Gauge } from '#stdx/instruments.ts';
import type { ServedEndpoints } from '../registry/endpoints.ts';
import { MAX_WINDOW_EVENTS } from '../watchcache/events.ts';
import type { ResourceCache } from '../watchcache/resource-cache.ts';
import type { WatchCache } from '../watchcache/watch-cache.ts';

/** Lists by source. The index is always empty: names are the only order. */
function listFamilies(): {
  readonly families: readonly Counter[];
  add(labels: string, cache: Pick<ResourceCache, 'lists' | 'historicLists'>): void;
} {
  const of = (
    where: string,
  ): { readonly total: Counter; readonly fetched: Counter; readonly returned: Counter } => ({
    total: new Counter(
      `apiserver_${where}_list_total`,
      `Lists served from the ${where}, by group and resource.`,
    ),
    fetched: new Counter(
      `apiserver_${where}_list_fetched_objects_total`,
      `Objects read from the ${where} for lists, by group and resource.`,
    ),
    returned: new Counter(
      `apiserver_${where}_list_returned_objects_total`,
      `Objects of lists served from the ${where}, by group and resource.`,
    ),
  });
  const cached = of('cache'),
    stored = of('storage');
  const evaluated = new Counter(
    'apiserver_storage_list_evaluated_objects_total',
    'Objects tested for lists served from the storage, by group and resource.',
  );
  const consistent = new Counter(
    'apiserver_watch_cache_consistent_read_total',
    'Lists of the newest revision that the watch cache served, by group, resource, success and fallback.',
  );
  return {
    families: [...Object.values(cached), ...Object.values(stored), evaluated, consistent],
    add(labels, { lists, historicLists }) {
      const indexed = labels.replace(',resource', ',index="",resource');
      if (lists.served > 0) {
        cached.total.add(indexed, lists.served);
        cached.fetched.add(indexed, lists.fetched);
        cached.returned.add(labels, lists.returned);
      }
      if (lists.consistent > 0) consistent.add(`fallback="false",${labels},success="true"`, lists.consistent);
      if (historicLists.served === 0) return;
      stored.total.add(labels, historicLists.served);
      stored.fetched.add(labels, historicLists.fetched);
      evaluated.add(labels, historicLists.fetched);
      stored.returned.add(labels, historicLists.returned);
    },
  };
}

/** Stored objects and the revisions of their caches, by resource. */
export function storageLines(servedEndpoints: ServedEndpoints, cache: WatchCache): string {
  const objects = new Gauge('apiserver_storage_objects', 'Stored objects, by resource.');
  const byGroup = new Gauge('apiserver_resource_objects', 'Stored objects, by group and resource.');
  const stored = new Counter(
    'apiserver_storage_events_received_total',
    'Writes that the store told of, by group and resource.',
  );
  const received = new Counter(
    'apiserver_watch_cache_events_received_total',
    'Writes that the watch cache took in, by group and resource.',
  );
  const dispatched = new Counter(
    'apiserver_watch_cache_events_dispatched_total',
    'Writes that the watch cache handed to watchers, by group and resource.',
  );
  const initial = new Counter(
    'apiserver_init_events_total',
    'Objects handed to watches at their beginning, by group and resource.',
  );
  const lists = listFamilies();
  const fills = new Counter(
    'apiserver_watch_cache_initializations_total',
    'How often the watch cache was filled, by group and resource.',
  );
  const revision = new Gauge(
    'apiserver_watch_cache_resource_version',
    'Revision up to which the watch cache knows all, by group and resource.',
  );
  const capacity = new Gauge(
    'watch_cache_capacity',
    'Events that watches can resume from, by group and resource.',
  );
  const seen = new Set<string>();
  for (const {
    cache: entries,
    groupResource: { group, resource },
  } of servedEndpoints.endpoints) {
    const name = group === '' ? resource : `${resource}.${group}`;
    if (!entries || seen.has(name)) continue;
    seen.add(name);
    const labels = `group="${group}",resource="${resource}"`;
    objects.set(`resource="${name}"`, entries.entries.size);
    byGroup.set(labels, entries.entries.size);
    stored.add(labels, entries.eventsReceived);
    received.add(labels, entries.eventsReceived);
    dispatched.add(labels, entries.eventsReceived);
    if (entries.initialEvents > 0) initial.add(labels, entries.initialEvents);
    lists.add(labels, entries);
    fills.add(labels, entries.fills);
    revision.set(labels, cache.revision);
    capacity.set(labels, MAX_WINDOW_EVENTS);
  }
  return [
    objects,
    byGroup,
    stored,
    received,
    dispatched,
    initial,
    fills,
    revision,
    capacity,
    ...lists.families,
  ]
    .flatMap((family) => family.render())
    .join('\n');
}
