/** One attempt to schedule a pod, and how long it takes. */
import type { AttemptResult, SchedulerMetrics } from './metrics.ts';
import type { PodInfo } from './pod-info.ts';
import type { Popped } from './queue.ts';
import type { Profile } from './schedule.ts';

export interface Attempted extends Popped {
  readonly info: PodInfo;
  readonly profile: Profile;
  readonly attempt: Attempt;
}

export class Attempt {
  readonly #metrics: SchedulerMetrics;
  readonly #profile: string;
  readonly #startedMs = performance.now();

  constructor({ metrics, profile }: { readonly metrics: SchedulerMetrics; readonly profile: string }) {
    this.#metrics = metrics;
    this.#profile = profile;
  }

  decided(): void {
    this.#metrics.decided((performance.now() - this.#startedMs) / 1000);
  }

  ended(result: AttemptResult): void {
    const seconds = (performance.now() - this.#startedMs) / 1000;
    this.#metrics.attempted({ profile: this.#profile, result, seconds });
  }
}
