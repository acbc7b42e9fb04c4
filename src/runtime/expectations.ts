/**
 * Creations and deletions that a controller requested and has not observed in its cache, after upstream's ControllerExpectations: a ReplicaSet that
 * just created three pods must not create three more because its informer is behind. Not a lock and not durable: unmet expectations
 * expire after five minutes, and a restarted controller has none.
 *
 *   reconcile: `if (!expectations.satisfied(key)) return;` … `expectations.expectCreations(key, 3)` … create; on a failed create
 *   `expectations.creationObserved(key)`. In a watch source's keys() for an added pod: `creationObserved(ownerKey)`.
 */
import { realClock, type Clock } from '#stdx/clock.ts';

const TIMEOUT_MS = 300_000;

interface Expected {
  creations: number;
  deletions: number;
  /** Objects whose deletion is expected, by name, so that one deletion is not counted twice. */
  readonly deletionKeys: Set<string>;
  readonly sinceMs: number;
}

export class Expectations {
  readonly #clock: Clock;
  readonly #expected = new Map<string, Expected>();

  constructor(clock: Clock = realClock) {
    this.#clock = clock;
  }

  /** True when all were observed, none exist, or they expired. */
  satisfied(key: string): boolean {
    const expected = this.#expected.get(key);
    if (!expected) return true;
    const met = expected.creations <= 0 && expected.deletions <= 0 && expected.deletionKeys.size === 0;
    return met || this.#clock.monotonic() - expected.sinceMs > TIMEOUT_MS;
  }

  /** Milliseconds after which satisfied() becomes true by expiry; undefined when it is true already. Requeue after it. */
  expiresInMs(key: string): number | undefined {
    const expected = this.#expected.get(key);
    return !expected || this.satisfied(key)
      ? undefined
      : expected.sinceMs + TIMEOUT_MS - this.#clock.monotonic() + 1;
  }

  /** Replaces the expectations of the key. Call it before the requests are sent. Deletions by number, or by the objects ('namespace/name', or uids). */
  expect(
    key: string,
    {
      creations = 0,
      deletions = 0,
    }: { readonly creations?: number; readonly deletions?: number | readonly string[] },
  ): void {
    const byKey = typeof deletions !== 'number';
    this.#expected.set(key, {
      creations,
      deletions: byKey ? 0 : deletions,
      deletionKeys: new Set(byKey ? deletions : []),
      sinceMs: this.#clock.monotonic(),
    });
  }

  expectCreations(key: string, count: number): void {
    this.expect(key, { creations: count });
  }

  /** Replaces the expectations of the key with the deletion of these objects ('namespace/name', or uids). */
  expectDeletions(key: string, objects: readonly string[]): void {
    this.expect(key, { deletions: objects });
  }

  /** One creation was observed, or its request failed. */
  creationObserved(key: string): void {
    const expected = this.#expected.get(key);
    if (expected) expected.creations -= 1;
  }

  /** One deletion was observed, or its request failed. With the object's key it is counted only once. */
  deletionObserved(key: string, object?: string): void {
    const expected = this.#expected.get(key);
    if (!expected) return;
    if (object === undefined || !expected.deletionKeys.delete(object))
      expected.deletions -= expected.deletions > 0 ? 1 : 0;
  }

  /** Removes expectations for requests that were not sent (slow start stopped). */
  lower(
    key: string,
    { creations = 0, deletions = 0 }: { readonly creations?: number; readonly deletions?: number },
  ): void {
    const expected = this.#expected.get(key);
    if (!expected) return;
    expected.creations -= creations;
    expected.deletions -= deletions;
  }

  /** The owner was deleted. */
  forget(key: string): void {
    this.#expected.delete(key);
  }
}
