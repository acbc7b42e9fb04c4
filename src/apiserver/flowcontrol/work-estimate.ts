/**
 * The seats of a request and their duration after it: lists by the size of the listed objects, writes by the number of watchers to notify.
 * After upstream's util/flowcontrol/request (list by object size, the default since 1.34).
 */
import { serviceAccounts } from '#api/refs.ts';
import type { Clock } from '#stdx/clock.ts';
import type { ResourceCache } from '../watchcache/resource-cache.ts';
import { isTrue, type RequestInfo } from '../http/request-info.ts';
import type { FlowStats, Work } from './queue-set.ts';

const ONE_SEAT: Work = { seats: 1, finalSeats: 0, extraMs: 0 };
const BYTES_PER_SEAT = 100_000;
/** A list from the cache goes out in pieces: no more than this is in memory for it at once. */
const STREAMED_BYTES = 1_000_000;
const WATCHES_PER_SEAT = 10;
const EVENT_MS = 5;
const MAX_WRITE_SEATS = 10;
const MAX_LIST_SEATS = 100;

interface Estimated {
  readonly info: RequestInfo;
  readonly stats: FlowStats;
  /** Of the priority level; 0 = none. */ readonly maxSeats: number;
}

export class WorkEstimator {
  readonly #clock: Clock;
  readonly #cacheOf: (group: string, resource: string) => ResourceCache | undefined;
  readonly #sizes = new WeakMap<ResourceCache, { readonly atMs: number; readonly bytes: number }>();

  constructor({
    clock,
    cacheOf,
  }: {
    readonly clock: Clock;
    readonly cacheOf: (group: string, resource: string) => ResourceCache | undefined;
  }) {
    this.#clock = clock;
    this.#cacheOf = cacheOf;
  }

  estimate(estimated: Estimated): Work {
    const { info } = estimated;
    if (!info.isResourceRequest) return ONE_SEAT;
    switch (info.verb) {
      case 'list':
        return this.#list(estimated);
      case 'watch':
        return isTrue(info.query['sendInitialEvents']) ? this.#list(estimated) : ONE_SEAT;
      case 'create':
      case 'update':
      case 'patch':
      case 'delete':
        return this.#write(estimated);
      default:
        return ONE_SEAT;
    }
  }

  #list({ info, maxSeats }: Estimated): Work {
    const cache = info.name === '' ? this.#cacheOf(info.group, info.resource) : undefined;
    if (!cache) return ONE_SEAT;
    const stored = cache.entries.size;
    const limit = Number(info.query['limit'] ?? 0);
    const listed = limit > 0 && limit < stored ? limit : stored;
    const { query } = info;
    const fromCache =
      info.verb === 'watch' || (query['continue'] === undefined && query['resourceVersionMatch'] !== 'Exact');
    const selects = query['fieldSelector'] || query['labelSelector'];
    const loaded = !fromCache && selects ? Math.max(listed, stored / 2) : listed;
    if (loaded === 0) return ONE_SEAT;
    const bytes = loaded * this.#sizeOf(cache);
    const most = maxSeats > 0 ? Math.min(maxSeats, MAX_LIST_SEATS) : MAX_LIST_SEATS;
    const seats = Math.min(
      most,
      Math.ceil((fromCache ? Math.min(bytes, STREAMED_BYTES) : bytes) / BYTES_PER_SEAT),
    );
    return seats <= 1 ? ONE_SEAT : { seats, finalSeats: 0, extraMs: 0 };
  }

  #write({ info, stats, maxSeats }: Estimated): Work {
    if (info.resource === serviceAccounts.plural && info.subresource === 'token') return ONE_SEAT;
    const watchers = this.#cacheOf(info.group, info.resource)?.listenersOf(info) ?? 0;
    stats.watchCounts.observe(watchers);
    if (watchers < WATCHES_PER_SEAT) return ONE_SEAT;
    const wanted = Math.ceil(watchers / WATCHES_PER_SEAT);
    const most = maxSeats > 0 ? Math.min(maxSeats, MAX_WRITE_SEATS) : MAX_WRITE_SEATS;
    const finalSeats = Math.min(wanted, most);
    // The same work, narrower and longer.
    return { seats: 1, finalSeats, extraMs: (EVENT_MS * wanted) / finalSeats };
  }

  /** The average of a few. */
  #sizeOf(cache: ResourceCache): number {
    const atMs = this.#clock.monotonic();
    const known = this.#sizes.get(cache);
    if (known && atMs - known.atMs < SAMPLE_EVERY_MS) return known.bytes;
    const sample = cache.entries.list('', { limit: SAMPLE_SIZE });
    const bytes = sample.reduce((sum, entry) => sum + entry.byteLength, 0) / Math.max(1, sample.length);
    this.#sizes.set(cache, { atMs, bytes });
    return bytes;
  }
}

const SAMPLE_EVERY_MS = 10_000;
const SAMPLE_SIZE = 32;
