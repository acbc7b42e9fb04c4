/**
 * Decouples requests from a slow backend: events are buffered and sent in batches, when one is full or its first event is old enough. A full buffer
 * drops new events and counts them. After upstream's plugin/pkg/audit/buffered.
 *
 *   process() ─► buffer ─► batch (size or time) ─► [throttle] ─► backend (some batches at a time)
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { AuditBackend, AuditCounters } from './backend.ts';
import type { AuditEvent } from './event.ts';

export interface BatchSettings {
  /** Events that may wait. */
  readonly bufferSize: number;
  readonly maxBatchSize: number;
  /** 0 = a batch goes as soon as it can. */
  readonly maxWaitMs: number;
  /** Batches a second, and how many at once after a pause. */
  readonly throttle?: { readonly qps: number; readonly burst: number } | undefined;
}

/** Batches on their way at a time; what waits behind them stays within the buffer's bound. */
const MAX_IN_FLIGHT = 4;
/** Timeout of the last flush at shutdown. */
const CLOSE_GRACE_MS = 5000;

export class BatchingBackend implements AuditBackend {
  readonly #backend: AuditBackend;
  readonly #settings: BatchSettings;
  readonly #clock: Clock;
  readonly #counters: AuditCounters;
  #buffer: AuditEvent[] = [];
  #inFlight = 0;
  #timer: Timer | undefined;
  #throttled: Timer | undefined;
  #tokens: number;
  #tokensAtMs: number;
  #closing = false;
  #abandoned = false;
  #idle: (() => void) | undefined;
  /** True once the oldest event waited long enough. */
  #due = false;

  constructor(
    backend: AuditBackend,
    {
      settings,
      clock,
      counters,
    }: { readonly settings: BatchSettings; readonly clock: Clock; readonly counters: AuditCounters },
  ) {
    this.#backend = backend;
    this.#settings = settings;
    this.#clock = clock;
    this.#counters = counters;
    this.#tokens = settings.throttle?.burst ?? 0;
    this.#tokensAtMs = clock.monotonic();
  }

  process(events: readonly AuditEvent[]): void {
    const room = this.#closing ? 0 : Math.max(0, this.#settings.bufferSize - this.#buffer.length);
    const taken = room >= events.length ? events : events.slice(0, room);
    for (const event of taken) this.#buffer.push(event);
    if (taken.length < events.length)
      this.#counters.lost(
        'buffered',
        events.length - taken.length,
        this.#closing ? 'the server is stopping' : 'audit buffer queue blocked',
      );
    this.#proceed();
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#timer?.cancel();
    this.#throttled?.cancel();
    this.#throttled = undefined;
    const drained = new Promise<void>((resolve) => (this.#idle = resolve));
    this.#proceed();
    const grace = this.#clock.after(CLOSE_GRACE_MS, () => {
      this.#abandoned = true;
      if (this.#buffer.length > 0)
        this.#counters.lost(
          'buffered',
          this.#buffer.splice(0).length,
          'the server stopped before they were sent',
        );
      this.#idle?.();
    });
    if (this.#inFlight > 0 || this.#buffer.length > 0) await drained;
    grace.cancel();
    await this.#backend.close();
  }

  #proceed(): void {
    const { maxBatchSize, maxWaitMs } = this.#settings;
    while (this.#buffer.length > 0 && this.#inFlight < MAX_IN_FLIGHT && !this.#throttled) {
      if (this.#buffer.length < maxBatchSize && maxWaitMs > 0 && !this.#due && !this.#closing) {
        this.#timer ??= this.#clock.after(maxWaitMs, () => {
          this.#timer = undefined;
          this.#due = true;
          this.#proceed();
        });
        return;
      }
      const waitMs = this.#closing ? 0 : this.#takeToken();
      if (waitMs > 0) {
        this.#throttled = this.#clock.after(waitMs, () => {
          this.#throttled = undefined;
          this.#proceed();
        });
        return;
      }
      this.#timer?.cancel();
      this.#timer = undefined;
      this.#due = false;
      void this.#send(this.#buffer.splice(0, maxBatchSize));
    }
  }

  async #send(batch: readonly AuditEvent[]): Promise<void> {
    this.#inFlight++;
    try {
      await this.#backend.process(batch);
    } catch (error) {
      // The backend counts its own losses; anything else is a bug.
      if (!(error instanceof LostEventsError))
        this.#counters.lost('buffered', batch.length, errorMessage(error));
    }
    this.#inFlight--;
    if (this.#inFlight === 0 && this.#buffer.length === 0) this.#idle?.();
    if (!this.#abandoned) this.#proceed();
  }

  /** Milliseconds until a token is available; 0 = taken. */
  #takeToken(): number {
    const { throttle } = this.#settings;
    if (!throttle) return 0;
    const nowMs = this.#clock.monotonic();
    this.#tokens = Math.min(
      throttle.burst,
      this.#tokens + ((nowMs - this.#tokensAtMs) / 1000) * throttle.qps,
    );
    this.#tokensAtMs = nowMs;
    if (this.#tokens < 1) return Math.max(1, Math.ceil(((1 - this.#tokens) / throttle.qps) * 1000));
    this.#tokens--;
    return 0;
  }
}

/** Thrown by backends that have reported the loss themselves. */
export class LostEventsError extends Error {
  override readonly name = 'LostEventsError';
}
