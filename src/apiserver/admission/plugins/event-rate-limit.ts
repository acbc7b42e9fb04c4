/**
 * EventRateLimit: events beyond a rate are refused with 429, counted for the whole server, for each namespace, user, or source and object.
 * Buckets that were not used for longest are forgotten beyond cacheSize.
 */
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { aggregate } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

export type EventLimitType = 'Server' | 'Namespace' | 'User' | 'SourceAndObject';
export interface EventLimit {
  readonly type: EventLimitType;
  /** Events a second. */ readonly qps: number;
  readonly burst: number;
  /** Default 4096. */ readonly cacheSize?: number | undefined;
}

const DEFAULT_CACHE_SIZE = 4096;

const KEYS: Readonly<Record<EventLimitType, (attributes: AdmissionAttributes) => string>> = {
  Server: () => '',
  Namespace: ({ namespace }) => namespace,
  User: ({ user }) => user.name,
  SourceAndObject: ({ object }) => sourceAndObject(object!),
};

export function eventRateLimit(
  limits: readonly EventLimit[],
  nowMs: () => number = () => performance.now(),
): AdmissionPlugin {
  const limiters = limits.map((limit) => new Limiter(limit, nowMs));
  return {
    name: 'EventRateLimit',
    handles: (operation, { group, resource, subresource }) =>
      (operation === 'CREATE' || operation === 'UPDATE') &&
      resource === 'events' &&
      (group === '' || group === 'events.k8s.io') &&
      subresource === '',
    validate(attributes) {
      if (attributes.dryRun) return;
      // Each counts it, whatever the others say.
      const reached = limiters.flatMap((limiter) => limiter.refusal(attributes) ?? []);
      if (reached.length > 0) throw statusErrors.tooManyRequests(`Too many requests: ${aggregate(reached)}`);
    },
  };
}

interface Bucket {
  tokens: number;
  atMs: number;
}

class Limiter {
  readonly #limit: EventLimit;
  readonly #nowMs: () => number;
  /** The one used last comes last. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(limit: EventLimit, nowMs: () => number) {
    this.#limit = limit;
    this.#nowMs = nowMs;
  }

  refusal(attributes: AdmissionAttributes): string | undefined {
    const { type, qps, burst, cacheSize } = this.#limit;
    const key = KEYS[type](attributes),
      nowMs = this.#nowMs();
    const bucket = this.#buckets.get(key) ?? { tokens: burst, atMs: nowMs };
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > (cacheSize || DEFAULT_CACHE_SIZE))
      this.#buckets.delete(this.#buckets.keys().next().value!);
    bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * qps);
    bucket.atMs = nowMs;
    if (bucket.tokens < 1) return `limit reached on type ${type} for key ${key}`;
    bucket.tokens--;
    return undefined;
  }
}

function sourceAndObject(event: KubeObject): string {
  const { source = {}, involvedObject = {} } = event as {
    source?: Record<string, string>;
    involvedObject?: Record<string, string>;
  };
  return [
    source['component'],
    source['host'],
    involvedObject['kind'],
    involvedObject['namespace'],
    involvedObject['name'],
    involvedObject['uid'],
    involvedObject['apiVersion'],
  ]
    .map((part) => part ?? '')
    .join('');
}
