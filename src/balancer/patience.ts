/**
 * How long a check may take. On a machine that has too much to do every API server answers late: to eject them for that moves all connections to the one
 * that happened to answer, which then is late itself. So each server that was ejected for being late and answers soon after (it was only slow) doubles the time
 * that all checks may take; a minute without another one halves it.
 *
 *   late ──► ejected ──answers within SLOW_MS──► timeoutMs × 2, at most LONGEST_MS ──every CALM_MS──► timeoutMs ÷ 2, at least SHORTEST_MS
 */
import type { Clock } from '#stdx/clock.ts';

export const SHORTEST_MS = 1_500;
export const LONGEST_MS = 12_000;
/** An answer that soon after the ejection: the server was slow, neither stopped nor cut off. */
export const SLOW_MS = 10_000;
export const CALM_MS = 60_000;

export class Patience {
  readonly #clock: Clock;
  /** Server → when it was ejected for being late (monotonic). */
  readonly #lateMs = new Map<string, number>();
  #timeoutMs = SHORTEST_MS;
  #changedMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Of a check that begins now. */
  get timeoutMs(): number {
    const nowMs = this.#clock.monotonic();
    while (this.#timeoutMs > SHORTEST_MS && nowMs - this.#changedMs >= CALM_MS) {
      this.#timeoutMs /= 2;
      this.#changedMs += CALM_MS;
    }
    return this.#timeoutMs;
  }

  /** The server was ready, and its check took too long. */
  late(server: string): void {
    this.#lateMs.set(server, this.#clock.monotonic());
  }

  /** The server answers. Of several that were late at once, the first one counts. */
  answered(server: string): void {
    const lateMs = this.#lateMs.get(server);
    if (lateMs === undefined) return;
    this.#lateMs.delete(server);
    const nowMs = this.#clock.monotonic();
    if (nowMs - lateMs >= SLOW_MS || lateMs < this.#changedMs) return;
    this.#timeoutMs = Math.min(2 * this.timeoutMs, LONGEST_MS);
    this.#changedMs = nowMs;
  }

  forget(server: string): void {
    this.#lateMs.delete(server);
  }
}
