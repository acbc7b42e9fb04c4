/**
 * Correlates events: returns whether to create a new Event, increase the count of an existing one, or drop it. Rules and numbers are those of
 * upstream's client-go correlator: more than ten similar events (same object, type and reason; other message) within ten minutes
 * are aggregated into one; the same event again increases its count; one source may emit a burst of 25 events about one object, then
 * one every five minutes. Pure except for the clock; sends nothing.
 */
import type { KubeObject } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import { Lru } from '#stdx/lru.ts';

export interface ObjectReference {
  apiVersion?: string;
  kind?: string;
  namespace?: string;
  name?: string;
  uid?: string;
  resourceVersion?: string;
  fieldPath?: string;
}

/** A core/v1 Event. */
export interface CoreEvent extends KubeObject {
  metadata: {
    name: string;
    namespace: string;
    resourceVersion?: string;
    annotations?: Readonly<Record<string, string>>;
  };
  involvedObject: ObjectReference;
  reason: string;
  message: string;
  source: { component?: string; host?: string };
  type: string;
  firstTimestamp: string;
  lastTimestamp: string;
  count: number;
  eventTime?: string | null;
  action?: string;
  reportingComponent: string;
  reportingInstance: string;
}

export type Correlated =
  | { readonly kind: 'create'; readonly event: CoreEvent; readonly countKey: string }
  /** The event exists on the server as event.metadata.name: patch count, message and lastTimestamp. */
  | { readonly kind: 'count'; readonly event: CoreEvent; readonly countKey: string }
  | { readonly kind: 'drop' };

const MAX_CACHED = 4096;
const SIMILAR_MAX = 10;
const SIMILAR_INTERVAL_MS = 600_000;
const SPAM_BURST = 25;
const SPAM_REFILL_MS = 300_000;
const COMBINED = '(combined from similar events): ';

interface Similar {
  readonly messages: Set<string>;
  lastMs: number;
}
interface Counted {
  readonly name: string;
  readonly namespace: string;
  readonly count: number;
  readonly firstTimestamp: string;
  readonly resourceVersion: string | undefined;
}
interface Bucket {
  tokens: number;
  atMs: number;
}

export class EventCorrelator {
  readonly #clock: Clock;
  readonly #similar: Lru<string, Similar>;
  readonly #counted: Lru<string, Counted>;
  readonly #buckets: Lru<string, Bucket>;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#similar = new Lru({ maximum: MAX_CACHED, clock });
    this.#counted = new Lru({ maximum: MAX_CACHED, clock });
    this.#buckets = new Lru({ maximum: MAX_CACHED, clock });
  }

  correlate(event: CoreEvent): Correlated {
    const { combined, countKey } = this.#combine(event);
    const known = this.#counted.get(countKey);
    const next: CoreEvent = { ...event, ...(combined ? { message: COMBINED + event.message } : {}) };
    if (known) {
      next.metadata = {
        name: known.name,
        namespace: known.namespace,
        ...(known.resourceVersion ? { resourceVersion: known.resourceVersion } : {}),
      };
      next.count = known.count + 1;
      next.firstTimestamp = known.firstTimestamp;
    }
    this.#remember(countKey, next);
    if (!this.#takeToken(event)) return { kind: 'drop' };
    return { kind: known ? 'count' : 'create', event: next, countKey };
  }

  /** Records the server's response, for the next count. */
  recorded(countKey: string, event: CoreEvent): void {
    this.#remember(countKey, event);
  }

  #remember(countKey: string, event: CoreEvent): void {
    this.#counted.set(countKey, {
      name: event.metadata.name,
      namespace: event.metadata.namespace,
      count: event.count,
      firstTimestamp: event.firstTimestamp,
      resourceVersion: event.metadata.resourceVersion,
    });
  }

  #combine(event: CoreEvent): { combined: boolean; countKey: string } {
    const similarKey = [
      sourceKey(event),
      event.type,
      event.reason,
      event.reportingComponent,
      event.reportingInstance,
    ].join('\0');
    const nowMs = this.#clock.monotonic();
    let similar = this.#similar.get(similarKey);
    if (!similar || nowMs - similar.lastMs > SIMILAR_INTERVAL_MS)
      similar = { messages: new Set(), lastMs: nowMs };
    similar.messages.add(event.message);
    similar.lastMs = nowMs;
    this.#similar.set(similarKey, similar);
    if (similar.messages.size < SIMILAR_MAX)
      return {
        combined: false,
        countKey: [similarKey, event.message, event.involvedObject.fieldPath ?? ''].join('\0'),
      };
    // Drops one message to keep the set bounded; further ones fill it up again.
    const oldest = similar.messages.values().next().value;
    if (oldest !== undefined) similar.messages.delete(oldest);
    return { combined: true, countKey: `${similarKey}\0combined` };
  }

  #takeToken(event: CoreEvent): boolean {
    const key = sourceKey(event);
    const nowMs = this.#clock.monotonic();
    const bucket = this.#buckets.get(key) ?? { tokens: SPAM_BURST, atMs: nowMs };
    bucket.tokens = Math.min(SPAM_BURST, bucket.tokens + (nowMs - bucket.atMs) / SPAM_REFILL_MS);
    bucket.atMs = nowMs;
    const allowed = bucket.tokens >= 1;
    if (allowed) bucket.tokens -= 1;
    this.#buckets.set(key, bucket);
    return allowed;
  }
}

function sourceKey({ source, involvedObject: about }: CoreEvent): string {
  return [
    source.component,
    source.host,
    about.kind,
    about.namespace,
    about.name,
    about.uid,
    about.apiVersion,
  ].join('\0');
}
