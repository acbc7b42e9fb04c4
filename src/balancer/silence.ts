/**
 * Detects an API server that takes bytes and returns none (stopped, or cut off) sooner than the timeout of its check. Opens nothing; one per server.
 *
 *   answered ──bytes sent──► waiting ──SUSPECT_MS──► suspected: probe() ──VERDICT_MS──► silent()
 *      ▲                        │                        │ ▲            └─ no other server answered since, or this process was delayed ─┐
 *      └───bytes received on any of its connections──────┘ └────────────────────────────────────────────────────────────────────────────┘
 *
 * A slow answer on one connection is no silence: the probe is answered. A busy machine is none either: the verdict needs an answer of another server that
 * was asked at the same time. A server that answers soon after such a verdict was only slow: for CALM_MS only the timeout of its check ejects it.
 */
import type { Clock, Timer } from '#stdx/clock.ts';

export const SUSPECT_MS = 250;
export const VERDICT_MS = 350;
/** Between two suspicions: clients send frames that want no answer. */
export const SUSPECT_EVERY_MS = 500;
/** A timer that is this late shows that this process did not run: answers may wait to be read. */
const DELAYED_MS = 100;
/** An answer that soon after the verdict: the server was slow. */
const SLOW_MS = 3_000;
export const CALM_MS = 60_000;

interface SilenceOptions {
  readonly clock: Clock;
  /** Whether it matters: the server gets connections. */
  readonly isWatched: () => boolean;
  /** Asks this server on a new connection, and others for comparison. */
  readonly probe: () => void;
  /** Whether another server answered a question that was asked at this time (monotonic) or later. */
  readonly hasOtherAnswered: (askedSinceMs: number) => boolean;
  readonly silent: () => void;
}

export class SilenceDetector {
  readonly #options: SilenceOptions;
  #timer: Timer | undefined;
  #isWaiting = false;
  #suspectedMs = -Infinity;
  #silentMs = -Infinity;
  #calmUntilMs = -Infinity;
  #closed = false;

  constructor(options: SilenceOptions) {
    this.#options = options;
  }

  /** Bytes went to the server, a dial included. */
  sent(): void {
    if (this.#isWaiting || this.#closed) return;
    const { clock } = this.#options;
    this.#isWaiting = true;
    const sinceSuspicionMs = clock.monotonic() - this.#suspectedMs;
    this.#after(Math.max(SUSPECT_MS, SUSPECT_EVERY_MS - sinceSuspicionMs), () => this.#suspect());
  }

  /** Bytes came from the server. */
  received(): void {
    if (this.#isWaiting) this.#stopWaiting();
    if (this.#silentMs === -Infinity) return;
    const nowMs = this.#options.clock.monotonic();
    if (nowMs - this.#silentMs < SLOW_MS) this.#calmUntilMs = nowMs + CALM_MS;
    this.#silentMs = -Infinity;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #stopWaiting(): void {
    this.#isWaiting = false;
    this.#timer?.cancel();
  }

  #suspect(): void {
    const { clock, isWatched, probe } = this.#options;
    const nowMs = clock.monotonic();
    if (!isWatched() || nowMs < this.#calmUntilMs) return this.#stopWaiting();
    this.#suspectedMs = nowMs;
    this.#after(VERDICT_MS, (lateMs) => this.#judge(nowMs, lateMs));
    probe();
  }

  #judge(askedMs: number, lateMs: number): void {
    const { clock, isWatched, hasOtherAnswered, silent } = this.#options;
    if (!isWatched()) return this.#stopWaiting();
    if (lateMs > DELAYED_MS || !hasOtherAnswered(askedMs)) return this.#suspect();
    this.#stopWaiting();
    this.#silentMs = clock.monotonic();
    silent();
  }

  #after(delayMs: number, run: (lateMs: number) => void): void {
    const { clock } = this.#options;
    const dueMs = clock.monotonic() + delayMs;
    this.#timer?.cancel();
    this.#timer = clock.after(delayMs, () => run(clock.monotonic() - dueMs));
  }
}
