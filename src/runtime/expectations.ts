/**
 * What a controller has asked for and not yet seen in its cache, after upstream's ControllerExpectations: so that a ReplicaSet that
 * just created three pods does not create three more because its informer is behind. Not a lock and not durable: expectations that
 * are not met in five minutes are given up, and a controller that starts anew begins without any.
 *
 *   reconcile: `if (!expectations.satisfied(key)) return;` … `expectations.expectCreations(key, 3)` … create; on a failed create
 *   `expectations.creationObserved(key)`. In a watch source's keys() for an added pod: `creationObserved(ownerKey)`.
 */
import { realClock, type Clock } from '#stdx/clock.ts';

const TIMEOUT_MS = 300_000;

interface Expected {
  creations: number;
  deletions: number;
  /** Objects whose deletion is awaited by name, so that one deletion is not counted twice. */
  readonly deletionKeys: Set<string>;
  readonly sinceMs: number;
}

export class Expectations {
  readonly #clock: Clock;
  readonly #expected = new Map<string, Expected>();

  constructor(clock: Clock = realClock) {
    this.#clock = clock;
  }

  /** True when all is seen, nothing was expected, or it took too long. */
  satisfied(key: string): boolean {
    const expected = this.#expected.get(key);
    if (!expected) return true;
    const met = expected.creations <= 0 && expected.deletions <= 0 && expected.deletionKeys.size === 0;
    return met || this.#clock.monotonic() - expected.sinceMs > TIMEOUT_MS;
  }

  /** Milliseconds after which satisfied() turns true by itself; undefined when it is true already. Requeue after it. */
  expiresInMs(key: string): number | undefined {
    const expected = this.#expected.get(key);
    return !expected || this.satisfied(key)
      ? undefined
      : expected.sinceMs + TIMEOUT_MS - this.#clock.monotonic() + 1;
  }

  /** Replaces what was expected for the key. Call before the requests are sent. Deletions by number, or by the objects ('namespace/name', or uids). */
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

  /** Replaces what was expected for the key with the deletion of these objects ('namespace/name', or uids). */
  expectDeletions(key: string, objects: readonly string[]): void {
    this.expect(key, { deletions: objects });
  }

  /** One creation was seen, or its request failed. */
  creationObserved(key: string): void {
    const expected = this.#expected.get(key);
    if (expected) expected.creations -= 1;
  }

  /** One deletion was seen, or its request failed. With the object's key it is counted once however often it is seen. */
  deletionObserved(key: string, object?: string): void {
    const expected = this.#expected.get(key);
    if (!expected) return;
    if (object === undefined || !expected.deletionKeys.delete(object))
      expected.deletions -= expected.deletions > 0 ? 1 : 0;
  }

  /** Further requests of the same round that are not sent after all (slow start was cut short). */
  lower(
    key: string,
    { creations = 0, deletions = 0 }: { readonly creations?: number; readonly deletions?: number },
  ): void {
    const expected = this.#expected.get(key);
    if (!expected) return;
    expected.creations -= creations;
    expected.deletions -= deletions;
  }

  /** The owner is gone. */
  forget(key: string): void {
    this.#expected.delete(key);
  }
}
